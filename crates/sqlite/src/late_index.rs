//! Indexes that take up their entries late and in order.
//!
//! Where values come in no order (users, idempotency keys), an index that takes up each at once dirties a page for
//! nearly each, which costs as much as the rest of the request. So a new entry waits in memory at first, where it is
//! found just as well. When many wait, the writer enters some with every group, in the order of keys, round and
//! round: thus neighbours share a page. The rows themselves tell after a crash which entries waited.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rusqlite::{Connection, OptionalExtension, ToSql, params, types::FromSql};

/// So many entries may wait: some 20 MiB, and two or three times as many rows to be read after a crash.
pub(crate) const MOST_WAITING: usize = 200_000;
/// A smaller group has the time to enter more than it must: thus a quiet store has little to read after a crash.
const SMALL_GROUP: usize = 8;
/// The database is told this often, while so many rows are added as may wait, up to where all are entered.
const MARKS_A_FILL: usize = 4;
/// So many entries come or go under one lock, so that readers wait for no more than these.
const CHUNK: usize = 32;

/// What is indexed.
pub(crate) trait Late {
    /// Its row in the table `late_indexes`.
    const NAME: &'static str;
    /// What is looked up.
    type Key: Ord + Clone;
    /// Where the row stands that the key leads to. Rows that are added later come to stand behind, but for a clock
    /// that was set back.
    type Place: Ord + Copy + FromSql + ToSql;

    /// Reads all rows, or those from a place on, in the order of their places.
    fn read_rows(
        connection: &Connection,
        from: Option<Self::Place>,
        each: impl FnMut(Self::Key, Self::Place) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()>;

    /// Enters keys. Some may come again, with the place at which they are entered.
    fn enter(connection: &Connection, entries: &[(Self::Key, Self::Place)])
    -> rusqlite::Result<()>;
}

/// The entries of committed rows that are not in the index yet.
///
/// A reader looks here before it looks into the index: an entry leaves only after the commit that entered it.
pub(crate) struct Waiting<L: Late>(RwLock<BTreeMap<L::Key, L::Place>>);

impl<L: Late> Default for Waiting<L> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<L: Late> Waiting<L> {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<L::Key, L::Place>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<L::Key, L::Place>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the row of a key stands.
    pub(crate) fn get(&self, key: &L::Key) -> Option<L::Place> {
        self.read().get(key).copied()
    }

    /// Where the rows of a range of keys stand.
    pub(crate) fn places(&self, keys: impl RangeBounds<L::Key>) -> Vec<L::Place> {
        self.read().range(keys).map(|(_, &place)| place).collect()
    }
}

/// The writer's part.
pub(crate) struct LateIndex<L: Late> {
    waiting: Arc<Waiting<L>>,
    most_waiting: usize,
    /// All rows before this place are entered, as the database tells too.
    entered_below: Option<L::Place>,
    /// How many rows were added since the database was told of that place.
    added_since: usize,
    /// The last place of all.
    last: Option<L::Place>,
    /// The last key that was entered in this round: the next come behind it.
    cursor: Option<L::Key>,
    group: Group<L>,
}

/// What the running group will have done when it is committed.
struct Group<L: Late> {
    added: BTreeMap<L::Key, L::Place>,
    entered: Vec<(L::Key, L::Place)>,
    ends_round: bool,
    entered_below: Option<L::Place>,
}

impl<L: Late> Default for Group<L> {
    fn default() -> Self {
        Self {
            added: BTreeMap::new(),
            entered: Vec::new(),
            ends_round: false,
            entered_below: None,
        }
    }
}

impl<L: Late> LateIndex<L> {
    /// Reads which entries wait, and enters them if they are too many.
    pub(crate) fn open(connection: &Connection, most_waiting: usize) -> rusqlite::Result<Self> {
        let stored = connection
            .prepare("SELECT entered_below FROM late_indexes WHERE name = ?1")?
            .query_row([L::NAME], |row| row.get(0))
            .optional()?;
        let mut index = Self {
            waiting: Arc::default(),
            most_waiting,
            entered_below: stored,
            added_since: 0,
            // Also when all rows were deleted, none may come to stand before what is held to be entered.
            last: stored,
            cursor: None,
            group: Group::default(),
        };
        let transaction = connection.unchecked_transaction()?;
        L::read_rows(&transaction, stored, |key, place| {
            // Of two rows of one key the later counts.
            index.waiting.write().insert(key, place);
            index.last = index.last.max(Some(place));
            // A crash leaves less than that. After a clock that was set back it may be nearly all.
            if index.waiting.read().len() > 4 * most_waiting {
                index.enter_all(&transaction)?;
                index.publish();
            }
            Ok(())
        })?;
        transaction.commit()?;
        Ok(index)
    }

