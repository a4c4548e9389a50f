#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use goodpon_metric::Kind;

use super::*;

/// If it is set, the page is written instead of compared.
const UPDATE: &str = "UPDATE_DOCS";

#[test]
fn the_page_is_that_of_the_tables() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = page();
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&file, &page).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == page,
        "docs/metrics.md is not that of the tables: run `{UPDATE}=1 cargo test -p goodpon metric`"
    );
}

#[test]
fn a_name_stands_in_one_table_and_says_its_kind() {
    let mut names = BTreeSet::new();
    for metric in TABLES.iter().flat_map(|table| table.metrics) {
        assert!(names.insert(metric.name), "{} stands twice", metric.name);
        let is_counter = metric.kind == Kind::Counter;
        assert_eq!(
            metric.name.ends_with("_total"),
            is_counter,
            "{}",
            metric.name
        );
        let known = ["goodpon_", "process_"];
        assert!(
            known.iter().any(|prefix| metric.name.starts_with(prefix)),
            "{}",
            metric.name
        );
        assert!(!metric.meaning.ends_with('.'), "{}", metric.name);
    }
}

#[test]
fn a_part_apart_has_the_metrics_of_its_work_only() {
    let has = |role, is_scaled_out, name: &str| {
        TABLES
            .iter()
            .filter(|table| table.processes.include(role, is_scaled_out))
            .any(|table| table.metrics.iter().any(|metric| metric.name == name))
    };
    for (name, all, embedded, partner, issuer) in [
        ("goodpon_issue_total", true, true, true, false),
        ("goodpon_issuer_records_total", true, false, false, true),
        ("goodpon_writer_queue_depth", false, true, false, false),
        ("goodpon_sweep_total", true, true, false, false),
        ("goodpon_build_info", true, true, true, true),
    ] {
        let found = [
            has(Role::All, true, name),
            has(Role::All, false, name),
            has(Role::Partner, true, name),
            has(Role::Issuer, true, name),
        ];
        assert_eq!(found, [all, embedded, partner, issuer], "{name}");
    }
}
