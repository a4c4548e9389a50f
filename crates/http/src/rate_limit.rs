//! Rate limits by key: client id, address or e-mail (contract §1, Limits).

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use http::HeaderMap;

use crate::error::ApiError;

/// How many checks pass between two clearings of keys that have their whole quota back.
const CHECKS_BETWEEN_CLEARINGS: u32 = 1024;

/// Limits how often each key may pass; a burst may use the whole quota of its period at once.
#[derive(Debug)]
pub struct KeyedLimiter<K: Hash + Eq + Clone>(Option<State<K>>);

#[derive(Debug)]
struct State<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> KeyedLimiter<K> {
    /// `count` a second for each key; 0 lets everything pass.
    pub fn per_second(count: u32) -> Self {
        Self::new(count, Quota::per_second)
    }

    /// `count` a minute for each key; 0 lets everything pass.
    pub fn per_minute(count: u32) -> Self {
        Self::new(count, Quota::per_minute)
    }

    fn new(count: u32, quota: fn(NonZeroU32) -> Quota) -> Self {
        Self(NonZeroU32::new(count).map(|count| State {
            limiter: DefaultKeyedRateLimiter::keyed(quota(count)),
            clock: DefaultClock::default(),
            checks: AtomicU32::new(0),
        }))
    }

    /// Whether anything is limited at all; where not, a caller can spare itself the key.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Counts one use of `key`.
    ///
    /// # Errors
    /// TOO_MANY_REQUESTS with the whole seconds, at least 1, after which `key` may pass again.
    pub fn check(&self, key: &K) -> Result<(), ApiError> {
        let Some(state) = &self.0 else {
            return Ok(());
        };
        if state.checks.fetch_add(1, Ordering::Relaxed) % CHECKS_BETWEEN_CLEARINGS
            == CHECKS_BETWEEN_CLEARINGS - 1
        {
            state.limiter.retain_recent();
            state.limiter.shrink_to_fit();
        }
        state.limiter.check_key(key).map_err(|until| {
            let wait = until.wait_time_from(state.clock.now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            ApiError::too_many_requests(seconds.max(1))
        })
    }
}

/// The client's address as a key for limits: where `trust_forwarded_for` is set, the last entry of
/// `X-Forwarded-For`, which our own proxy wrote, and the peer's where there is none that can be read.
/// Of IPv6 the network (/64), for a single client has as many addresses in it as it likes.
pub fn client_address(headers: &HeaderMap, peer: SocketAddr, trust_forwarded_for: bool) -> IpAddr {
    let forwarded = trust_forwarded_for
        .then(|| last_forwarded(headers))
        .flatten();
    match forwarded.unwrap_or(peer.ip()).to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// The last entry of `X-Forwarded-For`: what the proxy nearest to us added.
pub(crate) fn last_forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    let entry = last.to_str().ok()?.rsplit(',').next()?.trim();
    let with_port = || entry.parse::<SocketAddr>().map(|address| address.ip());
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    entry
        .parse()
        .or_else(|_| with_port())
        .ok()
        .or_else(bracketed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn each_key_has_its_own_quota() {
        let limiter = KeyedLimiter::per_minute(2);
        assert!(limiter.is_on());
        for key in ["a", "b"] {
            assert!(limiter.check(&key).is_ok());
            assert!(limiter.check(&key).is_ok());
            let error = limiter.check(&key).unwrap_err();
            assert_eq!(error.code, ErrorCode::TooManyRequests);
            let seconds = error.retry_after.unwrap();
            assert!((1..=30).contains(&seconds), "{seconds}");
        }
    }

    #[test]
    fn zero_is_off() {
        let limiter = KeyedLimiter::per_second(0);
        assert!(!limiter.is_on());
        assert!((0..10_000).all(|_| limiter.check(&1).is_ok()));
    }

    #[test]
    fn keys_with_a_full_quota_are_forgotten() {
        // A quota this large is whole again within nanoseconds.
        let limiter = KeyedLimiter::per_second(u32::MAX);
        for key in 0..100_000 {
            assert!(limiter.check(&key).is_ok());
        }
        assert!(limiter.0.unwrap().limiter.len() <= CHECKS_BETWEEN_CLEARINGS as usize);
    }

    #[test]
    fn the_address_is_the_peers_unless_a_proxy_is_trusted() {
        let peer: SocketAddr = "10.0.0.1:99".parse().unwrap();
        let address = |values: &[&str], trusted| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            client_address(&headers, peer, trusted).to_string()
        };
        assert_eq!(address(&["1.1.1.1"], false), "10.0.0.1");
        assert_eq!(address(&[], true), "10.0.0.1");
        assert_eq!(
            address(&["1.1.1.1, 2.2.2.2", "3.3.3.3,4.4.4.4"], true),
            "4.4.4.4"
        );
        assert_eq!(address(&["1.1.1.1, spoofed"], true), "10.0.0.1");
        assert_eq!(address(&["4.4.4.4:1234"], true), "4.4.4.4");
        assert_eq!(address(&["[2001:db8:1:2:3::4]:80"], true), "2001:db8:1:2::");
        assert_eq!(address(&["[2001:db8:1:2:3::4]"], true), "2001:db8:1:2::");
        assert_eq!(address(&["::ffff:4.4.4.4"], true), "4.4.4.4");
    }
}
