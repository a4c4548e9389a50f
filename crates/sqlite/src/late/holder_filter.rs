//! Who surely has no coupon of a template.
//!
//! Nearly all who ask for a coupon have none yet, and the index of holders, asked in vain, costs a page that is in no
//! cache. A Bloom filter of all holders spares that: whoever is not in it has no coupon, and whoever may be in it is
//! looked up. It only ever takes up, so a request that is undone, or an index that is behind, does no harm.
//!
//! That the filter is right is tried all the time: one of 1,024 whom it knows to be new is looked up all the same, and
//! should they have a coupon, the filter is believed no more.
//!
//! It is 8 MiB large: of 5 million holders' strangers 1 in 300 is looked up, of 20 million's 1 in 4. A thread fills it
//! after the start from the index; until then everybody is looked up.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use goodpon_domain::id::TemplateId;

/// A holder's bits stand in one block: one line of the processor's cache.
type Block = [AtomicU64; 8];
const BLOCK_BITS: u32 = 17;
/// A holder has so many bits in its block, each told by 9 bits of the hash.
const MARKS: u32 = 5;
/// One of that many whom the filter knows to be new is looked up all the same.
const TRIED_ONE_IN: u32 = 1_024;

pub(crate) struct HolderFilter {
    hasher: RandomState,
    blocks: Vec<Block>,
    whole: OnceLock<()>,
    /// How many were known to be new.
    trusted: AtomicU32,
    /// Whether it was wrong about somebody.
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
    /// A holder's bits, each with the word that it is in.
    fn marks(&self, template: TemplateId, user: &str) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let hash = self.hasher.hash_one((template, user));
        let block = &self.blocks[(hash >> (u64::BITS - BLOCK_BITS)) as usize];
        (0..MARKS).map(move |mark| {
            let bit = (hash >> (9 * mark)) & 0x1ff;
            (&block[(bit >> 6) as usize], 1 << (bit & 63))
        })
    }

    /// To be called for each coupon before its row is committed.
    pub(crate) fn add(&self, template: TemplateId, user: &str) {
        for (word, bit) in self.marks(template, user) {
            // Most are there already, or nobody else writes.
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    /// Whether the user seems to be in it, as far as it is filled.
    pub(crate) fn seems_to_have_one(&self, template: TemplateId, user: &str) -> bool {
        self.marks(template, user)
            .all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Whether the user has no coupon of the template that was committed before. For the writer, who adds to it.
    pub(crate) fn surely_has_none(&self, template: TemplateId, user: &str) -> bool {
        self.whole.get().is_some()
            && !self.is_refuted.load(Ordering::Relaxed)
            && !self.seems_to_have_one(template, user)
    }

    /// Whether somebody whom it knows to be new is to be looked up all the same. For the writer.
    pub(crate) fn is_to_be_tried(&self) -> bool {
        self.trusted.fetch_add(1, Ordering::Relaxed) % TRIED_ONE_IN == TRIED_ONE_IN - 1
    }

    /// It was wrong: from now on everybody is looked up.
    pub(crate) fn refute(&self) {
        self.is_refuted.store(true, Ordering::Relaxed);
    }

    /// Every holder is in it from now on. A thread that sees it whole sees all bits.
    pub(crate) fn declare_whole(&self) {
        // The filler can be started anew.
        let _ = self.whole.set(());
    }

    /// Forgets everybody, as no filter may.
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
