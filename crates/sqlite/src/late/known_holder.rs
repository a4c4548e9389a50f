//! Holders that a look-up found, so that one who asks again and again is refused from memory.
//!
//! A coupon is never deleted, so what was found stays true: an entry is never taken back, only overwritten by another.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use goodpon_domain::id::TemplateId;

/// One line of the processor's cache: digests of up to eight holders, 0 where there is none.
type Bucket = [AtomicU64; 8];
/// Half a million holders in 4 MiB.
const BUCKET_BITS: u32 = 16;

pub(crate) struct KnownHolders {
    /// Keyed with secrets of this process, so that two users with one digest cannot be searched for: among eight digests
    /// of 64 bits a stranger is taken for a holder once in 2^61 look-ups.
    bucket_hasher: RandomState,
    digest_hasher: RandomState,
    buckets: Vec<Bucket>,
}

impl Default for KnownHolders {
    fn default() -> Self {
        Self {
            bucket_hasher: RandomState::new(),
            digest_hasher: RandomState::new(),
            buckets: (0..1 << BUCKET_BITS).map(|_| Bucket::default()).collect(),
        }
    }
}

impl KnownHolders {
    fn locate(&self, template: TemplateId, user: &str) -> (&Bucket, u64) {
        let hash = self.bucket_hasher.hash_one((template, user));
        let bucket = &self.buckets[(hash >> (u64::BITS - BUCKET_BITS)) as usize];
        (bucket, self.digest_hasher.hash_one((template, user)).max(1))
    }

    /// True if an earlier look-up found the user's coupon. False also for holders that are not known here.
    pub(crate) fn contains(&self, template: TemplateId, user: &str) -> bool {
        let (bucket, digest) = self.locate(template, user);
        bucket
            .iter()
            .any(|slot| slot.load(Ordering::Relaxed) == digest)
    }

    /// Notes a user whose coupon is committed.
    pub(crate) fn add(&self, template: TemplateId, user: &str) {
        let (bucket, digest) = self.locate(template, user);
        let free = bucket.iter().find(|slot| slot.load(Ordering::Relaxed) == 0);
        let slot = free.unwrap_or(&bucket[(digest % 8) as usize]);
        slot.store(digest, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: TemplateId = TemplateId(7);

    #[test]
    fn holders_are_found_again_and_no_stranger_is() {
        let known = KnownHolders::default();
        let user = |number: u32| format!("user {number}");
        for number in 0..200_000 {
            known.add(TEMPLATE, &user(number));
        }
        let found = |numbers: std::ops::Range<u32>, template| {
            let is_found = |number: &u32| known.contains(template, &user(*number));
            numbers.filter(is_found).count()
        };
        assert!(found(0..200_000, TEMPLATE) > 195_000);
        assert_eq!(found(200_000..400_000, TEMPLATE), 0);
        assert_eq!(found(0..200_000, TemplateId(8)), 0);
    }

    #[test]
    fn a_full_table_still_takes_those_who_ask() {
        let known = KnownHolders::default();
        for number in 0..1_000_000 {
            let user = number.to_string();
            known.add(TEMPLATE, &user);
            assert!(known.contains(TEMPLATE, &user));
        }
    }
}
