//! Indexes that take up their entries late and in order.
//!
//! Where values come in no order (users, idempotency keys), an index that takes up each at once dirties a page for
//! nearly each, which costs as much as the rest of the request. So a new entry waits in memory at first, where it is
//! found just as well. When many wait, the writer enters some with every group, in the order of keys, round and
//! round: thus neighbours share a page. The rows themselves tell after a crash which entries waited.
//!
//! What an entry leads to may be more than a place: an index may keep the state that the rows of a key make.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rusqlite::{Connection, OptionalExtension, ToSql, params, types::FromSql};

use crate::{error::is_outage, figures::LateFigures};

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
/// Where rows without an entry stand among the others, each entry is made before about so many times as many rows are
/// added as may wait: a start has to read through them all.
const FILLS_A_ROUND: usize = 2;
/// So many entries come or go under one lock, so that readers wait for no more than these.
const CHUNK: usize = 32;

/// What is indexed.
pub(crate) trait Late {
    /// Its row in the table `late_indexes`.
    const NAME: &'static str;
    /// What is looked up.
    type Key: Ord + Clone;
    /// What the key leads to.
    type Value: Clone;
    /// Where the row stands that made a value. Rows that are added later come to stand behind, but for a clock
    /// that was set back.
    type Position: Ord + Copy + FromSql + ToSql;

    /// Where the row stands that made a value.
    fn position(value: &Self::Value) -> Self::Position;

    /// Whether a value counts rather than one of its key that was added before it: always, but for rows that are
    /// read in another order than that in which they came.
    fn is_newer(_value: &Self::Value, _than: &Self::Value) -> bool {
        true
    }

    /// What an entry counts for among those that wait: 1 unless it takes far more memory than usual.
    fn weight(_key: &Self::Key, _value: &Self::Value) -> usize {
        1
    }

