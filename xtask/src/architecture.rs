//! The shape of the house, held: arrows between crates point inward, no unsafe code, no file that nobody can survey.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

/// Which of our crates each of our crates may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("goodpon-domain", &[]),
    ("goodpon-application", &["goodpon-domain"]),
    (
        "goodpon-port-laws",
        &["goodpon-application", "goodpon-domain"],
    ),
    // How background tasks are run; it knows nothing of coupons, and adapters with loops or threads use it.
    ("goodpon-supervise", &[]),
    (
        "goodpon-sqlite",
        &["goodpon-application", "goodpon-domain", "goodpon-supervise"],
    ),
    (
        "goodpon-mysql",
        &["goodpon-application", "goodpon-domain", "goodpon-supervise"],
    ),
    ("goodpon-valkey", &["goodpon-application", "goodpon-domain"]),
    (
        "goodpon-kafka",
        &["goodpon-application", "goodpon-domain", "goodpon-supervise"],
    ),
    // An adapter made of three: the issue path is one thing over them.
    (
        "goodpon-scaled",
        &[
            "goodpon-application",
            "goodpon-domain",
            "goodpon-mysql",
            "goodpon-valkey",
            "goodpon-kafka",
            "goodpon-supervise",
        ],
    ),
    ("goodpon-gate-model", &["goodpon-domain"]),
    (
        "goodpon-mail",
        &["goodpon-application", "goodpon-domain", "goodpon-supervise"],
    ),
    (
        "goodpon-http",
        &["goodpon-application", "goodpon-domain", "goodpon-supervise"],
    ),
    (
        "goodpon-worker",
        &["goodpon-application", "goodpon-domain", "goodpon-supervise"],
    ),
    ("goodpon-telemetry", &[]),
    (
        "goodpon",
        &[
            "goodpon-domain",
            "goodpon-application",
            "goodpon-sqlite",
            "goodpon-mysql",
            // For its benchmark's floor only; the program knows Valkey through the scaled-out issue path.
            "goodpon-valkey",
            "goodpon-kafka",
            "goodpon-scaled",
            "goodpon-mail",
            "goodpon-http",
            "goodpon-supervise",
            "goodpon-worker",
            "goodpon-telemetry",
        ],
    ),
    // These two drive the program from outside and know none of its code.
    ("goodpon-e2e", &[]),
    ("xtask", &[]),
];

/// What tests of a crate may use on top, where the crate is an adapter.
const ALLOWED_IN_TESTS: &[&str] = &[
    "goodpon-port-laws",
    "goodpon-telemetry",
    "goodpon-gate-model",
];
const ADAPTERS: &[&str] = &[
    "goodpon-sqlite",
    "goodpon-mysql",
    "goodpon-valkey",
    "goodpon-kafka",
    "goodpon-scaled",
    "goodpon-mail",
    "goodpon-http",
    "goodpon-worker",
];

/// All that the domain may use: no runtime, no serialisation, no I/O.
const ALLOWED_IN_DOMAIN: &[&str] = &["jiff", "thiserror"];

const LONGEST_FILE: usize = 600;

/// Names a module that stands elsewhere than its name says (CONTRIBUTING.md, the places of tests).
fn misplaced(text: &str) -> Option<String> {
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("#[path"))?;
    Some(format!("{} moves a module out of its place", line.trim()))
}

/// Runs all checks over the workspace and names everything that is wrong.
pub fn check() -> Result<()> {
    let metadata = process::metadata(&["--no-deps"])?;
    let mut faults = wrong_arrows(&metadata);
    let root = process::root();
    for folder in ["crates", "e2e", "xtask"] {
        for path in rust_files(&root.join(folder))? {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.strip_prefix(&root).unwrap_or(&path).display();
            faults.extend(too_long(&text).map(|fault| format!("{name}: {fault}")));
            // The chores speak of such code in texts; the lint forbids it there as everywhere.
            if folder != "xtask" {
                // Examples are programs of one file each, and share what none of them is.
                if !path.components().any(|part| part.as_os_str() == "examples") {
                    faults.extend(misplaced(&text).map(|fault| format!("{name}: {fault}")));
                }
                faults.extend(unsafe_lines(&text).map(|fault| format!("{name}: {fault}")));
            }
        }
    }
    for package in packages(&metadata) {
        faults.extend(without_workspace_lints(package)?);
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} fault(s) in the architecture", faults.len());
    }
    println!("architecture: in order");
    Ok(())
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

