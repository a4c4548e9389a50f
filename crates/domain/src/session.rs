//! The claims of access tokens, and whether they are still valid for their account.

use jiff::Timestamp;

use crate::{account::Account, generation::Generation, id::AccountId};

/// The claims of an access token whose signature and expiry were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    /// The account that it was given to.
    pub account_id: AccountId,
    /// The time at which it was given, to the second.
    pub issued_at: Timestamp,
    /// The generation that the account had then; tokens of the first releases carry none.
    pub generation: Option<Generation>,
}

impl Claims {
    /// Returns whether the token is still valid for `account`, which is the account with its id.
    ///
    /// A token without a generation is valid while the account has its first one, unless it is older than the account:
    /// then it was given to another account that had the same id.
    pub fn is_valid_for(&self, account: &Account) -> bool {
        match self.generation {
            Some(generation) => account.generation == Some(generation),
            // Compared in seconds, because a token's time has no finer digits.
            None => {
                account.is_first_generation
                    && self.issued_at.as_second() >= account.created_at.as_second()
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn account(generation: Option<Generation>, is_first_generation: bool) -> Account {
        Account {
            id: AccountId(1),
            email: "a@b.co".into(),
            name: "a".into(),
            verified: true,
            created_at: "2026-01-01T00:00:00.999999Z".parse().unwrap(),
            generation,
            is_first_generation,
        }
    }

    #[test]
    fn a_generation_is_sixteen_digits_and_never_zero() {
        for bits in [1, 0xab, u64::MAX, 1 << 63] {
            let generation = Generation::of_random(bits);
            assert_eq!(generation.to_string(), format!("{bits:016x}"));
            assert_eq!(Generation::parse(&generation.to_string()), Some(generation));
            let stored = generation.to_stored();
            assert_eq!(Generation::from_stored(stored), Some(generation));
        }
        assert_eq!(Generation::of_random(0), Generation::of_random(1));
        assert_eq!(Generation::from_stored(0), None);
        for other in [
            "",
            "ab",
            "0000000000000000",
            "00000000000000AB",
            "+00000000000000a",
            "00000000000000ab0",
        ] {
            assert_eq!(Generation::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_token_is_valid_for_the_generation_that_it_carries() {
        let (one, other) = (Generation::of_random(1), Generation::of_random(2));
        let claims = |generation| Claims {
            account_id: AccountId(1),
            issued_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            generation,
        };
        for is_first in [true, false] {
            assert!(claims(Some(one)).is_valid_for(&account(Some(one), is_first)));
            assert!(!claims(Some(one)).is_valid_for(&account(Some(other), is_first)));
            assert!(!claims(Some(one)).is_valid_for(&account(None, is_first)));
        }
    }

    #[test]
    fn a_token_without_a_generation_is_valid_for_the_first_one() {
        let at = |second: &str| Claims {
            account_id: AccountId(1),
            issued_at: second.parse().unwrap(),
            generation: None,
        };
        let one = Some(Generation::of_random(1));
        for generation in [None, one] {
            // The account was made within that second.
            assert!(at("2026-01-01T00:00:00Z").is_valid_for(&account(generation, true)));
            assert!(at("2026-01-02T00:00:00Z").is_valid_for(&account(generation, true)));
            assert!(!at("2025-12-31T23:59:59Z").is_valid_for(&account(generation, true)));
            assert!(!at("2026-01-02T00:00:00Z").is_valid_for(&account(generation, false)));
        }
    }
}
