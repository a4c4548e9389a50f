//! The edges of a template's period and of a coupon's validity, in the business zone (contract §2.1, §3).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixtures;

use fixtures::{MICRO, at, runner, zone};
use goodpon_domain::{
    business_time::BusinessZone,
    template::{DiscountType, Draft, LimitType, Period, validate},
};
use jiff::{SignedDuration, Timestamp, civil::Date, civil::date, tz::TimeZone};
use proptest::prelude::*;

fn period(start: Date, end: Option<Date>, expiry: Option<Date>, zone: &BusinessZone) -> Period {
    let draft = Draft {
        name: "name".into(),
        description: String::new(),
        min_order_amount: None,
        discount_type: DiscountType::FixedAmount,
        discount_value: 1,
        max_discount_amount: None,
        issue_start_date: start,
        issue_end_date: end,
        validity_days: None,
        absolute_expiry_date: expiry,
        limit_type: LimitType::None,
        max_issue_count: None,
        max_redeem_count: None,
    };
    validate(draft, zone).unwrap().period
}

#[test]
fn days_begin_and_end_by_the_zone_at_clock_changes_too() {
    let rows = [
        (
            "Asia/Seoul",
            date(2000, 1, 1),
            "1999-12-31T15:00:00Z",
            "2000-01-01T15:00:00Z",
        ),
        (
            "Asia/Seoul",
            date(2000, 2, 29),
            "2000-02-28T15:00:00Z",
            "2000-02-29T15:00:00Z",
        ),
        (
            "Asia/Seoul",
            date(2028, 2, 28),
            "2028-02-27T15:00:00Z",
            "2028-02-28T15:00:00Z",
        ),
        (
            "Asia/Seoul",
            date(2028, 2, 29),
            "2028-02-28T15:00:00Z",
            "2028-02-29T15:00:00Z",
        ),
        (
            "Asia/Seoul",
            date(2100, 2, 28),
            "2100-02-27T15:00:00Z",
            "2100-02-28T15:00:00Z",
        ),
        (
            "Asia/Seoul",
            date(2026, 12, 31),
            "2026-12-30T15:00:00Z",
            "2026-12-31T15:00:00Z",
        ),
        (
            "Asia/Seoul",
            date(9998, 12, 31),
            "9998-12-30T15:00:00Z",
            "9998-12-31T15:00:00Z",
        ),
        (
            "Pacific/Kiritimati",
            date(2000, 1, 1),
            "1999-12-31T10:00:00Z",
            "2000-01-01T10:00:00Z",
        ),
        (
            "Pacific/Pago_Pago",
            date(9998, 12, 31),
            "9998-12-31T11:00:00Z",
            "9999-01-01T11:00:00Z",
        ),
        // Clocks go from 00:00 to 01:00: the day has 23 hours and begins at 01:00.
        (
            "America/Sao_Paulo",
            date(2018, 11, 4),
            "2018-11-04T03:00:00Z",
            "2018-11-05T02:00:00Z",
        ),
        (
            "America/Sao_Paulo",
            date(2018, 11, 3),
            "2018-11-03T03:00:00Z",
            "2018-11-04T03:00:00Z",
        ),
        (
            "Asia/Beirut",
            date(2022, 3, 27),
            "2022-03-26T22:00:00Z",
            "2022-03-27T21:00:00Z",
        ),
        (
            "America/Havana",
            date(2024, 3, 10),
            "2024-03-10T05:00:00Z",
            "2024-03-11T04:00:00Z",
        ),
        // Clocks go from 24:00 back to 23:00: the day before has 25 hours.
        (
            "America/Sao_Paulo",
            date(2018, 2, 17),
            "2018-02-17T02:00:00Z",
            "2018-02-18T03:00:00Z",
        ),
        (
            "Asia/Beirut",
            date(2022, 10, 29),
            "2022-10-28T21:00:00Z",
            "2022-10-29T22:00:00Z",
        ),
        // Clocks go from 01:00 back to 00:00: of the two midnights the first begins the day.
        (
            "America/Havana",
            date(2024, 11, 3),
            "2024-11-03T04:00:00Z",
            "2024-11-04T05:00:00Z",
        ),
        // Clocks go from 00:01 back to 23:01 of the day before.
        (
            "America/St_Johns",
            date(2006, 10, 29),
            "2006-10-29T02:30:00Z",
            "2006-10-30T03:30:00Z",
        ),
        // The whole of 30 December was skipped.
        (
            "Pacific/Apia",
            date(2011, 12, 29),
            "2011-12-29T10:00:00Z",
            "2011-12-30T10:00:00Z",
        ),
        (
            "Pacific/Apia",
            date(2011, 12, 30),
            "2011-12-30T10:00:00Z",
            "2011-12-30T10:00:00Z",
        ),
    ];
    for (name, day, begin, end) in rows {
        let one_day = period(day, Some(day), Some(day), &zone(name));
        assert_eq!(one_day.issue_start_at, at(begin), "{name} {day}");
        assert_eq!(one_day.issue_end_at, Some(at(end)), "{name} {day}");
        assert_eq!(one_day.absolute_expires_at, Some(at(end)), "{name} {day}");
    }
}

