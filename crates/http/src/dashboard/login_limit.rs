//! How often logins may fail (contract §1, Limits): for an address and an e-mail together, and for an e-mail from
//! wherever, so that a password is not guessed and yet no stranger keeps an owner out.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use goodpon_application::network::Network;
use quick_cache::sync::Cache;

use crate::error::ApiError;
use crate::rate_limit::KeyedLimiter;

/// How many more failures an e-mail may have in an hour, from all addresses, than with one address in a minute.
const FAILURES_OF_AN_EMAIL_AN_HOUR: u32 = 10;

/// For how long a network counts as one of the account's after a login from it.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How many accounts, and networks of each, are remembered: the latest.
const REMEMBERED_ACCOUNTS: usize = 32_768;
const NETWORKS_OF_AN_ACCOUNT: usize = 8;

/// The limits on failed logins, and the networks that are above suspicion.
pub(super) struct LoginLimit {
    by_address_and_email: KeyedLimiter,
    by_email: KeyedLimiter,
    known: KnownNetworks,
}

impl LoginLimit {
    /// `count` failures a minute for an address and an e-mail together; 0 is without limit.
    pub(super) fn per_minute(count: u32) -> Self {
        let of_an_email = count.saturating_mul(FAILURES_OF_AN_EMAIL_AN_HOUR);
        Self {
            by_address_and_email: KeyedLimiter::per_minute(count),
            by_email: KeyedLimiter::per_hour(of_an_email),
            known: KnownNetworks::default(),
        }
    }

    /// Begins a login. It counts as failed until it is known how it ends, so that many at once are no more than the
    /// same number one after another. `by_address` are the failures of the address with whatever e-mail.
    ///
    /// # Errors
    /// TOO_MANY_REQUESTS. The e-mail's own bound and that of the address do not hold for a network that is known.
    pub(super) fn begin(
        &self,
        address: IpAddr,
        email: &str,
        by_address: &KeyedLimiter,
    ) -> Result<Attempt, ApiError> {
        let is_known = self.known.has(email, Network::of(address));
        if !is_known {
            by_address.look(&address)?;
        }
        let attempt = Attempt {
            address,
            email: email.to_owned(),
            is_known,
        };
        self.by_address_and_email.check(&attempt.pair())?;
        let of_email = self.by_email.check(&email);
        if let Err(error) = of_email
            && !is_known
        {
            self.by_address_and_email.give_back(&attempt.pair());
            return Err(error);
        }
        Ok(attempt)
    }

    /// The password was wrong, or nobody has that e-mail. The address may be beyond its bound already: that its failures
    /// are too many is answered to its next attempt.
    pub(super) fn failed(&self, attempt: &Attempt, by_address: &KeyedLimiter) {
        let _ = by_address.check(&attempt.address);
    }

    /// The password was right: all that was counted is forgotten. The network is remembered if the account `is_verified`.
    pub(super) fn succeeded(&self, attempt: &Attempt, is_verified: bool) {
        self.by_address_and_email.clear(&attempt.pair());
        self.by_email.clear(&attempt.email.as_str());
        if is_verified {
            self.known
                .remember(&attempt.email, Network::of(attempt.address));
        }
    }

    /// It never came to look at the password.
    pub(super) fn came_to_nothing(&self, attempt: &Attempt) {
        self.by_address_and_email.give_back(&attempt.pair());
        self.by_email.give_back(&attempt.email.as_str());
    }
}

/// A login on its way.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    address: IpAddr,
    email: String,
    /// Whether the account logged in from this network before.
    pub(super) is_known: bool,
}

impl Attempt {
    fn pair(&self) -> (IpAddr, &str) {
        (self.address, &self.email)
    }
}

/// From where each account logged in lately. Lost at a restart: then the bounds hold for everybody once more.
struct KnownNetworks {
    by_email: Cache<u64, Arc<[(Network, Instant)]>>,
    hasher: RandomState,
}

impl Default for KnownNetworks {
    fn default() -> Self {
        Self {
            by_email: Cache::new(REMEMBERED_ACCOUNTS),
            hasher: RandomState::new(),
        }
    }
}

