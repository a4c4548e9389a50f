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

use crate::is_outage;

/// So many entries may wait, or fewer heavy ones (see [`Late::weight`]): 20 to 40 MiB, and two or three times as many
/// rows to be read after a crash.
pub(crate) const MOST_WAITING: usize = 200_000;
/// A smaller group has the time to enter more than it must: thus a quiet store has little to read after a crash.
const SMALL_GROUP: usize = 8;
/// With so many times as many found on start, all are entered at once. A crash leaves less than that; after a clock
/// that was set back it may be nearly all.
const MOST_FILLS: usize = 3;
/// With so many times as many waiting because they cannot be entered, groups fail.
const MOST_UNSOUND: usize = 4;
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

    /// What a key counts for among those that wait: 1 unless it takes far more memory than usual.
    fn weight(_key: &Self::Key) -> usize {
        1
    }

    /// Reads all rows, or those from a place on, in the order of their places.
    fn read_rows(
        connection: &Connection,
        from: Option<Self::Place>,
        each: impl FnMut(Self::Key, Self::Place) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()>;

    /// Where the row of a key stands, as the index tells it.
    fn find_entered(
        connection: &Connection,
        key: &Self::Key,
    ) -> rusqlite::Result<Option<Self::Place>>;

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

    fn get(&self, key: &L::Key) -> Option<L::Place> {
        self.read().get(key).copied()
    }

    /// Where the row of a key stands, if there is any; that row may be gone.
    pub(crate) fn find(
        &self,
        connection: &Connection,
        key: &L::Key,
    ) -> rusqlite::Result<Option<L::Place>> {
        match self.get(key) {
            Some(place) => Ok(Some(place)),
            None => L::find_entered(connection, key),
        }
    }

    /// Where the rows of a range of keys stand.
    pub(crate) fn places(&self, keys: impl RangeBounds<L::Key>) -> Vec<L::Place> {
        self.read().range(keys).map(|(_, &place)| place).collect()
    }
}

/// The writer's part.
pub(crate) struct LateIndex<L: Late> {
    waiting: Arc<Waiting<L>>,
    /// The weight of all that waits.
    weight: usize,
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
    /// Where the next group goes on, if somewhere else.
    cursor: Option<Option<L::Key>>,
    entered_below: Option<L::Place>,
}

impl<L: Late> Default for Group<L> {
    fn default() -> Self {
        Self {
            added: BTreeMap::new(),
            entered: Vec::new(),
            cursor: None,
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
            weight: 0,
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
            index.add(key, place);
            if index.group.added.len() < CHUNK {
                return Ok(());
            }
            index.publish();
            if index.weight > MOST_FILLS * most_waiting {
                index.enter_all(&transaction)?;
                index.publish();
            }
            Ok(())
        })?;
        index.publish();
        transaction.commit()?;
        Ok(index)
    }

    /// For the readers.
    pub(crate) fn waiting(&self) -> Arc<Waiting<L>> {
        Arc::clone(&self.waiting)
    }

    /// [`Waiting::find`], as the running group sees it.
    pub(crate) fn find(
        &self,
        connection: &Connection,
        key: &L::Key,
    ) -> rusqlite::Result<Option<L::Place>> {
        match self.group.added.get(key) {
            Some(&place) => Ok(Some(place)),
            None => self.waiting.find(connection, key),
        }
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
            added => (self.weight + added).saturating_sub(self.most_waiting),
        };
        let count = too_many.min(2 * group.added.len());
        let from = match &self.cursor {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let next = waiting.range((from, Bound::Unbounded)).take(count);
        let next: Vec<_> = next.map(|(key, &place)| (key.clone(), place)).collect();
        let last = next.last().map(|(key, _)| key.clone());
        let behind = match &last {
            Some(last) => waiting.range((Bound::Excluded(last), Bound::Unbounded)),
            None => waiting.range((from, Bound::Unbounded)),
        };
        let is_end_of_round = next.len() < count;
        let all_or_none = self.weight > MOST_UNSOUND * self.most_waiting;
        let failed;
        (group.entered, failed) = enter::<L>(connection, next, all_or_none)?;
        if self.added_since + group.added.len() > self.most_waiting / MARKS_A_FILL {
            let up_to = self.cursor.iter().flat_map(|last| waiting.range(..=last));
            let left = up_to.chain(behind).map(|(_, &place)| place);
            group.entered_below = left.chain(failed).chain([first_added]).min();
        } else if self.entered_below.is_some_and(|below| first_added < below) {
            group.entered_below = Some(first_added);
        }
        group.cursor = match last {
            _ if is_end_of_round => Some(None),
            Some(last) => Some(Some(last)),
            None => None,
        };
        drop(waiting);
        self.write_mark(connection)
    }

    /// Enters all that waits, between two groups.
    pub(crate) fn enter_all(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let waiting = self.waiting.read();
        if waiting.is_empty() {
            return Ok(());
        }
        let all = waiting.iter().map(|(key, &place)| (key.clone(), place));
        let failed;
        (self.group.entered, failed) = enter::<L>(connection, all.collect(), false)?;
        self.group.entered_below = failed.into_iter().min().or(self.last);
        self.group.cursor = Some(None);
        drop(waiting);
        self.write_mark(connection)
    }

    fn write_mark(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Some(below) = self.group.entered_below else {
            return Ok(());
        };
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO late_indexes (name, entered_below) VALUES (?1, ?2)",
            )?
            .execute(params![L::NAME, below])
            .map(drop)
    }

    /// The group is committed.
    pub(crate) fn publish(&mut self) {
        let group = std::mem::take(&mut self.group);
        for some in group.entered.chunks(CHUNK) {
            let mut waiting = self.waiting.write();
            for (key, _) in some {
                if waiting.remove(key).is_some() {
                    self.weight -= L::weight(key);
                }
            }
        }
        // After that: a key that was entered may have got another row in this very group.
        let added_count = group.added.len();
        let mut added = group.added.into_iter();
        while added.len() > 0 {
            let mut waiting = self.waiting.write();
            for (key, place) in added.by_ref().take(CHUNK) {
                let weight = L::weight(&key);
                if waiting.insert(key, place).is_none() {
                    self.weight += weight;
                }
            }
        }
        if let Some(cursor) = group.cursor {
            self.cursor = cursor;
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

/// Entries with their places.
type Entries<L> = Vec<(<L as Late>::Key, <L as Late>::Place)>;

/// Enters all that can be entered. Tells which were, and the places of the others: these go on to wait, so that a
/// damaged page of an index, say, concerns nobody but those who stand on it.
fn enter<L: Late>(
    connection: &Connection,
    entries: Entries<L>,
    all_or_none: bool,
) -> rusqlite::Result<(Entries<L>, Vec<L::Place>)> {
    let Err(error) = L::enter(connection, &entries) else {
        return Ok((entries, Vec::new()));
    };
    // The whole group fails if the disk does, or if there is no transaction any more.
    let is_fatal = |error: &_| all_or_none || is_outage(error) || connection.is_autocommit();
    if is_fatal(&error) {
        return Err(error);
    }
    let (mut entered, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        match L::enter(connection, std::slice::from_ref(&entry)) {
            Ok(()) => entered.push(entry),
            Err(error) if is_fatal(&error) => return Err(error),
            Err(_) => failed.push(entry.1),
        }
    }
    let (index, count) = (L::NAME, failed.len());
    tracing::error!(index, count, %error, "entries cannot be made: run `goodpon verify`");
    Ok((entered, failed))
}

#[cfg(test)]
#[path = "tests/late_index.rs"]
mod tests;