#[test]
fn a_longer_period_has_its_own_three_edges() {
    let seoul = zone("Asia/Seoul");
    let (first, last, expiry) = (date(2028, 2, 1), date(2028, 2, 28), date(2028, 2, 29));
    let edges = period(first, Some(last), Some(expiry), &seoul);
    assert_eq!(edges.issue_start_at, at("2028-01-31T15:00:00Z"));
    assert_eq!(edges.issue_end_at, Some(at("2028-02-28T15:00:00Z")));
    assert_eq!(edges.absolute_expires_at, Some(at("2028-02-29T15:00:00Z")));
    let open = period(first, None, None, &seoul);
    assert_eq!((open.issue_end_at, open.absolute_expires_at), (None, None));
}

/// At every clock change of every zone since 2000, a day begins at the first instant with its date.
#[test]
fn in_every_zone_a_day_begins_at_its_first_instant() {
    let (from, until) = (at("2000-01-02T00:00:00Z"), at("2040-01-01T00:00:00Z"));
    let mut seen = 0;
    for name in jiff::tz::db().available() {
        let Ok(tz) = TimeZone::get(name.as_str()) else {
            continue;
        };
        let zone = BusinessZone::new(tz.clone());
        for change in tz.following(from).take_while(|c| c.timestamp() < until) {
            let around = zone.date(change.timestamp());
            for day in [
                around.yesterday().unwrap(),
                around,
                around.tomorrow().unwrap(),
            ] {
                let begin = zone.start_of_day(day);
                assert!(zone.date(begin) >= day, "{name:?} {day}");
                for before in [
                    MICRO,
                    SignedDuration::from_mins(30),
                    SignedDuration::from_hours(1),
                ] {
                    assert!(zone.date(begin - before) < day, "{name:?} {day}");
                }
                assert_eq!(
                    zone.end_of_day(day.yesterday().unwrap()),
                    begin,
                    "{name:?} {day}"
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 5_000, "{seen} clock changes");
}

const DAY: i64 = 86_400_000_000;
const SEOUL: i64 = 9 * 3_600_000_000;

/// Computes the end by division: Seoul has been 9 hours ahead of UTC, without exception, since 2000.
fn end_of_seoul_day(issued_at: i64, days: i64) -> i64 {
    ((issued_at + SEOUL).div_euclid(DAY) + days + 1) * DAY - SEOUL
}

fn instant(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap()
}

#[test]
fn a_coupon_ends_at_the_earlier_of_validity_and_absolute_end() {
    let seoul = zone("Asia/Seoul");
    let (first, last) = (at("2000-01-01T00:00:00Z"), at("9890-01-01T00:00:00Z"));
    let moments = first.as_microsecond()..last.as_microsecond();
    let days = prop_oneof![1..=36_500i64, 1..=3i64];
    // Half of the absolute ends lie near the end of validity.
    let absolute = (prop::bool::ANY, -3 * DAY..=3 * DAY, 0..=200_000i64);
    let cases = (moments, prop::option::of(days), prop::option::of(absolute));
    runner(3_000)
        .run(&cases, |(issued_at, validity_days, absolute)| {
            let validity = validity_days.map(|days| end_of_seoul_day(issued_at, days));
            let absolute = absolute.map(|(near, offset, far)| match validity {
                Some(end) if near => end + offset,
                _ => issued_at + far * 1_000_000,
            });
            let period = Period {
                issue_start_at: first,
                issue_end_at: None,
                validity_days,
                absolute_expires_at: absolute.map(instant),
            };
            let expected = match (validity, absolute) {
                (Some(a), Some(b)) => Some(if a < b { a } else { b }),
                (Some(a), None) | (None, Some(a)) => Some(a),
                (None, None) => None,
            };
            let expiry = period.expiry(instant(issued_at), &seoul);
            prop_assert_eq!(expiry.map(Timestamp::as_microsecond), expected);
            Ok(())
        })
        .unwrap();
}

#[test]
fn validity_counts_days_of_the_zone_from_the_day_of_issue() {
    let rows = [
        // The last microsecond of a day and the first of the next are a day apart.
        (
            "Asia/Seoul",
            "2026-07-20T14:59:59.999999Z",
            1,
            "2026-07-21T15:00:00Z",
        ),
        (
            "Asia/Seoul",
            "2026-07-20T15:00:00Z",
            1,
            "2026-07-22T15:00:00Z",
        ),
        (
            "Asia/Seoul",
            "2028-02-28T00:00:00Z",
            1,
            "2028-02-29T15:00:00Z",
        ),
        (
            "Asia/Seoul",
            "2027-02-28T00:00:00Z",
            1,
            "2027-03-01T15:00:00Z",
        ),
        (
            "Asia/Seoul",
            "2028-02-29T00:00:00Z",
            365,
            "2029-02-28T15:00:00Z",
        ),
        (
            "Asia/Seoul",
            "2000-01-01T00:00:00Z",
            36_500,
            "2099-12-07T15:00:00Z",
        ),
        // The end falls on the day that begins at 01:00, and on the one after a day of 25 hours.
        (
            "America/Sao_Paulo",
            "2018-11-02T12:00:00Z",
            1,
            "2018-11-04T03:00:00Z",
        ),
        (
            "America/Sao_Paulo",
            "2018-02-16T12:00:00Z",
            1,
            "2018-02-18T03:00:00Z",
        ),
        // Issued within the hour that is repeated: the day is the same both times.
        (
            "America/Havana",
            "2024-11-03T04:30:00Z",
            1,
            "2024-11-05T05:00:00Z",
        ),
        (
            "America/Havana",
            "2024-11-03T05:30:00Z",
            1,
            "2024-11-05T05:00:00Z",
        ),
    ];
    for (name, issued_at, days, end) in rows {
        let zone = zone(name);
        assert_eq!(
            zone.end_of_validity(at(issued_at), days),
            at(end),
            "{name} {issued_at}"
        );
    }
}

#[test]
fn validity_beyond_the_calendar_is_its_end() {
    for name in ["Asia/Seoul", "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
        let zone = zone(name);
        let issued_at = at("9998-12-31T12:00:00Z");
        let end = zone.end_of_validity(issued_at, 36_500);
        assert!(end > zone.end_of_day(date(9998, 12, 31)), "{name}");
        assert_eq!(zone.end_of_validity(issued_at, i64::MAX), end, "{name}");
    }
}
