//! Days of the business time zone, and the instants at which they begin and end.

use jiff::{Span, Timestamp, civil::Date, civil::DateTime, tz::TimeZone};

/// The time zone of dates and local times in requests and answers: `Asia/Seoul` unless configured (contract §1, Time).
#[derive(Debug, Clone)]
pub struct BusinessZone(TimeZone);

impl BusinessZone {
    /// Makes the business zone of a time zone.
    pub fn new(zone: TimeZone) -> Self {
        Self(zone)
    }

    /// Returns the zone's IANA name; `UTC` for a zone without one.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// Returns the first instant of `date`: midnight, or the first instant after it where a clock change skips midnight.
    /// Beyond the calendar it is [`Timestamp::MAX`].
    pub fn start_of_day(&self, date: Date) -> Timestamp {
        self.0
            .to_ambiguous_timestamp(date.at(0, 0, 0, 0))
            .compatible()
            .unwrap_or(Timestamp::MAX)
    }

    /// Returns the exclusive end of `date`: the first instant of the day after it.
    pub fn end_of_day(&self, date: Date) -> Timestamp {
        self.start_of_day(date.tomorrow().unwrap_or(Date::MAX))
    }

    /// Returns the date of `at` in this zone.
    pub fn date(&self, at: Timestamp) -> Date {
        self.local(at).date()
    }

    /// Returns the local date and time of `at`.
    pub fn local(&self, at: Timestamp) -> DateTime {
        self.0.to_datetime(at)
    }

    /// Returns the instant of a local date and time: the earlier one where clocks go back and show it twice, and `None`
    /// beyond the calendar.
    pub fn instant(&self, local: DateTime) -> Option<Timestamp> {
        self.0.to_ambiguous_timestamp(local).compatible().ok()
    }

    /// Returns the exclusive end of a validity that lasts the rest of the day of `from` and `days` whole days after it
    /// (contract §3, Issue). An end beyond the calendar is the calendar's end.
    pub fn end_of_validity(&self, from: Timestamp, days: i64) -> Timestamp {
        let last_day = Span::new()
            .try_days(days)
            .and_then(|span| self.date(from).checked_add(span));
        self.end_of_day(last_day.unwrap_or(Date::MAX))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn zone(name: &str) -> BusinessZone {
        BusinessZone::new(TimeZone::get(name).unwrap())
    }

    #[test]
    fn a_day_in_seoul_begins_at_fifteen_utc() {
        let seoul = zone("Asia/Seoul");
        assert_eq!(
            seoul.start_of_day(date(2025, 7, 21)).to_string(),
            "2025-07-20T15:00:00Z"
        );
        assert_eq!(
            seoul.date("2025-07-20T14:59:59.999999Z".parse().unwrap()),
            date(2025, 7, 20)
        );
        assert_eq!(
            seoul.date("2025-07-20T15:00:00Z".parse().unwrap()),
            date(2025, 7, 21)
        );
    }

    #[test]
    fn validity_counts_leap_days() {
        let seoul = zone("Asia/Seoul");
        let noon = |d: Date| seoul.instant(d.at(12, 0, 0, 0)).unwrap();
        let leap = seoul.end_of_validity(noon(date(2028, 2, 28)), 1);
        assert_eq!(leap, seoul.start_of_day(date(2028, 3, 1)));
        let plain = seoul.end_of_validity(noon(date(2027, 2, 28)), 1);
        assert_eq!(plain, seoul.start_of_day(date(2027, 3, 2)));
        assert_eq!(
            seoul.end_of_validity(noon(date(9998, 12, 1)), 36_500),
            seoul.start_of_day(Date::MAX)
        );
    }

    #[test]
    fn a_skipped_midnight_begins_the_day_after_the_gap() {
        let sao_paulo = zone("America/Sao_Paulo");
        assert_eq!(
            sao_paulo.start_of_day(date(2018, 11, 4)).to_string(),
            "2018-11-04T03:00:00Z"
        );
    }
}
