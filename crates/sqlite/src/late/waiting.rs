//! The entries that wait in memory, for readers and for the writer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::RangeBounds;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rusqlite::Connection;

use super::{Late, Lookup};

/// Entries under their keys.
pub(super) type Entries<L> = BTreeMap<<L as Late>::Key, <L as Late>::Value>;

/// The entries of committed rows that are not in the index yet.
///
/// A reader looks here before it looks into the index: an entry leaves only after the commit that entered it.
pub(crate) struct Waiting<L: Late> {
    entries: RwLock<Entries<L>>,
    /// The entries of all rows up to this position are here or in the index.
    published: Mutex<Option<L::Position>>,
}

impl<L: Late> Default for Waiting<L> {
    fn default() -> Self {
        Self {
            entries: RwLock::default(),
            published: Mutex::default(),
        }
    }
}

impl<L: Late> Waiting<L> {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Entries<L>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Entries<L>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to this position every later look-up finds the entries of all rows. Those behind it may appear one by one
    /// between two look-ups.
    pub(crate) fn published(&self) -> Option<L::Position> {
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, last: Option<L::Position>) {
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = last;
    }

    /// The value that waits for a key.
    pub(crate) fn get(&self, key: &L::Key) -> Option<L::Value> {
        self.read().get(key).cloned()
    }

    /// Hands every key that waits to `each`.
    pub(crate) fn for_each_key(&self, each: impl FnMut(&L::Key)) {
        self.read().keys().for_each(each);
    }

    /// The values that wait for a range of keys.
    pub(crate) fn values(&self, keys: impl RangeBounds<L::Key>) -> Vec<L::Value> {
        self.read()
            .range(keys)
            .map(|(_, value)| value.clone())
            .collect()
    }
}

impl<L: Lookup> Waiting<L> {
    /// The value of a key, waiting or entered. The row that it comes from may be gone.
    pub(crate) fn find(
        &self,
        connection: &Connection,
        key: &L::Key,
    ) -> rusqlite::Result<Option<L::Value>> {
        match self.get(key) {
            Some(value) => Ok(Some(value)),
            None => L::find_entered(connection, key),
        }
    }
}

/// Puts a value in unless a newer one of its key is there. Returns the weights that came and went.
pub(super) fn put<L: Late>(
    entries: &mut Entries<L>,
    key: L::Key,
    value: L::Value,
) -> (usize, usize) {
    let weight = L::weight(&key, &value);
    match entries.entry(key) {
        Entry::Vacant(entry) => {
            entry.insert(value);
            (weight, 0)
        }
        Entry::Occupied(mut entry) if L::is_newer(&value, entry.get()) => {
            let old = L::weight(entry.key(), entry.get());
            entry.insert(value);
            (weight, old)
        }
        Entry::Occupied(_) => (0, 0),
    }
}
