//! Arrows between crates: each may depend on what the list allows, and the list allows nothing that no crate uses.

use serde_json::Value;

/// The crates of ours that each of them may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("goodpon-domain", &[]),
    // The context of a trace, a value of two ids and a flag: it knows none of our crates, and no runtime.
    ("goodpon-trace", &[]),
    // Tables of metrics: values, and nothing that records.
    ("goodpon-metric", &[]),
    (
        "goodpon-application",
        &["goodpon-domain", "goodpon-metric", "goodpon-trace"],
    ),
    (
        "goodpon-port-laws",
        &[
            "goodpon-application",
            "goodpon-domain",
            "goodpon-trace",
            "goodpon-waits",
        ],
    ),
    // For tests of every crate; it knows nothing of coupons.
    ("goodpon-waits", &[]),
    // How background tasks are run; it knows nothing of coupons, and adapters with loops or threads use it.
    ("goodpon-supervise", &["goodpon-metric"]),
    (
        "goodpon-sqlite",
        &[
            "goodpon-application",
            "goodpon-domain",
            "goodpon-metric",
            "goodpon-supervise",
            "goodpon-trace",
        ],
    ),
    (
        "goodpon-mysql",
        &[
            "goodpon-application",
            "goodpon-domain",
            "goodpon-metric",
            "goodpon-trace",
        ],
    ),
    (
        "goodpon-valkey",
        &["goodpon-application", "goodpon-domain", "goodpon-metric"],
    ),
    (
        "goodpon-kafka",
        &["goodpon-domain", "goodpon-metric", "goodpon-trace"],
    ),
    // An adapter made of three: the issue path is one thing over them.
    (
        "goodpon-scaled",
        &[
            "goodpon-application",
            "goodpon-domain",
            "goodpon-metric",
            "goodpon-mysql",
            "goodpon-valkey",
            "goodpon-kafka",
            "goodpon-supervise",
            // For its tests only: within the issue path the context stays ambient.
            "goodpon-trace",
        ],
    ),
    ("goodpon-gate-model", &["goodpon-domain"]),
    (
        "goodpon-simulator",
        &[
            "goodpon-application",
            "goodpon-domain",
            "goodpon-gate-model",
            "goodpon-scaled",
        ],
    ),
    ("goodpon-mail", &["goodpon-application", "goodpon-domain"]),
    // The mechanics of serving HTTP: every API and page stands on it, and it knows nothing of coupons.
    ("goodpon-web", &["goodpon-metric", "goodpon-trace"]),
    (
        "goodpon-http",
        &[
            "goodpon-application",
            "goodpon-domain",
            "goodpon-supervise",
            "goodpon-web",
        ],
    ),
    (
        "goodpon-worker",
        &[
            "goodpon-application",
            "goodpon-metric",
            "goodpon-supervise",
            "goodpon-trace",
        ],
    ),
    ("goodpon-telemetry", &["goodpon-metric", "goodpon-trace"]),
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
            "goodpon-metric",
            "goodpon-supervise",
            "goodpon-web",
            "goodpon-worker",
            "goodpon-telemetry",
        ],
    ),
    // These two drive the program from outside and know none of its code.
    ("goodpon-e2e", &["goodpon-waits"]),
    ("xtask", &[]),
];

/// Further crates of ours for the tests of adapters.
const ALLOWED_IN_TESTS: &[&str] = &["goodpon-port-laws", "goodpon-gate-model"];
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

/// All that the domain may use of others: no runtime, no serialisation, no I/O.
const ALLOWED_IN_DOMAIN: &[&str] = &["jiff", "thiserror"];

/// Every wrong arrow, and every allowed one that no crate uses.
pub fn check(metadata: &Value) -> Vec<String> {
    let mut faults = wrong_arrows(metadata);
    faults.extend(unused_arrows(metadata));
    faults
}

/// The crates of the workspace.
pub fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
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
                "{name} has no place in the list of allowed arrows (xtask/src/check/arrows.rs)"
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

/// Every allowed arrow along which no crate depends on the other, as a sentence.
fn unused_arrows(metadata: &Value) -> Vec<String> {
    let uses = |name: &str, target: &str, kinds: &[Option<&str>]| {
        packages(metadata)
            .filter(|package| package["name"] == name)
            .flat_map(|package| package["dependencies"].as_array().into_iter().flatten())
            .any(|one| one["name"] == target && kinds.contains(&one["kind"].as_str()))
    };
    let mut faults = Vec::new();
    for (name, targets) in ALLOWED {
        for target in *targets {
            if !uses(name, target, &[None, Some("dev"), Some("build")]) {
                faults.push(format!("{name} may depend on {target} and does not"));
            }
        }
    }
    for target in ALLOWED_IN_TESTS {
        if !ADAPTERS
            .iter()
            .any(|name| uses(name, target, &[Some("dev")]))
        {
            faults.push(format!(
                "tests of adapters may depend on {target} and none does"
            ));
        }
    }
    for fault in &mut faults {
        fault.push_str(": take it out of the list in xtask/src/check/arrows.rs");
    }
    faults
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
    fn an_arrow_that_nobody_uses_is_named() {
        let named = |kind: Value| {
            let dependencies = json!([{"name": "goodpon-domain", "kind": kind}]);
            unused_arrows(&workspace("goodpon-application", dependencies))
                .contains(&"goodpon-application may depend on goodpon-domain and does not: take it out of the list in xtask/src/check/arrows.rs".to_owned())
        };
        assert!(!named(Value::Null) && !named(json!("dev")));
        let without = unused_arrows(&workspace("goodpon-application", json!([])));
        assert!(without[0].starts_with("goodpon-application may depend on goodpon-domain"));
        assert!(without.iter().any(|fault| fault.contains("none does")));
    }

    #[test]
    fn a_new_crate_needs_a_place() {
        let bad = workspace("goodpon-utils", json!([]));
        assert_eq!(wrong_arrows(&bad).len(), 1);
    }
}
