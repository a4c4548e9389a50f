//! The shape of each file: short enough to be surveyed, in its place, without unsafe code, under the workspace's lints.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::sources::Source;

const MAX_LINES: usize = 600;

/// Everything that is wrong with a file as a whole.
pub fn check(source: &Source) -> Vec<String> {
    let mut faults: Vec<String> = too_long(&source.text).into_iter().collect();
    // The chores speak of such code in texts; the lint forbids it there as everywhere.
    if source.folder() != "xtask" {
        // Examples are programs of one file each; what they share has no other place.
        if !source.name.contains("/examples/") {
            faults.extend(misplaced(&source.text));
        }
        faults.extend(unsafe_lines(&source.text));
    }
    faults
        .into_iter()
        .map(|fault| format!("{}: {fault}", source.name))
        .collect()
}

/// Names a module that stands elsewhere than its name says (CONTRIBUTING.md, the places of tests).
fn misplaced(text: &str) -> Option<String> {
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("#[path"))?;
    Some(format!("{} moves a module out of its place", line.trim()))
}

/// A crate that does not take the lints of the workspace escapes `unsafe_code = "forbid"`.
pub fn without_workspace_lints(package: &Value) -> Result<Option<String>> {
    let path = package["manifest_path"].as_str().unwrap_or_default();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let manifest: toml::Table = text.parse().with_context(|| format!("in {path}"))?;
    let taken = manifest
        .get("lints")
        .and_then(|lints| lints.get("workspace"))
        .and_then(toml::Value::as_bool);
    Ok((taken != Some(true)).then(|| format!("{path}: [lints] workspace = true is missing")))
}

fn too_long(text: &str) -> Option<String> {
    let length = text.lines().count();
    (length > MAX_LINES)
        .then(|| format!("{length} lines, {MAX_LINES} at most: split it by capability"))
}

fn unsafe_lines(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| has_unsafe(line))
        .map(|(index, _)| format!("line {} has unsafe code", index + 1))
}

/// Finds the opening of something unsafe; comments and names such as `unsafe_code` do not count.
fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    [
        "unsafe {",
        "unsafe fn",
        "unsafe impl",
        "unsafe trait",
        "unsafe extern",
        "#[unsafe(",
    ]
    .iter()
    .any(|opening| code.contains(opening))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_code_is_seen_and_talk_of_it_is_not() {
        assert!(has_unsafe("let x = unsafe { *pointer };"));
        assert!(has_unsafe("pub unsafe fn f() {"));
        assert_eq!(unsafe_lines("safe\nunsafe impl Send for X {}").count(), 1);
        assert!(!has_unsafe("// unsafe { is only spoken of"));
        assert!(!has_unsafe("#![forbid(unsafe_code)]"));
    }

    #[test]
    fn a_module_out_of_its_place_is_named() {
        assert_eq!(misplaced("#[cfg(test)]\nmod tests;\n"), None);
        assert!(misplaced("#[cfg(test)]\n#[path = \"tests/x.rs\"]\nmod tests;\n").is_some());
    }

    #[test]
    fn a_long_file_is_named() {
        assert_eq!(too_long(&"x\n".repeat(600)), None);
        assert!(too_long(&"x\n".repeat(601)).is_some());
    }
}
