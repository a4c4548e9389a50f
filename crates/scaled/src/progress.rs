//! The issuers' progress in the log, as this process knows it.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// The next offset to be processed of each partition, about a second old. Every record before it was processed.
#[derive(Debug, Default)]
pub(crate) struct LogProgress(RwLock<BTreeMap<i32, i64>>);

impl LogProgress {
    pub(crate) fn new(next_offsets: BTreeMap<i32, i64>) -> Self {
        Self(RwLock::new(next_offsets))
    }

    /// Returns the number of partitions that events are spread over.
    pub(crate) fn partitions(&self) -> i32 {
        let offsets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        i32::try_from(offsets.len()).unwrap_or(i32::MAX)
    }

    /// Returns the offset up to which a partition was processed at least.
    pub(crate) fn of(&self, partition: i32) -> i64 {
        let offsets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        offsets.get(&partition).copied().unwrap_or_default()
    }

    /// Returns the next offsets of all partitions.
    pub(crate) fn all(&self) -> BTreeMap<i32, i64> {
        let offsets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        offsets.clone()
    }

    /// Replaces the offsets by later ones, which may be of more partitions.
    pub(crate) fn set(&self, next_offsets: BTreeMap<i32, i64>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next_offsets;
    }
}
