//! A filter of users who surely have no coupon of a template.
//!
//! Nearly all users who ask for a coupon have none yet, and a look-up in the index costs a page that is in no cache. A
//! Bloom filter of all holders spares it: a user who is not in the filter has no coupon, and one who may be is looked up.
//! Users are only added, so a request that is rolled back, or an index that lags behind, does no harm.
//!
//! The filter is checked all the time: one of 1,024 users that it calls new is looked up nevertheless, and if that user
//! has a coupon, every user is looked up from then on.
//!
//! It takes 8 MiB: with 5 million holders 1 in 300 new users is looked up, with 20 million 1 in 4. A thread fills it from
//! the index after the start (`read/filler.rs`); until then every user is looked up.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use goodpon_domain::id::TemplateId;

/// A holder's bits stand in one block: one line of the processor's cache.
type Block = [AtomicU64; 8];
const BLOCK_BITS: u32 = 17;
/// Bits that a holder has in its block. Each is chosen by 9 bits of the hash.
const MARKS: u32 = 5;
/// One of this many users that the filter calls new is looked up nevertheless.
const CHECKED_ONE_IN: u32 = 1_024;

pub(crate) struct HolderFilter {
    hasher: RandomState,
    blocks: Vec<Block>,
    whole: OnceLock<()>,
    /// The number of users that were called new to the writer.
    trusted: AtomicU32,
    /// Set once it was wrong about a user.
    is_refuted: AtomicBool,
}

impl Default for HolderFilter {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            blocks: (0..1 << BLOCK_BITS).map(|_| Block::default()).collect(),
            whole: OnceLock::new(),
            trusted: AtomicU32::new(0),
            is_refuted: AtomicBool::new(false),
        }
    }
}

impl HolderFilter {
    /// A holder's bits, and the word of each.
    fn marks(&self, template: TemplateId, user: &str) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let hash = self.hasher.hash_one((template, user));
        let block = &self.blocks[(hash >> (u64::BITS - BLOCK_BITS)) as usize];
        (0..MARKS).map(move |mark| {
            let bit = (hash >> (9 * mark)) & 0x1ff;
            (&block[(bit >> 6) as usize], 1 << (bit & 63))
        })
    }

    /// Adds a holder. To be called for each coupon before its row is committed.
    pub(crate) fn add(&self, template: TemplateId, user: &str) {
        for (word, bit) in self.marks(template, user) {
            // Most bits are set already, and reading one keeps its cache line shared.
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    /// True if the user may have a coupon: all bits are set, as far as the filter is filled.
    pub(crate) fn seems_to_have_one(&self, template: TemplateId, user: &str) -> bool {
        self.marks(template, user)
            .all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// True if no coupon of the template that is committed so far is the user's.
    pub(crate) fn surely_has_none(&self, template: TemplateId, user: &str) -> bool {
        self.whole.get().is_some()
            && !self.is_refuted.load(Ordering::Relaxed)
            && !self.seems_to_have_one(template, user)
    }

    /// True if the writer looks up a user that the filter calls new, to check the filter.
    pub(crate) fn is_check_due(&self) -> bool {
        self.trusted.fetch_add(1, Ordering::Relaxed) % CHECKED_ONE_IN == CHECKED_ONE_IN - 1
    }

    /// Has every user looked up from now on: the filter was wrong.
    pub(crate) fn refute(&self) {
        self.is_refuted.store(true, Ordering::Relaxed);
    }

    /// Notes that every holder is in it from now on. A thread that sees that sees all bits.
    pub(crate) fn declare_whole(&self) {
        // The filler can be started anew.
        let _ = self.whole.set(());
    }

    /// Forgets all holders, as no filter may.
    #[cfg(test)]
    pub(crate) fn lie(&self) {
        for word in self.blocks.iter().flatten() {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Waits until it is filled.
    #[cfg(test)]
    pub(crate) fn wait(&self) {
        self.whole.wait();
    }
}

#[cfg(test)]
mod tests;
