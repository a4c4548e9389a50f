//! The trace id of a request (contract §1, Trace).

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header with the trace id, on every answer.
pub const TRACE_HEADER: HeaderName = HeaderName::from_static("x-goodpon-trace-id");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A W3C trace id: 32 lowercase hex digits, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 32]);

impl TraceId {
    /// The id of the client's trace where `traceparent` is valid, a fresh one otherwise.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::incoming(headers).unwrap_or_else(Self::fresh)
    }

    /// A random id. The generator is this thread's own and seeded by the system, so that no request
    /// costs a system call.
    #[allow(
        clippy::disallowed_methods,
        reason = "a trace id decides nothing, and has to be cheap"
    )]
    pub fn fresh() -> Self {
        loop {
            let random: u128 = rand::random();
            if random != 0 {
                return Self::hex(random);
            }
        }
    }

    fn hex(value: u128) -> Self {
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(value.to_be_bytes()) {
            for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = b"0123456789abcdef"[usize::from(nibble)];
            }
        }
        Self(digits)
    }

    fn incoming(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (value, None) = (values.next()?.as_bytes(), values.next()) else {
            return None;
        };
        let (head, later) = value.split_at_checked(55)?;
        let version = head.get(..2)?;
        let trace = head.get(3..35)?;
        let parent = head.get(36..52)?;
        let flags = head.get(53..)?;
        let hex = |bytes: &[u8]| bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let zero = |bytes: &[u8]| bytes.iter().all(|b| *b == b'0');
        let valid = [version, trace, parent, flags].into_iter().all(hex)
            && [2, 35, 52].into_iter().all(|dash| head[dash] == b'-')
            && !zero(trace)
            && !zero(parent)
            && match version {
                b"00" => later.is_empty(),
                b"ff" => false,
                // A later version may append more, behind another hyphen.
                _ => matches!(later, [] | [b'-', ..]),
            };
        if !valid {
            return None;
        }
        trace.try_into().ok().map(Self)
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The value of [`TRACE_HEADER`].
    pub fn to_header_value(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or(HeaderValue::from_static(""))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn incoming(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        TraceId::incoming(&headers).map(|id| id.to_string())
    }

    #[test]
    fn a_valid_traceparent_is_taken() {
        for value in [
            format!("00-{ID}-00f067aa0ba902b7-01"),
            format!("00-{ID}-00f067aa0ba902b7-00"),
            format!("cc-{ID}-00f067aa0ba902b7-01"),
            format!("01-{ID}-00f067aa0ba902b7-01-more"),
        ] {
            assert_eq!(incoming(&[&value]).as_deref(), Some(ID), "{value}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        let zeros = "0".repeat(32);
        let upper = ID.to_uppercase();
        for value in [
            String::new(),
            ID.to_owned(),
            format!("ff-{ID}-00f067aa0ba902b7-01"),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{ID}-0000000000000000-01"),
            format!("00-{upper}-00f067aa0ba902b7-01"),
            format!("00-{ID}-00f067aa0ba902b7-01-more"),
            format!("01-{ID}-00f067aa0ba902b7-01more"),
            format!("00_{ID}-00f067aa0ba902b7-01"),
            format!("00-{ID}-00f067aa0ba902b7-0"),
            format!("00-{ID}-00f067aa0ba902b7-0g"),
        ] {
            assert_eq!(incoming(&[&value]), None, "{value}");
        }
        let valid = format!("00-{ID}-00f067aa0ba902b7-01");
        assert_eq!(incoming(&[&valid, &valid]), None);
        assert_eq!(incoming(&[]), None);
    }

    #[test]
    fn fresh_ids_are_32_hex_digits_and_differ() {
        let (one, other) = (TraceId::fresh(), TraceId::fresh());
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 32);
        assert_eq!(
            u128::from_str_radix(one.as_str(), 16).map(TraceId::hex),
            Ok(one)
        );
        assert_eq!(one.to_header_value(), one.as_str());
    }
}
