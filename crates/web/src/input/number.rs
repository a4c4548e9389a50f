//! Whole numbers, read to the digit and never through floating point (contract §1, Numbers).

/// Reads a whole number: an optional minus, digits, an optional fraction and exponent.
/// `None` for any other text, for a fraction that is not zero and for a number beyond 64 bits.
pub(super) fn whole(text: &str) -> Option<i64> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, self::exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (integer, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    if integer.is_empty() {
        return None;
    }
    // The number of digits before the decimal point once the exponent has moved it.
    let before_point = i64::try_from(integer.len()).ok()?.checked_add(exponent)?;
    let mut value: i64 = 0;
    let mut seen: i64 = 0;
    for byte in integer.bytes().chain(fraction.bytes()) {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        if seen < before_point {
            // Counts down, for the smallest number has no positive counterpart.
            value = value.checked_mul(10)?.checked_sub(digit)?;
        } else if digit != 0 {
            return None;
        }
        seen += 1;
    }
    // Ends by overflow after 19 turns at most, however large the exponent.
    while seen < before_point && value != 0 {
        value = value.checked_mul(10)?;
        seen += 1;
    }
    if negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

/// The largest exponent that is distinguished from larger ones: no body that is read has as many digits.
const MAX_EXPONENT: i64 = 1_000_000_000;

/// Reads an exponent, limited to [`MAX_EXPONENT`] in both directions.
fn exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for byte in digits {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        value = (value * 10 + digit).min(MAX_EXPONENT);
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::whole;

    #[test]
    fn whole_numbers_however_written() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("-0.0e5", 0),
            ("15000", 15_000),
            ("15000.0", 15_000),
            ("1.5e4", 15_000),
            ("1.5E+4", 15_000),
            ("150000e-1", 15_000),
            ("0.00015e8", 15_000),
            ("007", 7),
            ("0e999999999999999999999", 0),
            ("0.0e-999999999999999999999", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("9007199254740993", 9_007_199_254_740_993),
            ("922337203685477580.7e1", i64::MAX),
        ] {
            assert_eq!(whole(text), Some(value), "{text}");
        }
        let long = format!("0.{}1e60001", "0".repeat(60_000));
        assert_eq!(whole(&long), Some(1));
    }

    #[test]
    fn everything_else_is_none() {
        for text in [
            "",
            "-",
            "+1",
            "1.",
            ".5",
            "1e",
            "1e+",
            "e5",
            "1.5",
            "15e-1",
            "1 ",
            " 1",
            "0x10",
            "1_0",
            "--1",
            "1.0.0",
            "1e5e5",
            "１",
            "NaN",
            "Infinity",
            "9223372036854775808",
            "-9223372036854775809",
            "1e19",
            "1e999999999999999999999",
            "1e-999999999999999999999",
        ] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9.eE]{0,40}|.{0,20}") {
            let _ = whole(&text);
        }

        #[test]
        fn shifted_numbers_are_the_same(value: i64, zeros in 0_usize..30) {
            prop_assert_eq!(whole(&value.to_string()), Some(value));
            let zeros_behind = format!("{value}.{}", "0".repeat(zeros + 1));
            prop_assert_eq!(whole(&zeros_behind), Some(value));
            let shifted = format!("{value}{}e-{zeros}", "0".repeat(zeros));
            prop_assert_eq!(whole(&shifted), Some(value));
        }
    }
}
