//! One field's value, read as the type that its handler expects.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use jiff::civil::{Date, DateTime};

use super::fault::FieldFault;
use super::{date, number};

/// A value as it was sent, not yet read as a type.
#[derive(Debug)]
pub(super) enum Given<'a> {
    /// Null, or not there.
    Absent,
    /// A JSON string, or a decoded part of path or query.
    Text(Cow<'a, str>),
    /// A JSON number, as written.
    Number(&'a str),
    /// True, false, an object, an array, or a text that is no sound Unicode.
    Other,
}

impl<'a> Given<'a> {
    pub(super) fn decoded(text: Option<Cow<'a, str>>) -> Self {
        text.map_or(Self::Other, Self::Text)
    }

    /// A whole and well-formed JSON value.
    pub(super) fn json(raw: &'a str) -> Self {
        match raw.as_bytes() {
            [b'"', .., b'"'] if !raw.contains('\\') => {
                Self::Text(Cow::Borrowed(&raw[1..raw.len() - 1]))
            }
            // Fails on a lone surrogate.
            [b'"', ..] => Self::decoded(serde_json::from_str(raw).ok().map(Cow::Owned)),
            [b'-' | b'0'..=b'9', ..] => Self::Number(raw),
            [b'n', ..] => Self::Absent,
            _ => Self::Other,
        }
    }

    fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(text) => Some(Cow::Borrowed(text)),
            Self::Absent | Self::Other => None,
        }
    }

    fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(text) => Some(text),
            Self::Absent | Self::Other => None,
        }
    }

    fn is_absent_or_empty(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Text(text) => text.is_empty(),
            Self::Number(_) | Self::Other => false,
        }
    }
}

/// The value of one field. Every method that reads it returns `None` where the field is at fault, and
/// notes the fault; an `optional_` one returns `Some(None)` where the field is absent.
#[must_use = "a field that is not read is not checked"]
#[derive(Debug)]
pub struct Reader<'f, 'a> {
    given: Given<'a>,
    name: &'static str,
    message: Option<&'static str>,
    faults: &'f mut Vec<FieldFault>,
}

impl<'f, 'a> Reader<'f, 'a> {
    pub(super) fn new(
        given: Given<'a>,
        name: &'static str,
        faults: &'f mut Vec<FieldFault>,
    ) -> Self {
        Self {
            given,
            name,
            message: None,
            faults,
        }
    }

    /// Gives a fault of the field this message.
    pub fn saying(mut self, message: &'static str) -> Self {
        self.message = Some(message);
        self
    }

    /// A text whose number of characters (Unicode code points) is in the range, unchanged.
    pub fn text(self, characters: RangeInclusive<usize>) -> Option<Cow<'a, str>> {
        self.read(|given| checked_text(given.into_text()?, characters))
    }

    /// A text of any length, the empty one included, unchanged.
    pub fn any_text(self) -> Option<Cow<'a, str>> {
        self.text(0..=usize::MAX)
    }

    /// A text that may be absent; an empty one is not absent, but has the length 0.
    pub fn optional_text(self, characters: RangeInclusive<usize>) -> Option<Option<Cow<'a, str>>> {
        if matches!(self.given, Given::Absent) {
            return Some(None);
        }
        self.text(characters).map(Some)
    }

    /// A text without the white space around it, whose number of characters is in the range after that.
    pub fn trimmed_text(self, characters: RangeInclusive<usize>) -> Option<Cow<'a, str>> {
        self.trimmed_text_where(characters, |_| true)
    }

    /// As [`Self::trimmed_text`], of texts that `is_sound` accepts.
    pub fn trimmed_text_where(
        self,
        characters: RangeInclusive<usize>,
        is_sound: impl FnOnce(&str) -> bool,
    ) -> Option<Cow<'a, str>> {
        self.read(|given| {
            let text = checked_text(trimmed(given.into_text()?), characters)?;
            is_sound(&text).then_some(text)
        })
    }

    /// An identifier that is never at fault, only found or not: empty where it is absent or cannot be decoded.
    pub fn opaque(self) -> Cow<'a, str> {
        self.given.into_text().unwrap_or_default()
    }

    /// A 64-bit id in plain decimal. Ids of 0 and below are no fault; the use case finds nothing by them.
    pub fn id(self) -> Option<i64> {
        self.read(|given| whole_id(given.as_text()?))
    }

    /// An id that may be absent.
    pub fn optional_id(self) -> Option<Option<i64>> {
        self.optional(Self::id)
    }

    /// A whole number within `bounds`, in any notation that the contract allows.
    pub fn whole(self, bounds: RangeInclusive<i64>) -> Option<i64> {
        self.read(|given| {
            let value = number::whole(given.as_text()?)?;
            bounds.contains(&value).then_some(value)
        })
    }

    /// A whole number that may be absent.
    pub fn optional_whole(self, bounds: RangeInclusive<i64>) -> Option<Option<i64>> {
        self.optional(|reader| reader.whole(bounds))
    }

    /// A date `yyyy-MM-dd` from 2000-01-01 to 9998-12-31.
    pub fn date(self) -> Option<Date> {
        self.read(|given| date::parse_date(given.as_text()?))
    }

    /// A date that may be absent.
    pub fn optional_date(self) -> Option<Option<Date>> {
        self.optional(Self::date)
    }

    /// A local date-time without offset, to the microsecond, that may be absent.
    pub fn optional_date_time(self) -> Option<Option<DateTime>> {
        self.optional(|reader| reader.read(|given| date::parse_date_time(given.as_text()?)))
    }

    /// One of `choices`, by its exact name.
    pub fn choice<T: Copy>(self, choices: &[(&str, T)]) -> Option<T> {
        self.read(|given| {
            let text = given.as_text()?;
            let chosen = choices.iter().find(|(name, _)| *name == text)?;
            Some(chosen.1)
        })
    }

    /// One of `choices` that may be absent.
    pub fn optional_choice<T: Copy>(self, choices: &[(&str, T)]) -> Option<Option<T>> {
        self.optional(|reader| reader.choice(choices))
    }

    fn read<T>(self, read: impl FnOnce(Given<'a>) -> Option<T>) -> Option<T> {
        let value = read(self.given);
        if value.is_none() {
            self.faults.push(FieldFault {
                field: self.name,
                message: self.message,
            });
        }
        value
    }

    fn optional<T>(self, read: impl FnOnce(Self) -> Option<T>) -> Option<Option<T>> {
        if self.given.is_absent_or_empty() {
            return Some(None);
        }
        read(self).map(Some)
    }
}

/// A 64-bit id in plain decimal.
pub(super) fn whole_id(text: &str) -> Option<i64> {
    // `parse` alone would accept a leading plus.
    (!text.starts_with('+')).then(|| text.parse().ok())?
}

fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

fn checked_text(text: Cow<'_, str>, characters: RangeInclusive<usize>) -> Option<Cow<'_, str>> {
    let sound = !text.as_bytes().contains(&0) && characters.contains(&text.chars().count());
    sound.then_some(text)
}
