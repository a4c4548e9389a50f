//! `/metrics` against `docs/metrics.md`: names, labels and their values.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use goodpon_e2e::{Api, Options, Template, World};

/// The most series of a process: sets of labels, each bucket of a histogram not counted apart.
const MAX_SERIES: usize = 400;

/// The labels of a metric in the order of the page, each with its values if they are all known.
type Labels = Vec<(String, Option<BTreeSet<String>>)>;

/// Reads the rows of the page's tables.
fn documented() -> BTreeMap<String, Labels> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(file).unwrap();
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`');
        let labels = cells.nth(2)?.trim_end_matches(" |");
        let labels = labels.split("; ").filter(|label| !label.is_empty());
        Some((name.to_owned(), labels.map(label).collect()))
    });
    rows.collect()
}

/// Reads `` `how`: `open`, `not_sent` ``.
fn label(text: &str) -> (String, Option<BTreeSet<String>>) {
    let (name, values) = text.split_once(": ").unwrap();
    let unquoted = |text: &str| {
        let inside = text.strip_prefix('`')?.strip_suffix('`')?;
        (!inside.contains('`')).then(|| inside.to_owned())
    };
    let values: Option<BTreeSet<_>> = values.split(", ").map(unquoted).collect();
    (unquoted(name).unwrap(), values)
}

/// A sample's metric, and its labels without the bucket's.
fn series(sample: &str, documented: &BTreeMap<String, Labels>) -> (String, Vec<(String, String)>) {
    let (name, rest) = sample.split_once(['{', ' ']).unwrap();
    let of_histogram = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .filter(|name| documented.contains_key(*name));
    let name = of_histogram.unwrap_or(name).to_owned();
    let Some((labels, _)) = rest.rsplit_once("\"} ") else {
        return (name, Vec::new());
    };
    let labels = labels.split("\",").map(|label| {
        let (name, value) = label.split_once("=\"").unwrap();
        (name.to_owned(), value.to_owned())
    });
    (name, labels.filter(|(name, _)| name != "le").collect())
}

#[tokio::test]
async fn the_page_names_all_metrics_with_their_labels() {
    let world = World::with(Options::default()).await;
    let template = world.publish(&Template::default()).await;
    world.shop.issue(template, "a-user").await.ok();
    world
        .shop
        .issue(template, "a-user")
        .await
        .refused("COUPON_ALREADY_ISSUED");
    for api in [Api::Dashboard, Api::Partner] {
        world.client.call(api, "GET", "/nothing").send().await;
    }
    let url = format!("http://{}/metrics", world.server().admin());
    let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
    let documented = documented();
    let mut shown = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("# TYPE ") {
            let name = name.split(' ').next().unwrap();
            let help = format!("# HELP {name} ");
            assert!(text.contains(&help), "{name} has no description");
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (name, labels) = series(line, &documented);
        let known = documented.get(&name);
        let known = known.unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
        let names: Vec<_> = labels.iter().map(|(name, _)| name).collect();
        let expected: Vec<_> = known.iter().map(|(name, _)| name).collect();
        assert_eq!(names, expected, "{line}");
        for ((_, value), (_, values)) in labels.iter().zip(known) {
            let fits = values.as_ref().is_none_or(|values| values.contains(value));
            assert!(fits, "docs/metrics.md does not list {value}: {line}");
        }
        shown.insert((name, labels));
    }
    assert!(shown.len() <= MAX_SERIES, "{} series", shown.len());
    for (name, labels) in [
        ("goodpon_issue_total", Some(("outcome", "sold_out"))),
        ("goodpon_sweep_failures_total", Some(("kind", "clean_up"))),
        (
            "goodpon_mail_deliveries_total",
            Some(("outcome", "given_up")),
        ),
    ] {
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let one = (name.to_owned(), Vec::from_iter(labels));
        assert!(
            shown.contains(&one),
            "{one:?} does not stand there from the start"
        );
    }
}