    /// For the readers.
    pub(crate) fn waiting(&self) -> Arc<Waiting<L>> {
        Arc::clone(&self.waiting)
    }

    /// Where the row of a key stands, if that is not for the index to tell; as the running group sees it.
    pub(crate) fn get(&self, key: &L::Key) -> Option<L::Place> {
        let added = self.group.added.get(key).copied();
        added.or_else(|| self.waiting.get(key))
    }

    /// The last place that a row came to stand at.
    pub(crate) fn last(&self) -> Option<L::Place> {
        self.last
    }

    /// Takes up an entry for a row that the running group made.
    pub(crate) fn add(&mut self, key: L::Key, place: L::Place) {
        self.last = self.last.max(Some(place));
        self.group.added.insert(key, place);
    }

    /// Enters some of what waits, up to twice as many as the group added.
    pub(crate) fn enter_some(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let (waiting, group) = (self.waiting.read(), &mut self.group);
        let Some(&first_added) = group.added.values().min() else {
            return Ok(());
        };
        let too_many = match group.added.len() {
            ..=SMALL_GROUP => waiting.len(),
            added => (waiting.len() + added).saturating_sub(self.most_waiting),
        };
        let count = too_many.min(2 * group.added.len());
        let from = match &self.cursor {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let next = waiting.range((from, Bound::Unbounded)).take(count);
        group.entered = next.map(|(key, &place)| (key.clone(), place)).collect();
        group.ends_round = group.entered.len() < count;
        if self.added_since + group.added.len() > self.most_waiting / MARKS_A_FILL {
            // What is left waits up to the cursor and behind the last key that is entered now.
            let up_to = self.cursor.iter().flat_map(|last| waiting.range(..=last));
            let behind = match group.entered.last() {
                Some((last, _)) => Bound::Excluded(last),
                None => from,
            };
            let behind = waiting.range((behind, Bound::Unbounded));
            let left = up_to.chain(behind).map(|(_, &place)| place);
            group.entered_below = left.chain([first_added]).min();
        } else if self.entered_below.is_some_and(|below| first_added < below) {
            group.entered_below = Some(first_added);
        }
        drop(waiting);
        self.write_group(connection)
    }

    /// Enters all that waits, between two groups.
    pub(crate) fn enter_all(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let waiting = self.waiting.read();
        if waiting.is_empty() {
            return Ok(());
        }
        let all = waiting.iter().map(|(key, &place)| (key.clone(), place));
        self.group.entered = all.collect();
        self.group.ends_round = true;
        self.group.entered_below = self.last;
        drop(waiting);
        self.write_group(connection)
    }

    fn write_group(&self, connection: &Connection) -> rusqlite::Result<()> {
        L::enter(connection, &self.group.entered)?;
        if let Some(below) = self.group.entered_below {
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO late_indexes (name, entered_below) VALUES (?1, ?2)",
                )?
                .execute(params![L::NAME, below])?;
        }
        Ok(())
    }

    /// The group is committed.
    pub(crate) fn publish(&mut self) {
        let group = std::mem::take(&mut self.group);
        for some in group.entered.chunks(CHUNK) {
            let mut waiting = self.waiting.write();
            for (key, _) in some {
                waiting.remove(key);
            }
        }
        // After that: a key that was entered may have got another row in this very group.
        let mut added = group.added.into_iter();
        let added_count = added.len();
        while added.len() > 0 {
            self.waiting.write().extend(added.by_ref().take(CHUNK));
        }
        if group.ends_round {
            self.cursor = None;
        } else if let Some((last, _)) = group.entered.into_iter().next_back() {
            self.cursor = Some(last);
        }
        match group.entered_below {
            Some(below) => (self.entered_below, self.added_since) = (Some(below), 0),
            None => self.added_since += added_count,
        }
    }

    /// The group is rolled back.
    pub(crate) fn forget(&mut self) {
        self.group = Group::default();
    }
}

#[cfg(test)]
#[path = "tests/late_index.rs"]
mod tests;
