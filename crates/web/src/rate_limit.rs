//! Rate limits by key, such as a client id, account, address or e-mail address (contract §1, Limits).

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::fault::Fault;

/// The most keys that each limit remembers, some hundred bytes each. Beyond that, each new key displaces the one that was
/// seen longest ago.
const MAX_REMEMBERED_KEYS: usize = 32_768;

/// Limits how often each key may pass; a burst may use the whole quota of its period at once.
pub struct KeyedLimiter(Option<State>);

/// All times are nanoseconds since `began`.
struct State {
    period: u64,
    /// Nanoseconds in which one use is restored.
    interval: u64,
    /// The time at which a key will have its whole quota back, by the key's hash.
    restored_at: Cache<u64, Arc<AtomicU64>>,
    /// Seeded at random, so that no client can choose two keys with the same hash.
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
            restored_at: Cache::new(MAX_REMEMBERED_KEYS),
            hasher: RandomState::new(),
            began: Instant::now(),
        }))
    }

    /// Returns whether anything is limited at all. Where it is not, the key need not be made.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Counts one use of `key`.
    ///
    /// # Errors
    /// [`Fault::TooManyRequests`].
    pub fn check(&self, key: &impl Hash) -> Result<(), Fault> {
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

    /// Checks `key` as [`Self::check`] does, but counts nothing.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn look(&self, key: &impl Hash) -> Result<(), Fault> {
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

    /// Returns when the quota will be whole again if it is used once more `now`, or as the error how many nanoseconds too
    /// early that use would be.
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

fn too_many(nanoseconds: u64) -> Fault {
    Fault::TooManyRequests {
        retry_after: nanoseconds.div_ceil(1_000_000_000).max(1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn each_key_has_its_own_quota() {
        let limiter = KeyedLimiter::per_minute(2);
        assert!(limiter.is_on());
        for key in ["a", "b"] {
            assert!(limiter.check(&key).is_ok());
            assert!(limiter.look(&key).is_ok());
            assert!(limiter.check(&key).is_ok());
            assert!(limiter.look(&key).is_err());
            let refused = limiter.check(&key);
            assert!(
                matches!(
                    refused,
                    Err(Fault::TooManyRequests {
                        retry_after: 29..=30
                    })
                ),
                "{refused:?}"
            );
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
        for key in 0..4 * MAX_REMEMBERED_KEYS {
            assert!(limiter.check(&key).is_ok());
        }
        assert!(limiter.0.unwrap().restored_at.len() <= MAX_REMEMBERED_KEYS);
    }
}
