//! Identifiers. Stores number accounts, merchants, members, secrets and templates; coupons and history entries have
//! UUIDv7s.

use std::fmt;

use jiff::Timestamp;

macro_rules! numeric_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        ///
        /// Stored ids are positive. A request may name any 64-bit integer: one of 0 or below is never found (contract §1,
        /// Numbers).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

numeric_id! {
    /// A person who can log in to the dashboard.
    AccountId,
    /// A shop operator, the tenant.
    MerchantId,
    /// An account's membership of a merchant.
    MemberId,
    /// One of a merchant's client secrets.
    SecretId,
    /// A coupon template.
    TemplateId,
}

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        ///
        /// A UUIDv7 without hyphens, so ids sort by creation (contract §1, Numbers).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// Makes the id of something created at `at`; `random` distinguishes ids of the same microsecond.
            pub fn new(at: Timestamp, random: u64) -> Self {
                Self(uuid_v7(at, random))
            }

            /// Returns the next id in order: for a second entry of the same time that must sort after this one.
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// Makes an id of its 16 bytes, most significant first.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }

            /// Returns the 16 bytes, most significant first, so that they sort as the ids do.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// Parses 32 lowercase hex digits; `None` for anything else, which no id of ours looks like.
            pub fn parse(text: &str) -> Option<Self> {
                let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                (text.len() == 32 && text.bytes().all(lower_hex))
                    .then(|| u128::from_str_radix(text, 16).ok().map(Self))
                    .flatten()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
    )*};
}

uuid_id! {
    /// A user's coupon.
    CouponId,
    /// An entry of the coupon history.
    HistoryId,
}

/// Makes a UUIDv7 by method 3 of RFC 9562 §6.2: the 12 bits after the milliseconds carry the fraction of a millisecond.
/// The topmost random bit stays 0, so that `next` never carries over into the time.
fn uuid_v7(at: Timestamp, random: u64) -> u128 {
    let micros = u128::try_from(at.as_microsecond()).unwrap_or(0);
    let (millis, micros_of_milli) = (micros / 1000, micros % 1000);
    let fraction = micros_of_milli * 4096 / 1000;
    ((millis & 0xffff_ffff_ffff) << 80)
        | (0x7 << 76)
        | (fraction << 64)
        | (0b10 << 62)
        | u128::from(random >> 3)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_sort_by_creation_and_survive_text(a in 0i64..4_000_000_000_000_000, b in 0i64..4_000_000_000_000_000, r: u64, s: u64) {
            let (x, y) = (CouponId::new(Timestamp::from_microsecond(a).unwrap(), r), CouponId::new(Timestamp::from_microsecond(b).unwrap(), s));
            if a < b { prop_assert!(x < y); }
            prop_assert!(x < x.next());
            prop_assert_eq!(CouponId::parse(&x.to_string()), Some(x));
            prop_assert_eq!(CouponId::from_bytes(x.to_bytes()), x);
            let text = x.to_string();
            prop_assert_eq!(&text[12..13], "7");
            prop_assert!("89ab".contains(&text[16..17]));
        }

        #[test]
        fn anything_else_is_no_id(text in "\\PC{0,40}") {
            let ours = text.len() == 32 && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
            prop_assert_eq!(HistoryId::parse(&text).is_some(), ours);
        }
    }

    #[test]
    fn the_next_id_keeps_its_time() {
        let id = HistoryId::new(
            Timestamp::from_microsecond(1_700_000_000_000_123).unwrap(),
            u64::MAX,
        );
        assert_eq!(id.to_string()[..16], id.next().to_string()[..16]);
    }
}
