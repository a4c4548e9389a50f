//! Date-times as bodies bear them: local to the business zone, without offset (contract §1, Time).

use std::fmt;

use goodpon_domain::business_time::BusinessZone;
use jiff::{Timestamp, civil::DateTime};
use serde::{Serialize, Serializer};

/// `2025-08-26T01:18:48.516717`: 0 to 6 fraction digits, trailing zeros dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime(DateTime);

impl LocalTime {
    /// What a wall clock in `zone` shows at `at`.
    pub fn of(zone: &BusinessZone, at: Timestamp) -> Self {
        Self(zone.local(at))
    }

    /// Likewise of an instant that may be absent.
    pub fn of_optional(zone: &BusinessZone, at: Option<Timestamp>) -> Option<Self> {
        at.map(|at| Self::of(zone, at))
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, time) = (self.0.date(), self.0.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            date.year(),
            date.month(),
            date.day(),
            time.hour(),
            time.minute(),
            time.second()
        )?;
        let (mut micros, mut digits) = (time.subsec_nanosecond() / 1_000, 6);
        if micros == 0 {
            return Ok(());
        }
        while micros % 10 == 0 {
            micros /= 10;
            digits -= 1;
        }
        write!(f, ".{micros:0digits$}")
    }
}

impl Serialize for LocalTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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
