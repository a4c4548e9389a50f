//! Limits on failed logins (contract §1, Limits): for an address and an e-mail together, and for an e-mail from
//! any address, so that passwords are not guessed and yet no stranger keeps an owner out.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::fault::Fault;
use crate::rate_limit::KeyedLimiter;

/// The failures that an e-mail may have in an hour, from all addresses, for each that it may have in a minute from one.
const EMAIL_HOURLY_FACTOR: u32 = 10;

/// The time after a login for which its network counts as one of the account's.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The most accounts that are remembered, and the most networks of each: the latest of both.
const MAX_REMEMBERED_ACCOUNTS: usize = 32_768;
const MAX_NETWORKS_OF_AN_ACCOUNT: usize = 8;

/// The limits on failed logins, and the networks of type `N` from which accounts logged in lately.
pub struct LoginLimit<N> {
    by_address_and_email: KeyedLimiter,
    by_email: KeyedLimiter,
    known: KnownNetworks<N>,
}

impl<N: Copy + Eq> LoginLimit<N> {
    /// `count` failures a minute for an address and an e-mail together; 0 is without limit.
    pub fn per_minute(count: u32) -> Self {
        let of_an_email = count.saturating_mul(EMAIL_HOURLY_FACTOR);
        Self {
            by_address_and_email: KeyedLimiter::per_minute(count),
            by_email: KeyedLimiter::per_hour(of_an_email),
            known: KnownNetworks::default(),
        }
    }

    /// Begins a login. It counts as failed until its end is known, so that no more can be tried at once than one after
    /// another. `by_address` limits the failures of an address with any e-mail.
    ///
    /// # Errors
    /// [`Fault::TooManyRequests`]. From a network that is known, only the limit on address and e-mail together holds.
    pub fn begin(
        &self,
        address: IpAddr,
        network: N,
        email: &str,
        by_address: &KeyedLimiter,
    ) -> Result<Attempt<N>, Fault> {
        let is_known = self.known.has(email, network);
        if !is_known {
            by_address.look(&address)?;
        }
        let attempt = Attempt {
            address,
            network,
            email: email.to_owned(),
            is_known,
        };
        self.by_address_and_email.check(&attempt.pair())?;
        let of_email = self.by_email.check(&email);
        if let Err(fault) = of_email
            && !is_known
        {
            self.by_address_and_email.give_back(&attempt.pair());
            return Err(fault);
        }
        Ok(attempt)
    }

    /// Counts a login with a wrong password or an unknown e-mail. Where that is beyond the limit of the address, its next
    /// attempt is refused.
    pub fn failed(&self, attempt: &Attempt<N>, by_address: &KeyedLimiter) {
        let _ = by_address.check(&attempt.address);
    }

    /// Forgets the failures before a login that succeeded, and remembers its network if the account `is_verified`.
    pub fn succeeded(&self, attempt: &Attempt<N>, is_verified: bool) {
        self.by_address_and_email.clear(&attempt.pair());
        self.by_email.clear(&attempt.email.as_str());
        if is_verified {
            self.known.remember(&attempt.email, attempt.network);
        }
    }

    /// Takes back a login whose password was never compared.
    pub fn abandoned(&self, attempt: &Attempt<N>) {
        self.by_address_and_email.give_back(&attempt.pair());
        self.by_email.give_back(&attempt.email.as_str());
    }
}

/// A login whose end is not known yet.
#[derive(Debug, Clone)]
pub struct Attempt<N> {
    address: IpAddr,
    network: N,
    email: String,
    /// True if the account logged in from this network before.
    pub is_known: bool,
}

impl<N> Attempt<N> {
    fn pair(&self) -> (IpAddr, &str) {
        (self.address, &self.email)
    }
}

/// The networks from which each account logged in lately, with the time. Lost at a restart: then all limits hold for all
/// networks.
struct KnownNetworks<N> {
    by_email: Cache<u64, Arc<[(N, Instant)]>>,
    hasher: RandomState,
}

impl<N> Default for KnownNetworks<N> {
    fn default() -> Self {
        Self {
            by_email: Cache::new(MAX_REMEMBERED_ACCOUNTS),
            hasher: RandomState::new(),
        }
    }
}

impl<N: Copy + Eq> KnownNetworks<N> {
    fn has(&self, email: &str, network: N) -> bool {
        let of_account = self.by_email.get(&self.hasher.hash_one(email));
        of_account.is_some_and(|known| {
            let found = known.iter().find(|(known, _)| *known == network);
            found.is_some_and(|(_, since)| since.elapsed() < KNOWN_FOR)
        })
    }

    /// Of two networks that are remembered at once, one may be lost, until its next login.
    fn remember(&self, email: &str, network: N) {
        let key = self.hasher.hash_one(email);
        let before = self.by_email.get(&key);
        let before = before.as_deref().unwrap_or_default();
        let others = before.iter().filter(|(known, _)| *known != network);
        let latest = std::iter::once((network, Instant::now())).chain(others.copied());
        self.by_email
            .insert(key, latest.take(MAX_NETWORKS_OF_AN_ACCOUNT).collect());
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

    struct Door(LoginLimit<IpAddr>, KeyedLimiter);

    impl Door {
        fn new() -> Self {
            Self(LoginLimit::per_minute(10), KeyedLimiter::per_minute(0))
        }

        fn knock(&self, from: u32, email: &str) -> Result<Attempt<IpAddr>, Fault> {
            let from = address(from);
            self.0.begin(from, from, email, &self.1)
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
    fn an_abandoned_login_is_not_counted() {
        let door = Door::new();
        for _ in 0..200 {
            let attempt = door.knock(1, OWNER).unwrap();
            door.0.abandoned(&attempt);
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
        for from in 0..=MAX_NETWORKS_OF_AN_ACCOUNT as u32 {
            door.log_in(from);
        }
        let known = |from| door.0.known.has(OWNER, address(from));
        assert!(!known(0) && known(1) && known(MAX_NETWORKS_OF_AN_ACCOUNT as u32));
        let attempt = door.knock(99, "unverified@example.com").unwrap();
        door.0.succeeded(&attempt, false);
        assert!(!door.0.known.has("unverified@example.com", address(99)));
    }
}
