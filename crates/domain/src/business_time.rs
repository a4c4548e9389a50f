//! Days of the business time zone, and the instants at which they begin.

use jiff::{Span, Timestamp, civil::Date, civil::DateTime, tz::TimeZone};

/// The zone in which merchants think of days: `Asia/Seoul` unless configured (contract §1, Time).
#[derive(Debug, Clone)]
pub struct BusinessZone(TimeZone);

impl BusinessZone {
    /// The zone of that name.
    pub fn new(zone: TimeZone) -> Self {
        Self(zone)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The first instant of `date`, also where a clock change skips midnight.
    pub fn start_of_day(&self, date: Date) -> Timestamp {
        self.0
            .to_ambiguous_timestamp(date.at(0, 0, 0, 0))
            .compatible()
            .unwrap_or(Timestamp::MAX)
    }

    /// The first instant of the day after `date`: the exclusive end of `date`.
    pub fn end_of_day(&self, date: Date) -> Timestamp {
        self.start_of_day(date.tomorrow().unwrap_or(Date::MAX))
    }

    /// The day on which `at` falls here.
    pub fn date(&self, at: Timestamp) -> Date {
        self.local(at).date()
    }

    /// What a clock on the wall shows at `at`.
    pub fn local(&self, at: Timestamp) -> DateTime {
        self.0.to_datetime(at)
    }

    /// The instant at which a wall clock shows `local`; the earlier one where it does so twice.
    pub fn instant(&self, local: DateTime) -> Option<Timestamp> {
        self.0.to_ambiguous_timestamp(local).compatible().ok()
    }

    /// The exclusive end of a validity of `days` whole days after the day of `from`.
    /// Beyond the calendar's end it is the calendar's end.
    pub fn end_of_validity(&self, from: Timestamp, days: i64) -> Timestamp {
        let last = Span::new()
            .try_days(days)
            .and_then(|span| self.date(from).checked_add(span));
        self.end_of_day(last.unwrap_or(Date::MAX))
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
