//! Parsers of single values.

use std::fmt::Display;

use super::{ConfigError, Resolved, SPECS, Secrecy, Source};

/// Reads one setting; an error names it and its source, and its value unless that is a secret.
pub(super) fn read<T, E: Display>(
    all: &Resolved,
    name: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, ConfigError> {
    let (text, source) = all.get(name)?;
    parse(text).map_err(|error| {
        let secret = SPECS
            .iter()
            .any(|spec| spec.name == name && spec.secrecy != Secrecy::Open);
        let shown = match secret {
            true => String::new(),
            false => format!(" {text:?}"),
        };
        bad_value(&shown, name, source, &error)
    })
}

pub(super) fn bad_value(
    shown: &str,
    name: &str,
    source: &Source,
    error: &dyn Display,
) -> ConfigError {
    let shown_source = match source {
        // With the key as the file has it.
        Source::File(_) => format!("{} in {source}", name.replace('-', "_")),
        _ => source.to_string(),
    };
    ConfigError(format!(
        "bad value{shown} for {name} ({shown_source}): {error}"
    ))
}

/// Like [`read`], for optional settings: the empty text is `None`.
pub(super) fn read_given<T>(
    all: &Resolved,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    read(all, name, |text| match text {
        "" => Ok(None),
        text => parse(text).map(Some),
    })
}

pub(super) fn not_empty(text: &str) -> Result<String, &'static str> {
    match text {
        "" => Err("must not be empty"),
        text => Ok(text.to_owned()),
    }
}

pub(super) fn whole(text: &str, range: std::ops::RangeInclusive<u32>) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (from, to) = (range.start(), range.end());
            format!("must be a whole number from {from} to {to}")
        })
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    text.parse().map_err(|_| "must be true or false")
}
