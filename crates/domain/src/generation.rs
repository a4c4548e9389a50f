//! What an account's access tokens carry, so that all can be ended at once.

use std::{fmt, num::NonZeroU64};

/// 64 random bits that an account's access tokens carry. They are drawn anew where all tokens given before must end, so
/// that no token ever fits another account, however the database came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(NonZeroU64);

impl Generation {
    /// The generation of these random bits. Stores keep 0 for none, so that 0 counts as 1.
    pub fn of_random(bits: u64) -> Self {
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }

    /// What a store keeps of it.
    pub fn to_stored(self) -> i64 {
        self.0.get().cast_signed()
    }

    /// Reads [`Self::to_stored`]; 0 is none.
    pub fn from_stored(stored: i64) -> Option<Self> {
        NonZeroU64::new(stored.cast_unsigned()).map(Self)
    }

    /// Reads 16 lowercase hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(is_digit) {
            return None;
        }
        NonZeroU64::new(u64::from_str_radix(text, 16).ok()?).map(Self)
    }
}

/// 16 lowercase hex digits.
impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
