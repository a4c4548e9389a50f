//! The form of client ids and secrets. A text that lacks it is refused without a look-up.

use std::fmt;

use sha2::{Digest, Sha256};

/// A text of the form of client ids: `ck_` and 32 lowercase hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId(u128);

impl ClientId {
    /// Parses a client id; `None` for a text of another form.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        parse_digits(text.strip_prefix(b"ck_")?).map(Self)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ck_{:032x}", self.0)
    }
}

/// The SHA-256 digest of a text of the form of secrets: `sk_` and 32 lowercase hex digits.
#[derive(Clone, Copy)]
pub struct GivenSecret(pub(super) [u8; 32]);

impl GivenSecret {
    /// Digests a secret; `None` for a text of another form.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        parse_digits(text.strip_prefix(b"sk_")?)?;
        Some(Self(Sha256::digest(text).into()))
    }
}

/// Parses 32 lowercase hex digits.
fn parse_digits(text: &[u8]) -> Option<u128> {
    if text.len() != 32 {
        return None;
    }
    text.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}
