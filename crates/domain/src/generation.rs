//! The generation of an account's access tokens: a new one ends all tokens of the old.

use std::{fmt, num::NonZeroU64};

/// 64 random bits that an account's access tokens carry. New bits are drawn whenever all earlier tokens must end. They
/// are random rather than counted, so that a token never fits another account, even after a restored backup reuses ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(NonZeroU64);

impl Generation {
    /// Makes a generation of random bits. Zero is turned into 1, because stores use 0 for "no generation".
    pub fn of_random(bits: u64) -> Self {
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }

    /// Returns the integer that a store keeps for it: never 0.
    pub fn to_stored(self) -> i64 {
        self.0.get().cast_signed()
    }

    /// Reads the integer of [`Self::to_stored`]; `None` for 0, which stands for no generation.
    pub fn from_stored(stored: i64) -> Option<Self> {
        NonZeroU64::new(stored.cast_unsigned()).map(Self)
    }

    /// Parses 16 lowercase hex digits; `None` for anything else, and for zero.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(is_digit) {
            return None;
        }
        NonZeroU64::new(u64::from_str_radix(text, 16).ok()?).map(Self)
    }
}

/// Writes 16 lowercase hex digits.
impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
