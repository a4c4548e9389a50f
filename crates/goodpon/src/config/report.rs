//! The output of `goodpon config`: every setting, its value and its source.

use std::fmt::Write;

use super::{ConfigError, Resolved, SPECS, Secrecy, Source, Spec};

const MASK: &str = "********";

/// Masks the secret part of a value.
fn masked(spec: &Spec, value: &str) -> String {
    match spec.secrecy {
        _ if value.is_empty() => String::new(),
        Secrecy::Open => value.to_owned(),
        Secrecy::Secret => MASK.to_owned(),
        Secrecy::SecretUrl => mask_password(value),
    }
}

/// Returns a setting's effective value, with secrets masked, and its source.
fn effective<'a>(all: &'a Resolved, spec: &Spec) -> Result<(String, &'a Source), ConfigError> {
    let (value, source) = all.get(spec.name)?;
    if spec.name == "verify-link-base" && value.is_empty() {
        let (address, _) = all.get("dashboard-addr")?;
        let base = match address.rsplit_once(':') {
            // The port is chosen at the start.
            Some((_, "0")) | None => "http://localhost:<dashboard port>".to_owned(),
            Some((_, port)) => format!("http://localhost:{port}"),
        };
        return Ok((base, source));
    }
    Ok((masked(spec, value), source))
}

/// Masks the password in `scheme://user:password@host`. A word alone before the `@` may be a password and is masked too. A
/// text that is not a URL is masked whole.
fn mask_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return MASK.to_owned();
    };
    match rest.rsplit_once('@') {
        None => url.to_owned(),
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:{MASK}@{host}"),
            None => format!("{scheme}://{MASK}@{host}"),
        },
    }
}

/// Returns a table for people.
///
/// # Errors
/// Never in a build whose settings are consistent.
pub fn as_table(all: &Resolved) -> Result<String, ConfigError> {
    let mut rows = vec![[
        "SETTING".to_owned(),
        "VALUE".to_owned(),
        "SOURCE".to_owned(),
    ]];
    for spec in &SPECS {
        let (value, source) = effective(all, spec)?;
        let value = match value {
            empty if empty.is_empty() => "-".to_owned(),
            value => value,
        };
        rows.push([spec.name.to_owned(), value, source.to_string()]);
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    let mut table = String::new();
    for [name, value, source] in &rows {
        // Writing into a String does not fail.
        let _ = writeln!(table, "{name:first$}  {value:second$}  {source}");
    }
    Ok(table)
}

/// Returns an object for programs: `{"value", "source"}` by setting name.
///
/// # Errors
/// Never in a build whose settings are consistent.
pub fn as_json(all: &Resolved) -> Result<serde_json::Value, ConfigError> {
    let mut object = serde_json::Map::new();
    for spec in &SPECS {
        let (value, source) = effective(all, spec)?;
        let entry = serde_json::json!({"value": value, "source": source.to_string()});
        object.insert(spec.name.to_owned(), entry);
    }
    Ok(object.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::{Flags, resolve};
    use super::*;

    #[test]
    fn secrets_are_masked() {
        let mut flags = Flags::default();
        for (name, value) in [
            ("jwt-secret", "hunter2hunter2hunter2hunter2hunter2"),
            (
                "smtp-url",
                "smtp://me:hun@ter2@mail.example:587?tls=required",
            ),
        ] {
            flags.values.insert(name, value.to_owned());
        }
        let all = resolve(&flags, []).unwrap();
        let table = as_table(&all).unwrap();
        assert!(!table.contains("hun") && !table.contains("ter2"), "{table}");
        let json = as_json(&all).unwrap();
        assert_eq!(json["jwt-secret"]["value"], MASK);
        assert_eq!(
            json["smtp-url"]["value"],
            "smtp://me:********@mail.example:587?tls=required"
        );
        assert_eq!(json["smtp-url"]["source"], "flag");
        assert_eq!(json["time-zone"]["source"], "default");
    }

    #[test]
    fn the_effective_link_base_is_shown() {
        for (flags, expected) in [
            (vec![], "http://localhost:8080"),
            (vec![("dashboard-addr", "[::]:80")], "http://localhost:80"),
            (
                vec![("dashboard-addr", "127.0.0.1:0")],
                "http://localhost:<dashboard port>",
            ),
            (
                vec![("verify-link-base", "https://a.example")],
                "https://a.example",
            ),
        ] {
            let values = flags.into_iter().map(|(name, value)| (name, value.into()));
            let flags = Flags {
                values: values.collect(),
                file: None,
            };
            let all = resolve(&flags, []).unwrap();
            assert_eq!(
                as_json(&all).unwrap()["verify-link-base"]["value"],
                expected
            );
            assert!(as_table(&all).unwrap().contains(expected));
        }
    }

    #[test]
    fn a_text_that_is_not_a_url_is_masked_whole() {
        assert_eq!(mask_password("me:hunter2"), MASK);
        assert_eq!(mask_password("smtp://mail.example"), "smtp://mail.example");
    }

    #[test]
    fn a_word_that_may_be_a_password_is_masked() {
        for (url, shown) in [
            ("valkey://hunter2@cache", "valkey://********@cache"),
            ("valkey://:hunter2@cache", "valkey://:********@cache"),
            ("mysql://me:hunter2@db/d", "mysql://me:********@db/d"),
        ] {
            assert_eq!(mask_password(url), shown);
        }
    }
}