/// Every dependency that is not allowed, as a sentence.
fn wrong_arrows(metadata: &Value) -> Vec<String> {
    let ours: Vec<&str> = packages(metadata)
        .filter_map(|package| package["name"].as_str())
        .collect();
    let mut faults = Vec::new();
    for package in packages(metadata) {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            faults.push(format!(
                "{name} has no place in the list of allowed arrows (xtask/src/architecture.rs)"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            let in_tests = dependency["kind"] == "dev";
            if ours.contains(&target) {
                let fine = allowed.contains(&target)
                    || in_tests && ADAPTERS.contains(&name) && ALLOWED_IN_TESTS.contains(&target);
                if !fine {
                    faults.push(format!("{name} must not depend on {target}"));
                }
            } else if name == "goodpon-domain" && !in_tests && !ALLOWED_IN_DOMAIN.contains(&target)
            {
                faults.push(format!(
                    "{name} must stay pure and not depend on {target}: it may use {} only",
                    ALLOWED_IN_DOMAIN.join(", ")
                ));
            }
        }
    }
    faults
}

/// A crate that does not take the lints of the workspace escapes `unsafe_code = "forbid"`.
fn without_workspace_lints(package: &Value) -> Result<Option<String>> {
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
    (length > LONGEST_FILE)
        .then(|| format!("{length} lines, {LONGEST_FILE} at most: split it by capability"))
}

fn unsafe_lines(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| has_unsafe(line))
        .map(|(index, _)| format!("line {} has unsafe code", index + 1))
}

/// Whether a line of code opens something unsafe; comments and names such as `unsafe_code` do not count.
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

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workspace(name: &str, dependencies: Value) -> Value {
        let others = ALLOWED
            .iter()
            .filter(|(other, _)| *other != name)
            .map(|(other, _)| json!({"name": other, "dependencies": []}));
        let package = json!({"name": name, "dependencies": dependencies});
        json!({"packages": others.chain([package]).collect::<Vec<_>>()})
    }

    #[test]
    fn arrows_that_point_inward_are_fine() {
        let good = workspace(
            "goodpon-sqlite",
            json!([
                {"name": "goodpon-application", "kind": null},
                {"name": "goodpon-domain", "kind": null},
                {"name": "goodpon-port-laws", "kind": "dev"},
                {"name": "rusqlite", "kind": null},
            ]),
        );
        assert_eq!(wrong_arrows(&good), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_that_points_outward_is_named() {
        let bad = workspace(
            "goodpon-application",
            json!([{"name": "goodpon-sqlite", "kind": null}]),
        );
        assert_eq!(
            wrong_arrows(&bad),
            ["goodpon-application must not depend on goodpon-sqlite"]
        );
    }

    #[test]
    fn port_laws_are_for_the_tests_of_adapters_only() {
        let shipped = workspace(
            "goodpon-sqlite",
            json!([{"name": "goodpon-port-laws", "kind": null}]),
        );
        assert_eq!(wrong_arrows(&shipped).len(), 1);
        let no_adapter = workspace(
            "goodpon-e2e",
            json!([{"name": "goodpon-port-laws", "kind": "dev"}]),
        );
        assert_eq!(wrong_arrows(&no_adapter).len(), 1);
    }

    #[test]
    fn the_domain_stays_pure() {
        let bad = workspace(
            "goodpon-domain",
            json!([
                {"name": "tokio", "kind": null},
                {"name": "serde", "kind": null},
                {"name": "jiff", "kind": null},
                {"name": "proptest", "kind": "dev"},
            ]),
        );
        let faults = wrong_arrows(&bad);
        assert_eq!(faults.len(), 2);
        assert!(faults[0].contains("tokio") && faults[1].contains("serde"));
    }

    #[test]
    fn a_new_crate_needs_a_place() {
        let bad = workspace("goodpon-utils", json!([]));
        assert_eq!(wrong_arrows(&bad).len(), 1);
    }

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
