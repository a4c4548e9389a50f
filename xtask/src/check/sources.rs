//! The workspace's Rust files, parsed once for all checks: code that ships and code of tests apart.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::{Attribute, ImplItem, Item, Meta, Token};

/// A Rust file of the workspace.
pub struct Source {
    /// Its path below the workspace's root, such as `crates/sqlite/src/lib.rs`.
    pub name: String,
    /// Its text as it stands.
    pub text: String,
    /// Its items without those that only tests of its crate compile; empty in a file of such tests.
    pub shipped: Vec<Item>,
    /// The items that only tests of its crate compile; all of them in a file of such tests.
    pub tests: Vec<Item>,
}

impl Source {
    /// Parses a file's text. By its name alone it may be a file of tests.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let file = syn::parse_file(text).with_context(|| format!("cannot parse {name}"))?;
        let (mut shipped, mut tests) = (file.items, Vec::new());
        if is_of_tests(name) {
            tests = std::mem::take(&mut shipped);
        } else {
            set_tests_apart(&mut shipped, &mut tests);
        }
        Ok(Self {
            name: name.to_owned(),
            text: text.to_owned(),
            shipped,
            tests,
        })
    }

    /// Returns the folder of its crate, such as `crates/sqlite`.
    pub fn folder(&self) -> &str {
        folder_of(&self.name)
    }

    /// Says that nothing in its crate ships: all of it exists for tests.
    pub fn serves_tests(&self) -> bool {
        ["e2e", "crates/port-laws", "crates/waits"].contains(&self.folder())
    }
}

/// Returns the folder of the crate that a file belongs to.
pub fn folder_of(name: &str) -> &str {
    let depth = if name.starts_with("crates/") { 2 } else { 1 };
    let end = name.match_indices('/').nth(depth - 1);
    end.map_or(name, |(end, _)| &name[..end])
}

/// Reads every Rust file of the workspace. A file that is declared as `#[cfg(test)] mod x;` is one of tests.
pub fn read(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in ["crates", "e2e", "xtask"] {
        for path in files(&root.join(folder), "rs")? {
            sources.push(Source::parse(&name_below(root, &path), &read_text(&path)?)?);
        }
    }
    move_declared_tests(&mut sources);
    Ok(sources)
}

/// Reads a file's text.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Returns a path as findings name it.
pub fn name_below(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    below.to_string_lossy().replace('\\', "/")
}

/// Finds all files below a folder with a certain ending, sorted.
pub fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|own| own == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_of_tests(name: &str) -> bool {
    let inside = &name[folder_of(name).len()..];
    inside.contains("/tests/") || inside.ends_with("/tests.rs")
}

fn set_tests_apart(shipped: &mut Vec<Item>, tests: &mut Vec<Item>) {
    for mut item in std::mem::take(shipped) {
        if is_for_tests(attributes(&item)) {
            tests.push(item);
            continue;
        }
        match &mut item {
            Item::Mod(module) => {
                if let Some((_, items)) = &mut module.content {
                    set_tests_apart(items, tests);
                }
            }
            Item::Impl(block) => block.items.retain(|inner| match inner {
                ImplItem::Fn(function) => !is_for_tests(&function.attrs),
                ImplItem::Const(constant) => !is_for_tests(&constant.attrs),
                _ => true,
            }),
            _ => {}
        }
        shipped.push(item);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Finds `#[cfg(test)]` and `#[cfg(all(test, …))]`.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<Meta>()
                .is_ok_and(|condition| wants_test(&condition))
    })
}

fn wants_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|all| all.iter().any(wants_test)),
        _ => false,
    }
}

fn move_declared_tests(sources: &mut [Source]) {
    let mut modules = BTreeSet::new();
    for source in &*sources {
        for item in &source.tests {
            if let Item::Mod(module) = item
                && module.content.is_none()
            {
                modules.insert(format!("{}/{}", children(&source.name), module.ident));
            }
        }
    }
    for source in sources {
        let path = source.name.trim_end_matches(".rs");
        let mut ancestors = Path::new(path).ancestors();
        if ancestors.any(|one| modules.contains(&*one.to_string_lossy())) {
            source.tests.append(&mut source.shipped);
        }
    }
}

/// Returns the folder of the modules that a file declares.
pub fn children(name: &str) -> &str {
    let path = name.trim_end_matches(".rs");
    ["/lib", "/main", "/mod"]
        .iter()
        .find_map(|root| path.strip_suffix(root))
        .unwrap_or(path)
}

/// Calls `see` with each token and those after it, those within groups included, those of doc comments left out.
pub fn walk(tokens: TokenStream, see: &mut dyn FnMut(&TokenTree, &[TokenTree])) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut index = 0;
    while index < trees.len() {
        let after = &trees[index + 1..];
        if is_char(&trees[index], '#') && after.first().is_some_and(is_doc) {
            index += 2;
            continue;
        }
        see(&trees[index], after);
        if let TokenTree::Group(group) = &trees[index] {
            walk(group.stream(), see);
        }
        index += 1;
    }
}

/// Says that a token is a certain punctuation character.
pub fn is_char(tree: &TokenTree, wanted: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// Returns the text of a string literal.
pub fn string(tree: &TokenTree) -> Option<String> {
    let TokenTree::Literal(literal) = tree else {
        return None;
    };
    let literal: syn::Lit = syn::parse_str(&literal.to_string()).ok()?;
    match literal {
        syn::Lit::Str(text) => Some(text.value()),
        _ => None,
    }
}

/// Returns the line of a token, from 1.
pub fn line(tree: &TokenTree) -> usize {
    tree.span().start().line
}

fn is_doc(tree: &TokenTree) -> bool {
    let TokenTree::Group(group) = tree else {
        return false;
    };
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket
        && matches!(first, Some(TokenTree::Ident(name)) if name == "doc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_tests_is_known_by_place_and_by_attribute() -> Result<()> {
        let text = "fn a() {}\n#[cfg(test)] fn b() {}\nmod inner { #[cfg(all(test, unix))] fn c() {} }\n#[cfg(not(test))] fn d() {}";
        let source = Source::parse("crates/x/src/lib.rs", text)?;
        assert_eq!((source.shipped.len(), source.tests.len()), (3, 2));
        for name in [
            "crates/x/tests/a.rs",
            "crates/x/src/a/tests.rs",
            "e2e/tests/a.rs",
        ] {
            assert_eq!(Source::parse(name, text)?.shipped.len(), 0, "{name}");
        }
        Ok(())
    }

    #[test]
    fn a_file_that_only_tests_declare_is_one_of_tests() -> Result<()> {
        let mut sources = [
            Source::parse("crates/x/src/a.rs", "#[cfg(test)] mod stub;")?,
            Source::parse("crates/x/src/a/stub.rs", "mod part;")?,
            Source::parse("crates/x/src/a/stub/part.rs", "fn f() {}")?,
            Source::parse("crates/x/src/stub.rs", "fn f() {}")?,
        ];
        move_declared_tests(&mut sources);
        let shipped: Vec<_> = sources.iter().map(|source| source.shipped.len()).collect();
        assert_eq!(shipped, [0, 0, 0, 1]);
        Ok(())
    }

    #[test]
    fn crates_are_known_by_their_folders() {
        assert_eq!(folder_of("crates/x/src/lib.rs"), "crates/x");
        assert_eq!(folder_of("e2e/tests/a.rs"), "e2e");
    }
}
