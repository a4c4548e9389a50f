//! Files that documents name: a reference to a file that was moved or deleted sends its reader nowhere.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Endings of names in backticks that are taken for files of the repository.
const FILE_ENDINGS: &[&str] = &[".rs", ".lua", ".sql"];

/// Names each file that a document refers to and that is not in `files`, the repository's files below its root.
///
/// A name in backticks may leave out its front (`crates/`), its crate's `src/`, or both.
pub fn check(document: &str, text: &str, files: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for name in line.split('`').skip(1).step_by(2) {
            if is_file_name(name) && !is_there(name, files) {
                faults.push(format!("{document}:{number}: there is no file `{name}`"));
            }
        }
        for target in links(line) {
            if !files.contains(&below_root(document, target)) {
                faults.push(format!(
                    "{document}:{number}: the link leads to no file: {target}"
                ));
            }
        }
    }
    faults
}

fn is_file_name(name: &str) -> bool {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "/_-.".contains(character);
    FILE_ENDINGS.iter().any(|ending| name.ends_with(ending))
        && name.chars().all(is_plain)
        && !FILE_ENDINGS.contains(&name)
}

fn is_there(name: &str, files: &BTreeSet<String>) -> bool {
    let with_source = name.replacen('/', "/src/", 1);
    [name, &with_source].into_iter().any(|name| {
        let end = format!("/{name}");
        files.contains(name) || files.iter().any(|file| file.ends_with(&end))
    })
}

/// Returns the targets of a line's links to Markdown files of the repository.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', '#']).next()?;
        (target.ends_with(".md") && !target.contains(':')).then_some(target)
    })
}

/// Returns the path below the root of a link's target in a document.
fn below_root(document: &str, target: &str) -> String {
    let folder = Path::new(document).parent().unwrap_or(Path::new(""));
    let mut path = PathBuf::new();
    for part in folder.join(target).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(line: &str) -> usize {
        let files = [
            "crates/sqlite/src/late/holder.rs",
            "docs/decisions/README.md",
            "docs/scale.md",
        ];
        let files = files.map(str::to_owned).into_iter().collect();
        check("docs/decisions/page.md", line, &files).len()
    }

    #[test]
    fn a_name_may_leave_out_its_front() {
        for name in [
            "crates/sqlite/src/late/holder.rs",
            "sqlite/src/late/holder.rs",
            "sqlite/late/holder.rs",
            "late/holder.rs",
            "holder.rs",
        ] {
            assert_eq!(faults(&format!("see `{name}`")), 0, "{name}");
        }
        assert_eq!(
            faults("no file: `CouponState::follow`, `.rs`, `a <b>.rs`"),
            0
        );
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert_eq!(faults("see `sqlite/src/holder.rs` and `holders.rs`"), 2);
        assert_eq!(faults("see [one](README.md), [two](../scale.md#a)"), 0);
        assert_eq!(faults("see [one](gone.md), [two](../../README.md)"), 2);
        assert_eq!(faults("see [a site](https://example.org/a.md)"), 0);
    }
}
