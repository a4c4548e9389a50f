//! Date-times in bodies: local to the business zone, without offset (contract §1, Time).

use std::fmt;
use std::ops::Range;

use goodpon_domain::business_time::BusinessZone;
use jiff::{Timestamp, civil::DateTime};
use serde::{Serialize, Serializer};

/// `2025-08-26T01:18:48.516717`: 0 to 6 fraction digits, trailing zeros dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime(DateTime);

impl LocalTime {
    /// The time that a wall clock in `zone` shows at `at`.
    pub fn of(zone: &BusinessZone, at: Timestamp) -> Self {
        Self(zone.local(at))
    }

    /// The same of an instant that may be absent.
    pub fn of_optional(zone: &BusinessZone, at: Option<Timestamp>) -> Option<Self> {
        at.map(|at| Self::of(zone, at))
    }
}

/// The length of a text with all six fraction digits, in bytes.
const MAX_LENGTH: usize = 26;

/// The text of a date-time, written without `core::fmt`, which costs ten times as many instructions: nearly every answer has
/// some.
struct Text {
    bytes: [u8; MAX_LENGTH],
    len: usize,
}

impl Text {
    fn of(LocalTime(at): LocalTime) -> Self {
        let mut text = Self {
            bytes: *b"0000-00-00T00:00:00.000000",
            len: MAX_LENGTH,
        };
        text.put(0..4, at.year().unsigned_abs().into());
        text.put(5..7, at.month().unsigned_abs().into());
        text.put(8..10, at.day().unsigned_abs().into());
        text.put(11..13, at.hour().unsigned_abs().into());
        text.put(14..16, at.minute().unsigned_abs().into());
        text.put(17..19, at.second().unsigned_abs().into());
        let mut micros = at.subsec_nanosecond().unsigned_abs() / 1_000;
        text.put(20..MAX_LENGTH, micros);
        if micros == 0 {
            text.len = 19;
        }
        while micros > 0 && micros % 10 == 0 {
            micros /= 10;
            text.len -= 1;
        }
        text
    }

    /// Fills `place` with the last digits of `number`.
    fn put(&mut self, place: Range<usize>, mut number: u32) {
        for digit in self.bytes[place].iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
        }
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Text::of(*self).as_str())
    }
}

impl Serialize for LocalTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Text::of(*self).as_str())
    }
}

impl utoipa::PartialSchema for LocalTime {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some(
                "Local to the business time zone, ISO-8601 without offset, 0 to 6 fraction digits",
            ))
            .examples(["2025-08-26T01:18:48.516717"])
            .build()
            .into()
    }
}

impl utoipa::ToSchema for LocalTime {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    #[test]
    fn fractions_lose_their_trailing_zeros() {
        let seoul = BusinessZone::new(TimeZone::get("Asia/Seoul").unwrap());
        let shown = |at: &str| LocalTime::of(&seoul, at.parse().unwrap()).to_string();
        assert_eq!(shown("2025-07-20T15:00:00Z"), "2025-07-21T00:00:00");
        assert_eq!(
            shown("2025-08-25T16:18:48.516717Z"),
            "2025-08-26T01:18:48.516717"
        );
        assert_eq!(shown("2025-08-25T16:18:48.5Z"), "2025-08-26T01:18:48.5");
        assert_eq!(
            shown("2025-08-25T16:18:48.000010Z"),
            "2025-08-26T01:18:48.00001"
        );
    }
}
