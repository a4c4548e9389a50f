//! Words and openings that make a comment a riddle, in comments, names and documents.
//!
//! The rule behind them: third person and a verb ("Looks the key up"), the noun behind each number, and the thing that
//! is done instead of a person who would do it.

use proc_macro2::TokenTree;
use quote::ToTokens;

use super::comments::{Paragraph, of_document, of_rust};
use super::sources::{Source, walk};

/// A word or phrase that is not used, in lower case.
struct Banned {
    words: &'static str,
    instead: &'static str,
    /// It is fine with this word soon behind it.
    unless_before: Option<&'static str>,
}

const fn banned(words: &'static str, instead: &'static str) -> Banned {
    Banned {
        words,
        instead,
        unless_before: None,
    }
}

const fn unless(words: &'static str, instead: &'static str, unless_before: &'static str) -> Banned {
    Banned {
        words,
        instead,
        unless_before: Some(unless_before),
    }
}

const TELL: &str = "name what happens: logs, sends, returns, reports, says";
const CARRY: &str = "carries, has, holds";

const BANNED: &[Banned] = &[
    banned("so many", "name what is counted: the number of …, n …"),
    unless("told", TELL, "apart"),
    unless("tells", TELL, "apart"),
    banned("whoever", "name the person, process or code"),
    banned("whomever", "name the person, process or code"),
    banned("bears", CARRY),
    banned("bore", CARRY),
    banned("borne", CARRY),
    banned("that is none", "invalid, malformed"),
    banned("comes to", "say what is the result, or the sum"),
    banned("came to", "say what was the result, or the sum"),
    banned("at the most", "at most"),
    banned("hears of", "name how it gets to know: is sent, reads, sees"),
];

/// Parts of names that are never right, with `_` between them.
const BANNED_IN_NAMES: &[&str] = &["whoever", "tells", "so_many", "bears"];

/// First words of a doc comment that make its first sentence no sentence.
const OPENINGS: &[&str] = &["what", "how", "whether", "who", "that"];

/// The distance in words within which an exception may stand behind a word.
const EXCEPTION_WITHIN: usize = 8;

/// Crates whose words are not checked yet.
const NOT_YET: &[&str] = &[];

/// Documents that are checked, beside all of `docs/`.
pub const DOCUMENTS: &[&str] = &[
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
];

/// Every such word of a Rust file.
pub fn check(source: &Source) -> Vec<String> {
    if NOT_YET.contains(&source.folder()) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for paragraph in of_rust(&source.text) {
        faults.extend(phrases(&paragraph));
        faults.extend(opening(&paragraph));
    }
    for item in source.shipped.iter().chain(&source.tests) {
        faults.extend(names(item));
    }
    faults.sort();
    faults.dedup();
    faults
        .into_iter()
        .map(|(line, fault)| format!("{}:{line}: {fault}", source.name))
        .collect()
}

/// Every such word of a document.
pub fn check_document(name: &str, text: &str) -> Vec<String> {
    of_document(text)
        .iter()
        .flat_map(phrases)
        .map(|(line, fault)| format!("{name}:{line}: {fault}"))
        .collect()
}

/// A line and what is wrong there.
type Fault = (usize, String);

fn phrases(paragraph: &Paragraph) -> Vec<Fault> {
    let words: Vec<(usize, String)> = paragraph.words().collect();
    let mut faults = Vec::new();
    for banned in BANNED {
        let phrase: Vec<&str> = banned.words.split(' ').collect();
        for (index, window) in words.windows(phrase.len()).enumerate() {
            let behind = words[index..].iter().take(EXCEPTION_WITHIN);
            let excepted = banned.unless_before.is_some_and(|exception| {
                behind.map(|(_, word)| word).any(|word| word == exception)
            });
            if !excepted && window.iter().map(|(_, word)| word).eq(&phrase) {
                let line = window.first().map_or(0, |(line, _)| *line);
                faults.push((line, format!("\"{}\": {}", banned.words, banned.instead)));
            }
        }
    }
    faults
}

fn opening(paragraph: &Paragraph) -> Option<Fault> {
    let (line, first) = paragraph.words().next()?;
    let is_riddle = paragraph.is_doc && OPENINGS.contains(&first.as_str());
    is_riddle.then(|| {
        let fault = format!("\"{first} …\" is no sentence: begin with a verb, or name the thing");
        (line, fault)
    })
}

fn names(item: &syn::Item) -> Vec<Fault> {
    let mut faults = Vec::new();
    walk(item.to_token_stream(), &mut |tree, _| {
        let TokenTree::Ident(name) = tree else {
            return;
        };
        let spaced = format!("_{}_", snake_case(&name.to_string()));
        let found = BANNED_IN_NAMES
            .iter()
            .find(|word| spaced.contains(&format!("_{word}_")));
        if let Some(word) = found {
            faults.push((
                tree.span().start().line,
                format!("the name {name} has \"{word}\": say what is meant"),
            ));
        }
    });
    faults
}

fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;

    fn faults(text: &str) -> Result<Vec<String>> {
        Ok(check(&Source::parse("xtask/src/a.rs", text)?))
    }

    #[test]
    fn banned_words_are_found_across_lines_and_in_names() -> Result<()> {
        let found = faults(
            "// A limit of so\n// many rows.\nfn whoever_asks() {}\n/// Bears the id.\nstruct Bears;\nfn f() {} // told",
        )?;
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(found[0].starts_with("xtask/src/a.rs:1: \"so many\""));
        assert!(found[3].contains("the name Bears"));
        Ok(())
    }

    #[test]
    fn what_is_told_apart_and_what_is_code_is_fine() -> Result<()> {
        let found = faults(
            "// The type tells three kinds apart, `told` is a field.\nfn teller() { let s = \"so many\"; }\n",
        )?;
        assert_eq!(found, Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn a_doc_comment_begins_with_a_sentence() -> Result<()> {
        assert_eq!(faults("/// What is known.\nstruct A;")?.len(), 1);
        assert_eq!(faults("//! Whether it is so.\n")?.len(), 1);
        let fine = "// What follows is code.\n/// Says what is known.\n///\n/// What else is known, too.\nstruct A;";
        assert_eq!(faults(fine)?, Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn documents_are_checked_outside_of_code() {
        let text = "It tells all.\n\n```\nso many\n```\n\n| `told` | at the\nmost |\n";
        let found = check_document("docs/a.md", text);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].starts_with("docs/a.md:7:") || found[0].starts_with("docs/a.md:1:"));
    }
}
