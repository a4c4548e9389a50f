//! Dates and local date-times of bodies and query strings (contract §1, Time).

use jiff::civil::{Date, DateTime, date};

/// A date `yyyy-MM-dd` from 2000-01-01 to 9998-12-31.
pub(super) fn parse_date(text: &str) -> Option<Date> {
    let bytes: &[u8; 10] = text.as_bytes().try_into().ok()?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = bytes else {
        return None;
    };
    let year = digits(&[*y1, *y2, *y3, *y4])?;
    let month = digits(&[*m1, *m2])?;
    let day = digits(&[*d1, *d2])?;
    let parsed = Date::new(
        year.try_into().ok()?,
        month.try_into().ok()?,
        day.try_into().ok()?,
    )
    .ok()?;
    (date(2000, 1, 1)..=date(9998, 12, 31))
        .contains(&parsed)
        .then_some(parsed)
}

/// A date-time `yyyy-MM-ddTHH:mm:ss`, with 1 to 6 fraction digits or none, without offset.
pub(super) fn parse_date_time(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_once('T')?;
    let date = parse_date(date)?;
    let (clock, fraction) = time.split_at_checked(8)?;
    let [h1, h2, b':', m1, m2, b':', s1, s2] = clock.as_bytes() else {
        return None;
    };
    let nanosecond = match fraction.strip_prefix('.') {
        Some(fraction) if (1..=6).contains(&fraction.len()) => {
            let scale = 10_i32.pow(9 - u32::try_from(fraction.len()).ok()?);
            digits(fraction.as_bytes())? * scale
        }
        None if fraction.is_empty() => 0,
        _ => return None,
    };
    let [hour, minute, second] = [[*h1, *h2], [*m1, *m2], [*s1, *s2]].map(|pair| digits(&pair));
    let time = jiff::civil::Time::new(
        hour?.try_into().ok()?,
        minute?.try_into().ok()?,
        second?.try_into().ok()?,
        nanosecond,
    )
    .ok()?;
    Some(date.to_datetime(time))
}

fn digits(bytes: &[u8]) -> Option<i32> {
    bytes.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + i32::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use jiff::civil::datetime;

    use super::*;

    #[test]
    fn dates_within_bounds() {
        for (text, parsed) in [
            ("2000-01-01", date(2000, 1, 1)),
            ("2024-02-29", date(2024, 2, 29)),
            ("9998-12-31", date(9998, 12, 31)),
        ] {
            assert_eq!(parse_date(text), Some(parsed), "{text}");
        }
        for text in [
            "",
            "1999-12-31",
            "9999-01-01",
            "2025-02-29",
            "2025-13-01",
            "2025-00-10",
            "2025-01-00",
            "2025-1-1",
            "20250101",
            "2025-01-01T00:00:00",
            "2025-01-01 ",
            "+025-01-01",
            "2025/01/01",
            "二五-01-01",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn date_times_to_the_microsecond() {
        for (text, parsed) in [
            ("2025-07-21T00:00:00", datetime(2025, 7, 21, 0, 0, 0, 0)),
            (
                "2025-08-26T01:18:48.516717",
                datetime(2025, 8, 26, 1, 18, 48, 516_717_000),
            ),
            (
                "2025-08-26T23:59:59.5",
                datetime(2025, 8, 26, 23, 59, 59, 500_000_000),
            ),
        ] {
            assert_eq!(parse_date_time(text), Some(parsed), "{text}");
        }
        for text in [
            "",
            "2025-07-21",
            "2025-07-21T",
            "2025-07-21T24:00:00",
            "2025-07-21T00:60:00",
            "2025-07-21T00:00:60",
            "2025-07-21T00:00:00.",
            "2025-07-21T00:00:00.1234567",
            "2025-07-21T00:00:00Z",
            "2025-07-21T00:00:00+09:00",
            "2025-07-21 00:00:00",
            "1999-07-21T00:00:00",
            "2025-07-21T00:00:0日",
        ] {
            assert_eq!(parse_date_time(text), None, "{text}");
        }
    }
}