impl KnownNetworks {
    fn has(&self, email: &str, network: Network) -> bool {
        let of_account = self.by_email.get(&self.hasher.hash_one(email));
        of_account.is_some_and(|known| {
            let found = known.iter().find(|(known, _)| *known == network);
            found.is_some_and(|(_, since)| since.elapsed() < KNOWN_FOR)
        })
    }

    /// Two at once may forget one of the two, which is remembered again at its next login.
    fn remember(&self, email: &str, network: Network) {
        let key = self.hasher.hash_one(email);
        let before = self.by_email.get(&key).unwrap_or_default();
        let others = before.iter().filter(|(known, _)| *known != network);
        let latest = std::iter::once((network, Instant::now())).chain(others.copied());
        self.by_email
            .insert(key, latest.take(NETWORKS_OF_AN_ACCOUNT).collect());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const OWNER: &str = "owner@example.com";

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    struct Door(LoginLimit, KeyedLimiter);

    impl Door {
        fn new() -> Self {
            Self(LoginLimit::per_minute(10), KeyedLimiter::per_minute(0))
        }

        fn knock(&self, from: u32, email: &str) -> Result<Attempt, ApiError> {
            self.0.begin(address(from), email, &self.1)
        }

        fn log_in(&self, from: u32) {
            let attempt = self.knock(from, OWNER).unwrap();
            self.0.succeeded(&attempt, true);
        }
    }

    #[test]
    fn failures_of_one_address_are_its_own() {
        let door = Door::new();
        for _ in 0..10 {
            assert!(door.knock(1, OWNER).is_ok());
        }
        assert!(door.knock(1, OWNER).is_err());
        assert!(door.knock(1, "other@example.com").is_ok());
        assert!(door.knock(2, OWNER).is_ok());
    }

    #[test]
    fn an_email_has_its_own_bound_which_a_known_network_is_above() {
        let door = Door::new();
        door.log_in(7);
        for attempt in 0..100 {
            assert!(door.knock(100 + attempt, OWNER).is_ok());
        }
        assert!(door.knock(300, OWNER).is_err(), "100 an hour");
        let attempt = door
            .knock(7, OWNER)
            .expect("from where it logged in before");
        assert!(attempt.is_known);
        door.0.succeeded(&attempt, true);
        assert!(door.knock(300, OWNER).is_ok(), "a success clears the bound");
    }

    #[test]
    fn a_refusal_by_the_email_costs_the_address_nothing() {
        let door = Door::new();
        for attempt in 0..100 {
            assert!(door.knock(100 + attempt, OWNER).is_ok());
        }
        for _ in 0..20 {
            assert!(door.knock(7, OWNER).is_err());
        }
        let pair = (address(7), OWNER);
        for _ in 0..10 {
            assert!(door.0.by_address_and_email.check(&pair).is_ok());
        }
    }

    #[test]
    fn a_login_that_came_to_nothing_is_not_counted() {
        let door = Door::new();
        for _ in 0..200 {
            let attempt = door.knock(1, OWNER).unwrap();
            door.0.came_to_nothing(&attempt);
        }
    }

    #[test]
    fn a_success_clears_what_the_address_failed() {
        let door = Door::new();
        for _ in 0..20 {
            for _ in 0..9 {
                assert!(door.knock(1, OWNER).is_ok());
            }
            door.log_in(1);
        }
    }

    #[test]
    fn the_failures_of_an_address_count_with_whatever_email_but_not_for_a_known_network() {
        let mut door = Door::new();
        door.log_in(1);
        door.1 = KeyedLimiter::per_minute(1);
        door.1.check(&address(1)).unwrap();
        assert!(door.knock(1, "sprayed@example.com").is_err());
        assert!(door.knock(1, OWNER).is_ok());
    }

    #[test]
    fn only_the_latest_networks_are_known() {
        let door = Door::new();
        for from in 0..=NETWORKS_OF_AN_ACCOUNT as u32 {
            door.log_in(from);
        }
        let known = |from| door.0.known.has(OWNER, Network::of(address(from)));
        assert!(!known(0) && known(1) && known(NETWORKS_OF_AN_ACCOUNT as u32));
        let attempt = door.knock(99, "unverified@example.com").unwrap();
        door.0.succeeded(&attempt, false);
        assert!(
            !door
                .0
                .known
                .has("unverified@example.com", Network::of(address(99)))
        );
    }
}
