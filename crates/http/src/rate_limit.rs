//! Rate limits by key: client id, account, address or e-mail (contract §1, Limits).

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderMap, HeaderName};
use quick_cache::sync::Cache;

use crate::error::ApiError;
use crate::serve::Peer;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How many keys each limit remembers, some hundred bytes each. Beyond that, those that were seen longest ago are
/// forgotten, one for each new one.
const REMEMBERED_KEYS: usize = 32_768;

/// Limits how often each key may pass; a burst may use the whole quota of its period at once.
pub struct KeyedLimiter(Option<State>);

struct State {
    period: u64,
    /// Between two uses that follow each other as fast as they may for ever.
    interval: u64,
    /// When a key will have its whole quota back. Times are nanoseconds since `began`.
    restored_at: Cache<u64, Arc<AtomicU64>>,
    /// Of the keys themselves nothing is kept, and nobody can choose two that meet.
    hasher: RandomState,
    began: Instant,
}

impl KeyedLimiter {
    /// `count` a second for each key; 0 lets everything pass.
    pub fn per_second(count: u32) -> Self {
        Self::new(count, Duration::from_secs(1))
    }

    /// `count` a minute for each key; 0 lets everything pass.
    pub fn per_minute(count: u32) -> Self {
        Self::new(count, Duration::from_secs(60))
    }

    /// `count` an hour for each key; 0 lets everything pass.
    pub fn per_hour(count: u32) -> Self {
        Self::new(count, Duration::from_secs(3600))
    }

    fn new(count: u32, period: Duration) -> Self {
        let period = nanoseconds(period);
        Self((count > 0).then(|| State {
            period,
            interval: period / u64::from(count),
            restored_at: Cache::new(REMEMBERED_KEYS),
            hasher: RandomState::new(),
            began: Instant::now(),
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
    pub fn check(&self, key: &impl Hash) -> Result<(), ApiError> {
        let Some(state) = &self.0 else {
            return Ok(());
        };
        let restored_at = state.of(key);
        let now = state.now();
        restored_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| {
                state.after_a_use(at, now).ok()
            })
            .map(drop)
            .map_err(|at| too_many(state.after_a_use(at, now).err().unwrap_or_default()))
    }

    /// Looks whether `key` may pass, counting nothing.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn look(&self, key: &impl Hash) -> Result<(), ApiError> {
        let Some(state) = &self.0 else {
            return Ok(());
        };
        let Some(restored_at) = state.restored_at.get(&state.hasher.hash_one(key)) else {
            return Ok(());
        };
        let at = restored_at.load(Ordering::Relaxed);
        let after = state.after_a_use(at, state.now());
        after.map(drop).map_err(too_many)
    }

    /// Takes back one use of `key` that was counted.
    pub fn give_back(&self, key: &impl Hash) {
        if let Some(state) = &self.0
            && let Some(at) = state.restored_at.get(&state.hasher.hash_one(key))
        {
            at.fetch_sub(
                state.interval.min(at.load(Ordering::Relaxed)),
                Ordering::Relaxed,
            );
        }
    }

    /// Gives `key` its whole quota back.
    pub fn clear(&self, key: &impl Hash) {
        if let Some(state) = &self.0 {
            state.restored_at.remove(&state.hasher.hash_one(key));
        }
    }
}

impl State {
    fn now(&self) -> u64 {
        nanoseconds(self.began.elapsed())
    }

    fn of(&self, key: &impl Hash) -> Arc<AtomicU64> {
        let key = self.hasher.hash_one(key);
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::default());
        match self.restored_at.get_or_insert_with(&key, fresh) {
            Ok(at) => at,
            Err(never) => match never {},
        }
    }

    /// When the quota will be whole again if it is used once more `now`, or how long that would be too early.
    fn after_a_use(&self, restored_at: u64, now: u64) -> Result<u64, u64> {
        let after = restored_at.max(now) + self.interval;
        match after.checked_sub(now + self.period) {
            None | Some(0) => Ok(after),
            Some(early) => Err(early),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn too_many(nanoseconds: u64) -> ApiError {
    ApiError::too_many_requests(nanoseconds.div_ceil(1_000_000_000).max(1))
}

/// The client's address as a key for limits: where `trust_forwarded_for` is set, the last entry of
/// `X-Forwarded-For`, which our own proxy wrote, and the peer's where there is none that can be read.
pub fn client_address(parts: &Parts, trust_forwarded_for: bool) -> IpAddr {
    let forwarded = trust_forwarded_for
        .then(|| last_forwarded(&parts.headers))
        .flatten();
    let peer = || {
        let peer = parts.extensions.get::<Peer>();
        peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0.ip())
    };
    client_of(forwarded.unwrap_or_else(peer))
}

/// An address as that of one client: of IPv6 the network (/64), for a client has as many addresses in it as it likes.
pub(crate) fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// The last entry of `X-Forwarded-For`: what the proxy nearest to us added.
pub(crate) fn last_forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?;
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
            assert!(limiter.look(&key).is_ok());
            assert!(limiter.check(&key).is_ok());
            assert!(limiter.look(&key).is_err());
            let error = limiter.check(&key).unwrap_err();
            assert_eq!(error.code, ErrorCode::TooManyRequests);
            let seconds = error.retry_after.unwrap();
            assert!((29..=30).contains(&seconds), "{seconds}");
        }
    }

    #[test]
    fn a_use_can_be_taken_back_and_all_of_them_forgotten() {
        let limiter = KeyedLimiter::per_hour(2);
        assert!(limiter.check(&1).is_ok() && limiter.check(&1).is_ok());
        limiter.give_back(&1);
        assert!(limiter.check(&1).is_ok());
        assert!(limiter.check(&1).is_err());
        limiter.clear(&1);
        assert!(limiter.check(&1).is_ok() && limiter.check(&1).is_ok());
        assert!(limiter.check(&1).is_err());
        limiter.give_back(&2);
        assert!(limiter.look(&2).is_ok());
    }

    #[test]
    fn a_quota_comes_back_with_time() {
        let limiter = KeyedLimiter::per_second(50);
        while limiter.check(&1).is_ok() {}
        let began = Instant::now();
        while limiter.check(&1).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10));
        }
    }

    #[test]
    fn zero_is_off() {
        let limiter = KeyedLimiter::per_second(0);
        assert!(!limiter.is_on());
        assert!((0..10_000).all(|_| limiter.check(&1).is_ok()));
    }

    #[test]
    fn no_more_keys_are_remembered_than_may_be() {
        let limiter = KeyedLimiter::per_minute(1);
        for key in 0..4 * REMEMBERED_KEYS {
            assert!(limiter.check(&key).is_ok());
        }
        assert!(limiter.0.unwrap().restored_at.len() <= REMEMBERED_KEYS);
    }

    #[test]
    fn the_address_is_the_peers_unless_a_proxy_is_trusted() {
        let peer: SocketAddr = "10.0.0.1:99".parse().unwrap();
        let address = |values: &[&str], trusted| {
            let (mut parts, ()) = http::Request::new(()).into_parts();
            parts.extensions.insert(Peer(peer));
            for value in values {
                let value = value.parse().unwrap();
                parts.headers.append("x-forwarded-for", value);
            }
            client_address(&parts, trusted).to_string()
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
