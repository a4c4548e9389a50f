//! One field's value, read as what the caller expects of it.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use goodpon_domain::name::looks_empty;
use jiff::civil::{Date, DateTime};

use super::{date, number};
use crate::error::{FieldError, INVALID_VALUE};

/// The largest amount, in whole units of the merchant's currency (contract §1).
pub const MAX_AMOUNT: i64 = 1_000_000_000_000;
/// The largest count (contract §1).
pub const MAX_COUNT: i64 = 1_000_000_000;
/// The largest `validityDays` (contract §1).
pub const MAX_VALIDITY_DAYS: i64 = 36_500;

/// A value as it came, before anybody has said what it should be.
#[derive(Debug)]
pub(super) enum Given<'a> {
    Absent,
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

    /// Of a whole and well-formed JSON value.
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

/// The value of one field. Every method that reads it gives `None` where the field is at fault, and
/// notes the fault; an `optional_` one gives `Some(None)` where the field is absent.
#[must_use = "a field that is not read is not checked"]
#[derive(Debug)]
pub struct Reader<'f, 'a> {
    given: Given<'a>,
    name: &'static str,
    message: &'static str,
    faults: &'f mut Vec<FieldError>,
}

impl<'f, 'a> Reader<'f, 'a> {
    pub(super) fn new(
        given: Given<'a>,
        name: &'static str,
        faults: &'f mut Vec<FieldError>,
    ) -> Self {
        Self {
            given,
            name,
            message: INVALID_VALUE,
            faults,
        }
    }

    /// Has a fault told in these words.
    pub fn saying(mut self, message: &'static str) -> Self {
        self.message = message;
        self
    }

    /// A text of so many characters (Unicode code points), unchanged.
    pub fn text(self, characters: RangeInclusive<usize>) -> Option<Cow<'a, str>> {
        self.read(|given| checked_text(given.into_text()?, characters))
    }

    /// A text of any length, the empty one included, unchanged.
    pub fn any_text(self) -> Option<Cow<'a, str>> {
        self.text(0..=usize::MAX)
    }

    /// A text that may be absent; an empty one is judged by its length.
    pub fn optional_text(self, characters: RangeInclusive<usize>) -> Option<Option<Cow<'a, str>>> {
        if matches!(self.given, Given::Absent) {
            return Some(None);
        }
        self.text(characters).map(Some)
    }

    /// A text without the white space around it, of so many characters after that.
    pub fn trimmed_text(self, characters: RangeInclusive<usize>) -> Option<Cow<'a, str>> {
        self.read(|given| checked_text(trimmed(given.into_text()?), characters))
    }

    /// A name: a text without the white space around it, whose length in characters is in the range after that, and of which one can be seen.
    pub fn name(self, characters: RangeInclusive<usize>) -> Option<Cow<'a, str>> {
        self.read(|given| {
            let name = checked_text(trimmed(given.into_text()?), characters)?;
            (!looks_empty(&name)).then_some(name)
        })
    }

    /// An identifier that is never at fault, only found or not (user coupons, contract §1): absent or
    /// undecodable it is empty.
    pub fn opaque(self) -> Cow<'a, str> {
        self.given.into_text().unwrap_or_default()
    }

    /// A 64-bit id in plain decimal. Whether one of 0 or below exists is for the use case to say.
    pub fn id(self) -> Option<i64> {
        self.read(|given| whole_id(given.as_text()?))
    }

    /// An id that may be absent.
    pub fn optional_id(self) -> Option<Option<i64>> {
        self.optional(Self::id)
    }

    /// A whole number within `bounds`, in any of the ways the contract lets it be written.
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

    /// An amount up to [`MAX_AMOUNT`]; whether it may be 0 or less is a rule of the domain.
    pub fn amount(self) -> Option<i64> {
        self.whole(i64::MIN..=MAX_AMOUNT)
    }

    /// An amount that may be absent.
    pub fn optional_amount(self) -> Option<Option<i64>> {
        self.optional(Self::amount)
    }

    /// An order's amount: 0 to [`MAX_AMOUNT`].
    pub fn order_amount(self) -> Option<i64> {
        self.whole(0..=MAX_AMOUNT)
    }

    /// A count up to [`MAX_COUNT`], or none; whether it may be 0 or less is a rule of the domain.
    pub fn optional_count(self) -> Option<Option<i64>> {
        self.optional_whole(i64::MIN..=MAX_COUNT)
    }

    /// Days up to [`MAX_VALIDITY_DAYS`], or none; whether they may be 0 or less is a rule of the domain.
    pub fn optional_validity_days(self) -> Option<Option<i64>> {
        self.optional_whole(i64::MIN..=MAX_VALIDITY_DAYS)
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

    /// One of `choices`, named to the letter.
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
            self.faults.push(FieldError {
                field: Cow::Borrowed(self.name),
                message: Cow::Borrowed(self.message),
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
    // `parse` alone would take a leading plus.
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
