//! Checks licences and duplicate versions of dependencies by `deny.toml` (the format of cargo-deny, so that either tool
//! can be used; this one needs no build of some minutes).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::process;

#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

/// A version that may stand beside another one, and the reason.
#[derive(Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    name_and_version: String,
    reason: String,
}

/// A crate of the graph.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    license: String,
}

/// Checks every crate that the workspace uses on the targets of `deny.toml`.
pub fn check() -> Result<()> {
    let path = process::root().join("deny.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let rules: Rules = toml::from_str(&text).context("in deny.toml")?;
    let mut graph = BTreeSet::new();
    for target in &rules.graph.targets {
        let tree = process::output_of(
            process::cargo()
                .args(["tree", "--locked", "--workspace", "--edges", "all"])
                .args([
                    "--prefix", "none", "--format", "{p}\t{l}", "--target", target,
                ]),
        )?;
        graph.extend(used(&tree));
    }
    let mut faults = licence_faults(&graph, &rules.licenses.allow);
    faults.extend(duplicate_faults(&graph, &rules.bans.skip));
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!(
            "{} fault(s) in the dependencies, by the rules of deny.toml",
            faults.len()
        );
    }
    println!("dependencies: {} crates, in order", graph.len());
    advisories()
}

/// Compares the dependencies with the database of known holes, by cargo-deny. Where that or its database cannot be had
/// this prints so and fails nothing: it is not the change's fault.
fn advisories() -> Result<()> {
    let asked = process::cargo()
        .args(["deny", "--color", "never", "check", "advisories"])
        .output()
        .context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&asked.stderr);
    match verdict(asked.status.success(), &said) {
        Advisories::None => println!("advisories: none that concerns us"),
        Advisories::NotAsked(why) => println!("advisories: NOT CHECKED: {why}"),
        Advisories::Found => {
            eprint!("{said}");
            bail!("advisories: a dependency has a known hole");
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Advisories {
    None,
    NotAsked(String),
    Found,
}

/// Reads the outcome of cargo-deny, which fails the same for a finding as for a database that it cannot fetch.
fn verdict(succeeded: bool, said: &str) -> Advisories {
    if succeeded {
        return Advisories::None;
    }
    let line_with = |words: &[&str]| {
        said.lines()
            .find(|line| words.iter().any(|word| line.contains(word)))
            .map(|line| line.trim().to_owned())
    };
    if line_with(&["no such command"]).is_some() {
        let why = "cargo-deny is not installed (`cargo install --locked cargo-deny`)";
        return Advisories::NotAsked(why.into());
    }
    match line_with(&[
        "failed to fetch advisory database",
        "failed to load advisory database",
    ]) {
        Some(line) => Advisories::NotAsked(line),
        None => Advisories::Found,
    }
}

/// Reads the packages of a listing by `cargo tree`, which names those that are built; `cargo metadata` names more.
fn used(tree: &str) -> BTreeSet<Package> {
    tree.lines()
        .filter_map(|line| {
            let (package, license) = line.split_once('\t')?;
            let mut words = package.split(' ');
            Some(Package {
                name: words.next()?.to_owned(),
                version: words.next()?.strip_prefix('v')?.to_owned(),
                license: license.trim_end_matches("(*)").trim_end().to_owned(),
            })
        })
        .collect()
}

fn licence_faults(graph: &BTreeSet<Package>, allowed: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    for package in graph {
        let fine = Expression::parse_mode(&package.license, ParseMode::LAX).is_ok_and(|needed| {
            needed.evaluate(|requirement| allowed.contains(&requirement.to_string()))
        });
        if !fine {
            faults.push(format!(
                "{} {}: licence \"{}\" is not allowed",
                package.name, package.version, package.license
            ));
        }
    }
    faults
}

/// Names crates with more than one version once the accepted ones are left out, and acceptances that are needed no more.
fn duplicate_faults(graph: &BTreeSet<Package>, accepted: &[Skip]) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in graph {
        versions
            .entry(&package.name)
            .or_default()
            .push(&package.version);
    }
    versions.retain(|_, found| found.len() > 1);
    let mut faults = Vec::new();
    for skip in accepted {
        let (name, version) = skip
            .name_and_version
            .split_once('@')
            .unwrap_or((&skip.name_and_version, ""));
        let found = versions
            .get_mut(name)
            .and_then(|found| {
                let place = found.iter().position(|one| matches(one, version))?;
                Some(found.remove(place))
            })
            .is_some();
        if !found || skip.reason.is_empty() {
            faults.push(format!(
                "{}: accepted without need or without a reason",
                skip.name_and_version
            ));
        }
    }
    for (name, found) in versions {
        if found.len() > 1 {
            faults.push(format!(
                "{name} comes in several versions: {}",
                found.join(", ")
            ));
        }
    }
    faults
}

/// Says that `version` is the wanted one, of which trailing parts may be left out.
fn matches(version: &str, wanted: &str) -> bool {
    version == wanted
        || version
            .strip_prefix(wanted)
            .is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(packages: &[(&str, &str, &str)]) -> BTreeSet<Package> {
        packages
            .iter()
            .map(|(name, version, license)| Package {
                name: (*name).to_owned(),
                version: (*version).to_owned(),
                license: (*license).to_owned(),
            })
            .collect()
    }

    fn skip(name_and_version: &str) -> Skip {
        Skip {
            name_and_version: name_and_version.to_owned(),
            reason: "an old user".to_owned(),
        }
    }

    #[test]
    fn a_listing_is_read() {
        let found = used("a v1.0.0 (proc-macro)\tMIT OR Apache-2.0\nb v0.2.0 (/a/b)\tMIT (*)\n\n");
        assert!(found == graph(&[("a", "1.0.0", "MIT OR Apache-2.0"), ("b", "0.2.0", "MIT")]));
    }

    #[test]
    fn one_allowed_licence_of_a_choice_is_enough() {
        let allowed = ["MIT".to_owned()];
        let found = graph(&[
            ("a", "1.0.0", "MIT OR GPL-3.0-only"),
            ("b", "1.0.0", "MIT/Apache-2.0"),
            ("c", "1.0.0", "MIT AND GPL-3.0-only"),
            ("d", "1.0.0", ""),
        ]);
        let faults = licence_faults(&found, &allowed);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].starts_with("c ") && faults[1].starts_with("d "));
    }

    #[test]
    fn a_second_version_is_named_unless_accepted() {
        let found = graph(&[("a", "1.0.0", "MIT"), ("a", "2.1.0", "MIT")]);
        assert_eq!(
            duplicate_faults(&found, &[]),
            ["a comes in several versions: 1.0.0, 2.1.0"]
        );
        assert_eq!(
            duplicate_faults(&found, &[skip("a@1.0")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_was_not_asked_is_no_finding_and_no_pass() {
        assert_eq!(verdict(true, ""), Advisories::None);
        let missing = verdict(false, "error: no such command: `deny`");
        assert!(matches!(missing, Advisories::NotAsked(why) if why.contains("cargo install")));
        let offline = "2026-01-01 [ERROR] failed to fetch advisory database https://x";
        assert!(matches!(verdict(false, offline), Advisories::NotAsked(_)));
        let found = "error[vulnerability]: a hole";
        assert_eq!(verdict(false, found), Advisories::Found);
    }

    #[test]
    fn an_acceptance_without_need_is_named() {
        let found = graph(&[("a", "2.1.0", "MIT")]);
        assert_eq!(duplicate_faults(&found, &[skip("a@1")]).len(), 1);
    }
}
