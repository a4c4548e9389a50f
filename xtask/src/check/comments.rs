//! The prose of the workspace: comments of Rust files, and documents.

/// Prose without a break: the lines of one comment, or of one paragraph of a document.
pub struct Paragraph {
    /// Documents an item, as `///` and `//!` do, and is the first paragraph of that text.
    pub is_doc: bool,
    /// Line numbers from 1, and the lines without their comment signs.
    lines: Vec<(usize, String)>,
}

impl Paragraph {
    /// Its words in lower case with their lines, without what stands between backticks.
    pub fn words(&self) -> impl Iterator<Item = (usize, String)> {
        self.lines.iter().flat_map(|(line, text)| {
            without_code(text)
                .split(|letter: char| !letter.is_alphanumeric() && letter != '\'')
                .filter(|word| !word.is_empty())
                .map(|word| (*line, word.to_lowercase()))
                .collect::<Vec<_>>()
        })
    }
}

/// Blanks what stands between backticks; a text with an odd number of them is cut at the last.
fn without_code(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join(" · ")
}

/// The comments of a Rust file: doc comments by paragraph, others as long as they stand on lines that follow each other.
pub fn of_rust(text: &str) -> Vec<Paragraph> {
    let mut prose = Prose::default();
    for comment in comments(text) {
        let (is_doc, body) = match comment.text.strip_prefix("///") {
            Some(body) if !body.starts_with('/') => (true, body),
            _ => match comment.text.strip_prefix("//!") {
                Some(body) => (true, body),
                None => (false, comment.text.trim_start_matches('/')),
            },
        };
        prose.add(comment.line, is_doc, body);
    }
    prose.paragraphs
}

/// The paragraphs of a document in Markdown. Each row of a table counts as a line of its paragraph.
pub fn of_document(text: &str) -> Vec<Paragraph> {
    let mut prose = Prose::default();
    for (index, line) in text.lines().enumerate() {
        prose.add(index + 1, false, line);
    }
    prose.paragraphs
}

#[derive(Default)]
struct Prose {
    paragraphs: Vec<Paragraph>,
    /// The line before, and that it was of a doc comment.
    last: Option<(usize, bool)>,
    is_in_code: bool,
    is_in_paragraph: bool,
}

impl Prose {
    fn add(&mut self, line: usize, is_doc: bool, body: &str) {
        let goes_on = self.last == Some((line.saturating_sub(1), is_doc));
        self.last = Some((line, is_doc));
        if !goes_on {
            (self.is_in_code, self.is_in_paragraph) = (false, false);
        }
        let body = body.trim();
        if body.starts_with("```") {
            self.is_in_code = !self.is_in_code;
            self.is_in_paragraph = false;
            return;
        }
        if self.is_in_code || body.is_empty() {
            self.is_in_paragraph = false;
            return;
        }
        if !self.is_in_paragraph {
            self.paragraphs.push(Paragraph {
                is_doc: is_doc && !goes_on,
                lines: Vec::new(),
            });
            self.is_in_paragraph = true;
        }
        if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.lines.push((line, body.to_owned()));
        }
    }
}

/// A comment from its `//` to the end of the line.
struct Comment<'a> {
    line: usize,
    text: &'a str,
}

/// Finds comments, and no `//` within texts. Block comments are not found: the workspace has none.
fn comments(text: &str) -> Vec<Comment<'_>> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                let end = text[at..]
                    .find('\n')
                    .map_or(text.len(), |length| at + length);
                found.push(Comment {
                    line,
                    text: &text[at..end],
                });
                end
            }
            b'"' => end_of_string(text, at),
            b'r' if !is_in_name(bytes, at) => end_of_raw_string(text, at).unwrap_or(at + 1),
            b'\'' => end_of_character(text, at),
            _ => at + 1,
        };
        line += bytes[at..end].iter().filter(|byte| **byte == b'\n').count();
        at = end;
    }
    found
}

/// Says that the byte goes on with a name that began before it.
fn is_in_name(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| bytes.get(before));
    before.is_some_and(|byte| (byte.is_ascii_alphanumeric() && *byte != b'b') || *byte == b'_')
}

fn end_of_string(text: &str, at: usize) -> usize {
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(at + 1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

fn end_of_raw_string(text: &str, at: usize) -> Option<usize> {
    let behind = &text[at + 1..];
    let hashes = behind.bytes().take_while(|byte| *byte == b'#').count();
    let body = behind.get(hashes..)?.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&close)?;
    Some(at + 1 + hashes + 1 + length + close.len())
}

/// The end of a character such as `'"'`; of a lifetime only its quote.
fn end_of_character(text: &str, at: usize) -> usize {
    let mut behind = text[at + 1..].char_indices();
    let escaped = match behind.next() {
        Some((_, '\\')) => true,
        Some((_, letter)) if letter != '\n' => false,
        _ => return at + 1,
    };
    if escaped {
        behind.next();
        let close = behind.find(|(_, letter)| *letter == '\'' || *letter == '\n');
        return close.map_or(at + 1, |(index, _)| at + 2 + index);
    }
    match behind.next() {
        Some((index, '\'')) => at + 2 + index,
        _ => at + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_found_and_texts_are_not() {
        let text = "let a = \"// \\\" no\"; // one\nlet b = r#\"// \"no\"#;\nlet c = '\"'; // two\nfn f<'a>(x: &'a str) {} // three\nlet d = '\\''; // four";
        let found: Vec<_> = comments(text)
            .iter()
            .map(|comment| (comment.line, comment.text))
            .collect();
        assert_eq!(
            found,
            [
                (1, "// one"),
                (3, "// two"),
                (4, "// three"),
                (5, "// four")
            ]
        );
    }

    #[test]
    fn a_text_over_several_lines_counts_its_lines() {
        let found = comments("let a = \"x\n// no\n\";\n// yes");
        assert_eq!((found.len(), found[0].line), (1, 4));
    }

    #[test]
    fn paragraphs_end_at_blank_lines_and_skip_code() {
        let text =
            "/// One\n/// goes on.\n///\n/// ```\n/// code\n/// ```\n/// Two.\nfn f() {}\n// Three";
        let found = of_rust(text);
        let shown: Vec<_> = found
            .iter()
            .map(|one| {
                (
                    one.is_doc,
                    one.words()
                        .map(|(_, word)| word)
                        .collect::<Vec<_>>()
                        .join(" "),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                (true, "one goes on".into()),
                (false, "two".into()),
                (false, "three".into())
            ]
        );
    }
}
