//! Metrics that are recorded without a description, and descriptions of what nobody records.
//!
//! The name of a metric is a text, a constant, or a field of a constant such as `QUEUE.deliveries`; either is looked up
//! in the crate that uses it.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::TokenTree;
use quote::ToTokens;

use super::sources::{Source, is_char, line, string, walk};

/// A call of one of the macros of the crate `metrics`.
struct Call {
    /// `counter`, `gauge` or `histogram`.
    kind: String,
    is_description: bool,
    /// Possible names: several if a field of constants has several values.
    names: BTreeSet<String>,
    /// File and line.
    at: String,
}

/// Every metric without a description, and every description without a metric.
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
            let fits = |other: &&Call| {
                other.is_description != call.is_description && other.names.contains(name)
            };
            let counterpart = calls.iter().find(fits);
            let fault = match counterpart {
                Some(other) if other.kind == call.kind => continue,
                Some(other) => format!(
                    "is a {} here and a {} at {}",
                    call.kind, other.kind, other.at
                ),
                None if call.is_description => "is described, and nobody records it".to_owned(),
                None => format!("is recorded without a describe_{}!", call.kind),
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

fn call(
    source: &Source,
    constants: &Constants,
    tree: &TokenTree,
    after: &[TokenTree],
) -> Option<Call> {
    let TokenTree::Ident(name) = tree else {
        return None;
    };
    let name = name.to_string();
    let kind = name.strip_prefix("describe_").unwrap_or(&name);
    if !["counter", "gauge", "histogram"].contains(&kind) {
        return None;
    }
    let [bang, TokenTree::Group(arguments), ..] = after else {
        return None;
    };
    if !is_char(bang, '!') {
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
        kind: kind.to_owned(),
        is_description: kind.len() < name.len(),
        names,
        at: format!("{}:{}", source.name, line(tree)),
    })
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
    fn a_metric_described_anywhere_is_fine() -> Result<()> {
        let found = faults(&[
            (
                "crates/a/src/lib.rs",
                "fn f() { metrics::counter!(\"x_total\", \"a\" => b).increment(1); }",
            ),
            (
                "crates/b/src/lib.rs",
                "fn f() { describe_counter!(\"x_total\", \"Counts\"); }",
            ),
        ])?;
        assert_eq!(found, Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn a_metric_without_description_and_one_that_nobody_records_are_named() -> Result<()> {
        let found = faults(&[(
            "crates/a/src/lib.rs",
            "fn f() { select! { _ = x => gauge!(\"a\").set(1.0) }\n describe_gauge!(\"b\", \"B\"); }\n\
             #[cfg(test)] fn g() { gauge!(\"b\"); }",
        )])?;
        assert_eq!(
            found,
            [
                "crates/a/src/lib.rs:1: a is recorded without a describe_gauge!",
                "crates/a/src/lib.rs:2: b is described, and nobody records it",
            ]
        );
        Ok(())
    }

    #[test]
    fn a_description_of_another_kind_is_named() -> Result<()> {
        let text = "fn f() { gauge!(\"a\"); describe_counter!(\"a\", \"A\"); }";
        assert_eq!(faults(&[("crates/a/src/lib.rs", text)])?.len(), 2);
        Ok(())
    }

    #[test]
    fn names_are_found_behind_constants_and_fields() -> Result<()> {
        let text = "const CUT: &str = \"cut_total\"; const Q: M = M { due: \"due_count\", other: 1 };\n\
                    fn f() { counter!(CUT); gauge!(T::METRICS.due); describe_gauge!(Q.due, \"D\"); gauge!(name); }";
        let found = faults(&[("crates/a/src/lib.rs", text)])?;
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("neither a text nor a constant"));
        assert!(found[1].contains("cut_total is recorded without"));
        Ok(())
    }
}