    /// Reads all rows, or those that stand at a place or behind it.
    fn read_rows(
        connection: &Connection,
        from: Option<Self::Position>,
        each: impl FnMut(Read<Self>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()>;

    /// Makes entries. Some may be there already.
    fn enter(connection: &Connection, entries: &[(Self::Key, Self::Value)])
    -> rusqlite::Result<()>;
}

/// A row that was read.
pub(crate) enum Read<L: Late + ?Sized> {
    /// With its entry.
    Entry(L::Key, L::Value),
    /// One that has no entry, and where it stands.
    Other(L::Position),
}

/// An index in which keys are looked up.
pub(crate) trait Lookup: Late {
    /// What the index has for a key.
    fn find_entered(
        connection: &Connection,
        key: &Self::Key,
    ) -> rusqlite::Result<Option<Self::Value>>;
}

/// The entries of committed rows that are not in the index yet.
///
/// A reader looks here before it looks into the index: an entry leaves only after the commit that entered it.
pub(crate) struct Waiting<L: Late> {
    entries: RwLock<BTreeMap<L::Key, L::Value>>,
    /// The entries of all rows up to this place are here or in the index.
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
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<L::Key, L::Value>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<L::Key, L::Value>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to this place whoever looks from now on finds the entries of all rows. What more there is may come one by
    /// one while several keys are looked up.
    pub(crate) fn published(&self) -> Option<L::Position> {
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, last: Option<L::Position>) {
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = last;
    }

    /// What waits for a key.
    pub(crate) fn get(&self, key: &L::Key) -> Option<L::Value> {
        self.read().get(key).cloned()
    }

    /// Hands all keys that wait to `each`.
    pub(crate) fn for_each_key(&self, each: impl FnMut(&L::Key)) {
        self.read().keys().for_each(each);
    }

    /// What waits for a range of keys.
    pub(crate) fn values(&self, keys: impl RangeBounds<L::Key>) -> Vec<L::Value> {
        self.read()
            .range(keys)
            .map(|(_, value)| value.clone())
            .collect()
    }
}

impl<L: Lookup> Waiting<L> {
    /// What a key leads to, if there is any such row; that row may be gone.
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

/// The writer's part.
pub(crate) struct LateIndex<L: Late> {
    waiting: Arc<Waiting<L>>,
    /// The weight of all that waits.
    weight: usize,
    most_waiting: usize,
    /// All rows before this place are entered, as the database tells too.
    entered_below: Option<L::Position>,
    /// How many rows were added since the database was told of that place.
    added_since: usize,
    /// The last place of all.
    last: Option<L::Position>,
    /// The last key that was entered in this round: the next come behind it.
    cursor: Option<L::Key>,
    /// How many entries could not be made in this round, and in the one before.
    stuck: (usize, usize),
    figures: LateFigures,
    group: Group<L>,
}

/// What the running group will have done when it is committed.
struct Group<L: Late> {
    added: BTreeMap<L::Key, L::Value>,
    /// How many rows without an entry it has.
    passed: usize,
    /// The first place of its rows.
    first: Option<L::Position>,
    entered: Entries<L>,
    /// How many of those that were tried could not be entered.
    failed: usize,
    /// Where the next group goes on, if somewhere else.
    cursor: Option<Option<L::Key>>,
    entered_below: Option<L::Position>,
}

impl<L: Late> Default for Group<L> {
    fn default() -> Self {
        Self {
            added: BTreeMap::new(),
            passed: 0,
            first: None,
            entered: Vec::new(),
            failed: 0,
            cursor: None,
            entered_below: None,
        }
    }
}

impl<L: Late> LateIndex<L> {
    /// Reads which entries wait, and enters them if they are too many.
    pub(crate) fn open(connection: &Connection, most_waiting: usize) -> rusqlite::Result<Self> {
        let stored = entered_below::<L>(connection)?;
        let mut index = Self {
            waiting: Arc::default(),
            weight: 0,
            most_waiting,
            entered_below: stored,
            added_since: 0,
            // Also when all rows were deleted, none may come to stand before what is held to be entered.
            last: stored,
            cursor: None,
            stuck: (0, 0),
            figures: LateFigures::of(L::NAME),
            group: Group::default(),
        };
        let mut limit = MOST_FILLS * most_waiting;
        let transaction = connection.unchecked_transaction()?;
        L::read_rows(&transaction, stored, |row| {
            match row {
                Read::Entry(key, value) => {
                    // At once: the row is committed, and nobody reads yet.
                    index.note(L::position(&value));
                    let (more, less) = put::<L>(&mut index.waiting.write(), key, value);
                    index.weight = index.weight + more - less;
                }
                Read::Other(place) => index.pass(place),
            }
            if index.weight > limit {
                index.enter_waiting(&transaction)?;
                index.publish();
                // Whatever cannot be entered is not tried again with each row.
                limit = index.weight + MOST_FILLS * most_waiting;
            }
            Ok(())
        })?;
        // Only now: the rows may have come in another order than that of their places.
        let waiting = index.waiting.read().values().map(L::position).min();
        index.group.entered_below = waiting.or(index.last);
        index.write_mark(&transaction)?;
        transaction.commit()?;
        index.publish();
        Ok(index)
    }

    /// For the readers.
    pub(crate) fn waiting(&self) -> Arc<Waiting<L>> {
        Arc::clone(&self.waiting)
    }

    /// What was added for a key, as the running group sees it, unless it is entered.
    pub(crate) fn get(&self, key: &L::Key) -> Option<L::Value> {
        let added = self.group.added.get(key).cloned();
        added.or_else(|| self.waiting.get(key))
    }

    /// The last place that a row came to stand at.
    pub(crate) fn last(&self) -> Option<L::Position> {
        self.last
    }

    /// Takes up an entry for a row that the running group made.
    pub(crate) fn add(&mut self, key: L::Key, value: L::Value) {
        self.note(L::position(&value));
        put::<L>(&mut self.group.added, key, value);
    }

    /// Takes notice of a row without an entry that the running group made.
    pub(crate) fn pass(&mut self, place: L::Position) {
        self.note(place);
        self.group.passed += 1;
    }

    fn note(&mut self, place: L::Position) {
        self.last = self.last.max(Some(place));
        let first = self.group.first.map_or(place, |first| first.min(place));
        self.group.first = Some(first);
    }

    /// Enters some of what waits, up to twice as many as the group has rows.
    pub(crate) fn enter_some(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let (waiting, group) = (self.waiting.read(), &mut self.group);
        let Some(first) = group.first else {
            return Ok(());
        };
        let rows = group.added.len() + group.passed;
        let too_many = match rows {
            ..=SMALL_GROUP => waiting.len(),
            _ => (self.weight + group.added.len()).saturating_sub(self.most_waiting),
        };
        let round = FILLS_A_ROUND * self.most_waiting.max(1);
        let in_turn = (waiting.len() * group.passed).div_ceil(round);
        let count = too_many.max(in_turn).min(2 * rows);
        let from = match &self.cursor {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let next = waiting.range((from, Bound::Unbounded)).take(count);
        let next: Vec<_> = next
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let last = next.last().map(|(key, _)| key.clone());
        let behind = match &last {
            Some(last) => waiting.range((Bound::Excluded(last), Bound::Unbounded)),
            None => waiting.range((from, Bound::Unbounded)),
        };
        let is_end_of_round = next.len() < count;
        let all_or_none = self.weight > MOST_UNSOUND * self.most_waiting;
        let failed;
        (group.entered, failed) = enter::<L>(connection, next, all_or_none)?;
        group.failed = failed.len();
        if self.added_since + rows > self.most_waiting / MARKS_A_FILL {
            let up_to = self.cursor.iter().flat_map(|last| waiting.range(..=last));
            let left = up_to.chain(behind).map(|(_, value)| L::position(value));
            group.entered_below = left.chain(failed).chain([first]).min();
        } else if self.entered_below.is_some_and(|below| first < below) {
            group.entered_below = Some(first);
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
        let failed = self.enter_waiting(connection)?;
        self.group.entered_below = failed.or(self.last);
        self.write_mark(connection)
    }

    /// Enters all that waits, and tells the first place of what could not be entered.
    fn enter_waiting(&mut self, connection: &Connection) -> rusqlite::Result<Option<L::Position>> {
        let waiting = self.waiting.read();
        let all = waiting
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()));
        let failed;
        (self.group.entered, failed) = enter::<L>(connection, all.collect(), false)?;
        self.group.failed = failed.len();
        self.group.cursor = Some(None);
        Ok(failed.into_iter().min())
    }

    fn write_mark(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Some(below) = self.group.entered_below else {
            return Ok(());
        };
        if self.entered_below == Some(below) {
            return Ok(());
        }
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
                if let Some(value) = waiting.remove(key) {
                    self.weight -= L::weight(key, &value);
                }
            }
        }
        // After that: a key that was entered may have got another row in this very group.
        let row_count = group.added.len() + group.passed;
        let mut added = group.added.into_iter();
        while added.len() > 0 {
            let mut waiting = self.waiting.write();
            for (key, value) in added.by_ref().take(CHUNK) {
                let (more, less) = put::<L>(&mut waiting, key, value);
                self.weight = self.weight + more - less;
            }
        }
        self.waiting.publish(self.last);
        self.stuck.0 += group.failed;
        if let Some(cursor) = group.cursor {
            if cursor.is_none() {
                self.stuck = (0, self.stuck.0);
            }
            self.cursor = cursor;
        }
        match group.entered_below {
            Some(below) => (self.entered_below, self.added_since) = (Some(below), 0),
            None => self.added_since += row_count,
        }
        self.show();
    }

    fn show(&self) {
        self.figures.waiting.set(self.waiting.read().len() as f64);
        self.figures.stuck.set(self.stuck() as f64);
        self.figures.mark_lag.set(self.added_since as f64);
    }

    /// How many entries could not be made in the last round, or in this one already.
    fn stuck(&self) -> usize {
        self.stuck.0.max(self.stuck.1)
    }

    /// The group is rolled back.
    pub(crate) fn forget(&mut self) {
        self.group = Group::default();
    }
}

impl<L: Lookup> LateIndex<L> {
    /// [`Waiting::find`], as the running group sees it.
    pub(crate) fn find(
        &self,
        connection: &Connection,
        key: &L::Key,
    ) -> rusqlite::Result<Option<L::Value>> {
        match self.group.added.get(key) {
            Some(value) => Ok(Some(value.clone())),
            None => self.waiting.find(connection, key),
        }
    }
}

/// Before this place all rows are entered.
pub(crate) fn entered_below<L: Late>(
    connection: &Connection,
) -> rusqlite::Result<Option<L::Position>> {
    connection
        .prepare("SELECT entered_below FROM late_indexes WHERE name = ?1")?
        .query_row([L::NAME], |row| row.get(0))
        .optional()
}

/// Puts in what counts of a new value and one that is there, and tells the weights that came and went.
fn put<L: Late>(
    entries: &mut BTreeMap<L::Key, L::Value>,
    key: L::Key,
    value: L::Value,
) -> (usize, usize) {
    let weight = L::weight(&key, &value);
    match entries.entry(key) {
        Entry::Vacant(place) => {
            place.insert(value);
            (weight, 0)
        }
        Entry::Occupied(mut place) if L::is_newer(&value, place.get()) => {
            let old = L::weight(place.key(), place.get());
            place.insert(value);
            (weight, old)
        }
        Entry::Occupied(_) => (0, 0),
    }
}

/// Keys with what they lead to.
type Entries<L> = Vec<(<L as Late>::Key, <L as Late>::Value)>;

/// Enters all that can be entered. Tells which were, and the places of the others: these go on to wait, so that a
/// damaged page of an index, say, concerns nobody but those who stand on it.
fn enter<L: Late>(
    connection: &Connection,
    entries: Entries<L>,
    all_or_none: bool,
) -> rusqlite::Result<(Entries<L>, Vec<L::Position>)> {
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
            Err(_) => failed.push(L::position(&entry.1)),
        }
    }
    let (index, count) = (L::NAME, failed.len());
    tracing::error!(index, count, %error, "entries cannot be made: run `goodpon verify`");
    Ok((entered, failed))
}

#[cfg(test)]
mod tests;
