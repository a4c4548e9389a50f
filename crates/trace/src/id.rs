//! The ids of traces and spans.

use std::fmt;

/// A W3C trace id: 32 lower-case hex digits, not all zero.
pub type TraceId = HexId<32>;

/// A W3C span id, also called a parent id: 16 lower-case hex digits, not all zero.
pub type SpanId = HexId<16>;

/// An id as `DIGITS` lower-case hex digits, not all zero. It is kept in the form in which it is read, logged and sent;
/// aligned, because texts are checked eight bytes at a time only where they begin at such an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(align(8))]
pub struct HexId<const DIGITS: usize>([u8; DIGITS]);

impl<const DIGITS: usize> HexId<DIGITS> {
    /// Draws a random id. The generator is this thread's own and seeded by the system, so that no request costs a system
    /// call.
    #[allow(
        clippy::disallowed_methods,
        reason = "a trace id decides nothing, and has to be cheap"
    )]
    #[must_use]
    pub fn fresh() -> Self {
        loop {
            let random: u128 = rand::random();
            // The bytes that the id takes.
            if random.leading_zeros() < 4 * DIGITS as u32 {
                return Self::hex(random);
            }
        }
    }

    /// Writes the leading bytes of `value` as digits: all 16 for a trace id, 8 for a span id.
    fn hex(value: u128) -> Self {
        let mut digits = [b'0'; DIGITS];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(value.to_be_bytes()) {
            for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = b"0123456789abcdef"[usize::from(nibble)];
            }
        }
        Self(digits)
    }

    /// Reads an id. `None` if the digits are too many or too few, not lower-case hex, or all zero.
    pub(crate) fn parse(digits: &[u8]) -> Option<Self> {
        let id = Self(digits.try_into().ok()?);
        let is_zero = || id.0.iter().all(|digit| *digit == b'0');
        (id.0.iter().all(is_hex) && !is_zero()).then_some(id)
    }

    /// Returns the digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Returns the digits as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Returns whether a byte is a lower-case hex digit.
pub(crate) fn is_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

impl<const DIGITS: usize> fmt::Display for HexId<DIGITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const DIGITS: usize> fmt::Debug for HexId<DIGITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_are_hex_digits_and_differ() {
        let (one, other) = (TraceId::fresh(), TraceId::fresh());
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 32);
        let value = u128::from_str_radix(one.as_str(), 16).unwrap();
        assert_eq!(TraceId::hex(value), one);
        let (one, other) = (SpanId::fresh(), SpanId::fresh());
        assert_ne!(one, other);
        assert_eq!(SpanId::parse(one.as_bytes()), Some(one));
        assert_eq!(one.to_string().len(), 16);
    }
}
