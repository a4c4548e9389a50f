//! Metrics that are recorded and stand in no table, and metrics of a table that nobody records.
//!
//! The name of a metric is a text, a constant, or a field of a constant such as `QUEUE.deliveries`; either is looked up
//! in the crate that uses it.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::TokenTree;
use quote::ToTokens;

use super::sources::{Source, is_char, line, string, walk};

/// The type of the entries of tables.
const TABLE: &str = "Metric";

/// A call of one of the macros of the crate `metrics`, or an entry of a table.
struct Call {
    /// `counter`, `gauge` or `histogram`.
    kind: String,
    is_in_table: bool,
    /// Possible names: several if a field of constants has several values.
    names: BTreeSet<String>,
    /// File and line.
    at: String,
}

/// Every metric that stands in no table, and every entry of a table that nobody records.
pub fn check(sources: &[Source]) -> Vec<String> {
    let shipped = |one: &&Source| one.folder().starts_with("crates/") && !one.serves_tests();
    let sources: Vec<&Source> = sources.iter().filter(shipped).collect();
    let constants = constants(&sources);
    let mut calls = Vec::new();
    for source in &sources {
        for item in &source.shipped {
            walk(item.to_token_stream(), &mut |tree, after| {
                calls.extend(call(source, &constants, tree, after));
            });
        }
    }
    let without_name = calls
        .iter()
        .filter(|call| call.names.is_empty())
        .map(|call| {
            format!(
                "{}: the name of this {} is neither a text nor a constant of its crate",
                call.at, call.kind
            )
        });
    let mut faults: Vec<String> = without_name.collect();
    for call in &calls {
        for name in &call.names {
            let fits =
                |other: &&Call| other.is_in_table != call.is_in_table && other.names.contains(name);
            let counterpart = calls.iter().find(fits);
            let fault = match counterpart {
                Some(other) if other.kind == call.kind => continue,
                Some(other) => format!(
                    "is a {} here and a {} at {}",
                    call.kind, other.kind, other.at
                ),
                None if call.is_in_table => "stands in a table, and nobody records it".to_owned(),
                None => "is recorded, and stands in no table (metric.rs)".to_owned(),
            };
            faults.push(format!("{}: {name} {fault}", call.at));
        }
    }
    faults
}

/// Texts by the crate and the constant or field that they are the value of.
type Constants = BTreeMap<(String, String), BTreeSet<String>>;

/// Finds `const NAME: &str = "…"` and `field: "…"`.
fn constants(sources: &[&Source]) -> Constants {
    let mut constants = Constants::new();
    for source in sources {
        for item in &source.shipped {
            walk(item.to_token_stream(), &mut |tree, after| {
                if let TokenTree::Ident(name) = tree
                    && let [colon, rest @ ..] = after
                    && is_char(colon, ':')
                    && let Some(value) = constant_text(rest)
                {
                    let key = (source.folder().to_owned(), name.to_string());
                    constants.entry(key).or_default().insert(value);
                }
            });
        }
    }
    constants
}

/// The text after the colon: at once, or behind `&str =` or `&'static str =`.
fn constant_text(after: &[TokenTree]) -> Option<String> {
    let (first, rest) = after.split_first()?;
    if !is_char(first, '&') {
        return string(first);
    }
    let equals = rest.iter().take(5).position(|tree| is_char(tree, '='))?;
    string(rest.get(equals + 1)?)
}

/// Reads `counter!(name, …)`, or `Metric::counter(name, …)` in a table.
fn call(
    source: &Source,
    constants: &Constants,
    tree: &TokenTree,
    after: &[TokenTree],
) -> Option<Call> {
    let (kind, arguments) = match after {
        [bang, TokenTree::Group(arguments), ..] if is_char(bang, '!') => (tree, arguments),
        [colon, _, kind, TokenTree::Group(arguments), ..]
            if is_ident(tree, TABLE) && is_char(colon, ':') =>
        {
            (kind, arguments)
        }
        _ => return None,
    };
    let TokenTree::Ident(kind) = kind else {
        return None;
    };
    let kind = kind.to_string();
    if !["counter", "gauge", "histogram"].contains(&kind.as_str()) {
        return None;
    }
    let first: Vec<TokenTree> = arguments
        .stream()
        .into_iter()
        .take_while(|tree| !is_char(tree, ','))
        .collect();
    let names = match first.last()? {
        TokenTree::Ident(last) => {
            let key = (source.folder().to_owned(), last.to_string());
            constants.get(&key).cloned().unwrap_or_default()
        }
        text => string(text).into_iter().collect(),
    };
    Some(Call {
        kind,
        is_in_table: is_ident(tree, TABLE),
        names,
        at: format!("{}:{}", source.name, line(tree)),
    })
}

fn is_ident(tree: &TokenTree, wanted: &str) -> bool {
    matches!(tree, TokenTree::Ident(ident) if ident == wanted)
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;

    fn faults(files: &[(&str, &str)]) -> Result<Vec<String>> {
        let parsed: Result<Vec<Source>> = files
            .iter()
            .map(|(name, text)| Source::parse(name, text))
            .collect();
        Ok(check(&parsed?))
    }

    #[test]
    fn a_metric_in_any_table_is_fine() -> Result<()> {
        let found = faults(&[
            (
                "crates/a/src/lib.rs",
                "fn f() { metrics::counter!(\"x_total\", \"a\" => b).increment(1); }",
            ),
            (
                "crates/b/src/lib.rs",
                "pub const METRICS: [Metric; 1] = [Metric::counter(\"x_total\", \"Counts\").by(&[A])];",
            ),
        ])?;
        assert_eq!(found, Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn a_metric_in_no_table_and_one_that_nobody_records_are_named() -> Result<()> {
        let found = faults(&[(
            "crates/a/src/lib.rs",
            "fn f() { select! { _ = x => gauge!(\"a\").set(1.0) } }\n const T: Metric = Metric::gauge(\"b\", \"B\");\n\
             #[cfg(test)] fn g() { gauge!(\"b\"); }",
        )])?;
        assert_eq!(
            found,
            [
                "crates/a/src/lib.rs:1: a is recorded, and stands in no table (metric.rs)",
                "crates/a/src/lib.rs:2: b stands in a table, and nobody records it",
            ]
        );
        Ok(())
    }

    #[test]
    fn an_entry_of_another_kind_is_named() -> Result<()> {
        let text = "fn f() { gauge!(\"a\"); Metric::counter(\"a\", \"A\"); }";
        assert_eq!(faults(&[("crates/a/src/lib.rs", text)])?.len(), 2);
        Ok(())
    }

    #[test]
    fn names_are_found_behind_constants_and_fields() -> Result<()> {
        let text = "const CUT: &str = \"cut_total\"; const Q: M = M { due: \"due_count\", other: 1 };\n\
                    fn f() { counter!(CUT); gauge!(T::METRICS.due); Metric::gauge(Q.due, \"D\"); gauge!(name); }";
        let found = faults(&[("crates/a/src/lib.rs", text)])?;
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("neither a text nor a constant"));
        assert!(found[1].contains("cut_total is recorded, and stands in no table"));
        Ok(())
    }
}
