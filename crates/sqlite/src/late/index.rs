//! The writer's side of a deferred index: it adds entries, enters them in key order, and stores the mark.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Late, Lookup, Read,
    plan::{Counts, Plan, is_full_at_start, plan},
    waiting::{Entries, Waiting, put},
};
use crate::{error::is_outage, metric::LateFigures};

/// Entries that come or go under one lock, for which a reader may have to wait.
const ENTRIES_PER_LOCK: usize = 32;

pub(crate) struct LateIndex<L: Late> {
    waiting: Arc<Waiting<L>>,
    /// The weight of all that waits.
    weight: usize,
    /// The weight that may wait.
    backlog: usize,
    /// The mark, as it is stored: all rows before this position are entered.
    mark: Option<L::Position>,
    /// Rows that were added since the mark was stored.
    since_mark: usize,
    /// The greatest position of all rows.
    last: Option<L::Position>,
    /// The last key that was entered in this round. The next group goes on behind it, or at the start if there is none.
    cursor: Option<L::Key>,
    stuck: Stuck,
    figures: LateFigures,
    group: Group<L>,
}

/// Counts of entries that could not be written.
#[derive(Default)]
struct Stuck {
    this_round: usize,
    last_round: usize,
}

/// The changes of the running group, which take effect when it is committed.
struct Group<L: Late> {
    added: Entries<L>,
    /// Its rows without an entry.
    passed: usize,
    /// The smallest position of its rows.
    first: Option<L::Position>,
    turn: Option<Turn<L>>,
    mark: Option<L::Position>,
}

/// Entries that a group took in its turn.
struct Turn<L: Late> {
    entered: Vec<(L::Key, L::Value)>,
    /// The number of others, which could not be written.
    failed: usize,
    /// Where the next turn goes on.
    cursor: Option<L::Key>,
    ends_round: bool,
}

impl<L: Late> Default for Group<L> {
    fn default() -> Self {
        Self {
            added: BTreeMap::new(),
            passed: 0,
            first: None,
            turn: None,
            mark: None,
        }
    }
}

impl<L: Late> Group<L> {
    fn rows(&self) -> usize {
        self.added.len() + self.passed
    }
}

impl<L: Late> LateIndex<L> {
    /// Reads the entries that wait, and enters them if they are too many.
    pub(crate) fn open(connection: &Connection, backlog: usize) -> rusqlite::Result<Self> {
        let mark = stored_mark::<L>(connection)?;
        let mut index = Self {
            waiting: Arc::default(),
            weight: 0,
            backlog,
            mark,
            since_mark: 0,
            // Even if all rows were deleted, none may get a position before those that count as entered.
            last: mark,
            cursor: None,
            stuck: Stuck::default(),
            figures: LateFigures::of(L::NAME),
            group: Group::default(),
        };
        let mut unwritable = 0;
        let transaction = connection.unchecked_transaction()?;
        L::read_rows(&transaction, mark, |row| {
            match row {
                Read::Entry(key, value) => {
                    // Straight into the waiting entries: the row is committed, and nobody reads yet.
                    index.note(L::position(&value));
                    let (more, less) = put::<L>(&mut index.waiting.write(), key, value);
                    index.weight = index.weight + more - less;
                }
                Read::Other(position) => index.pass(position),
            }
            if is_full_at_start(index.weight.saturating_sub(unwritable), backlog) {
                index.enter_waiting(&transaction)?;
                index.publish();
                // Entries that cannot be written are not tried again with each row.
                unwritable = index.weight;
            }
            Ok(())
        })?;
        // Not before all rows are read: they may come in another order than that of their positions.
        let waiting = index.waiting.read().values().map(L::position).min();
        index.group.mark = waiting.or(index.last);
        index.store_mark(&transaction)?;
        transaction.commit()?;
        index.publish();
        Ok(index)
    }

    /// The readers' side.
    pub(crate) fn waiting(&self) -> Arc<Waiting<L>> {
        Arc::clone(&self.waiting)
    }

    /// The value of a key as the running group sees it, unless it is entered.
    pub(crate) fn get(&self, key: &L::Key) -> Option<L::Value> {
        let added = self.group.added.get(key).cloned();
        added.or_else(|| self.waiting.get(key))
    }

    /// The greatest position of all rows, those of the running group among them.
    pub(crate) fn last(&self) -> Option<L::Position> {
        self.last
    }

    /// Adds the entry of a row that the running group writes.
    pub(crate) fn add(&mut self, key: L::Key, value: L::Value) {
        self.note(L::position(&value));
        put::<L>(&mut self.group.added, key, value);
    }

    /// Notes a row without an entry that the running group writes.
    pub(crate) fn pass(&mut self, position: L::Position) {
        self.note(position);
        self.group.passed += 1;
    }

    fn note(&mut self, position: L::Position) {
        self.last = self.last.max(Some(position));
        let first = self
            .group
            .first
            .map_or(position, |first| first.min(position));
        self.group.first = Some(first);
    }

    fn counts(&self, waiting: &Entries<L>) -> Counts {
        Counts {
            backlog: self.backlog,
            waiting: waiting.len(),
            weight: self.weight,
            added: self.group.added.len(),
            passed: self.group.passed,
            since_mark: self.since_mark,
        }
    }

    /// Enters some of the entries that wait, as part of the running group. See [`plan`] for how many.
    pub(crate) fn enter_some(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let Some(first) = self.group.first else {
            return Ok(());
        };
        let shared = self.waiting();
        let waiting = shared.read();
        let Plan {
            enter: count,
            must_succeed,
            stores_mark,
        } = plan(&self.counts(&waiting));
        let start = self.cursor.clone();
        let next: Vec<_> = behind::<L>(&waiting, start.as_ref())
            .take(count)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let ends_round = next.len() < count;
        let end = next.last().map(|(key, _)| key.clone()).or(start.clone());
        let Written { entered, failed } = enter::<L>(connection, next, must_succeed)?;
        if stores_mark {
            let before = start.iter().flat_map(|start| waiting.range(..=start));
            let left = before.chain(behind::<L>(&waiting, end.as_ref()));
            let left = left.map(|(_, value)| L::position(value));
            self.group.mark = left.chain(failed.iter().copied()).chain([first]).min();
        } else if self.mark.is_some_and(|mark| first < mark) {
            // The clock was set back: these rows stand before rows that count as entered.
            self.group.mark = Some(first);
        }
        self.group.turn = Some(Turn {
            entered,
            failed: failed.len(),
            cursor: end.filter(|_| !ends_round),
            ends_round,
        });
        self.store_mark(connection)
    }

    /// Enters all entries that wait, between two groups.
    pub(crate) fn enter_all(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let failed = self.enter_waiting(connection)?;
        self.group.mark = failed.or(self.last);
        self.store_mark(connection)
    }

    /// Enters all entries that wait. Returns the smallest position of those that cannot be written.
    fn enter_waiting(&mut self, connection: &Connection) -> rusqlite::Result<Option<L::Position>> {
        let all = self.waiting.read();
        let all = all.iter().map(|(key, value)| (key.clone(), value.clone()));
        let Written { entered, failed } = enter::<L>(connection, all.collect(), false)?;
        self.group.turn = Some(Turn {
            entered,
            failed: failed.len(),
            cursor: None,
            ends_round: true,
        });
        Ok(failed.into_iter().min())
    }

    fn store_mark(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Some(mark) = self.group.mark.filter(|mark| self.mark != Some(*mark)) else {
            return Ok(());
        };
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO late_indexes (name, entered_below) VALUES (?1, ?2)",
            )?
            .execute(params![L::NAME, mark])
            .map(drop)
    }

    /// Shows the readers what the group changed: it is committed.
    pub(crate) fn publish(&mut self) {
        let group = std::mem::take(&mut self.group);
        let row_count = group.rows();
        if let Some(turn) = group.turn {
            self.publish_turn(turn);
        }
        // Behind those that leave: a key that was entered may have got another row in this very group.
        let mut added = group.added.into_iter();
        while added.len() > 0 {
            let mut waiting = self.waiting.write();
            for (key, value) in added.by_ref().take(ENTRIES_PER_LOCK) {
                let (more, less) = put::<L>(&mut waiting, key, value);
                self.weight = self.weight + more - less;
            }
        }
        self.waiting.publish(self.last);
        match group.mark {
            Some(mark) => (self.mark, self.since_mark) = (Some(mark), 0),
            None => self.since_mark += row_count,
        }
        self.show();
    }

    fn publish_turn(&mut self, turn: Turn<L>) {
        for some in turn.entered.chunks(ENTRIES_PER_LOCK) {
            let mut waiting = self.waiting.write();
            for (key, _) in some {
                if let Some(value) = waiting.remove(key) {
                    self.weight -= L::weight(key, &value);
                }
            }
        }
        self.cursor = turn.cursor;
        self.stuck.this_round += turn.failed;
        if turn.ends_round {
            self.stuck = Stuck {
                this_round: 0,
                last_round: self.stuck.this_round,
            };
        }
    }

    fn show(&self) {
        self.figures.waiting.set(self.waiting.read().len() as f64);
        self.figures.stuck.set(self.stuck() as f64);
        self.figures.mark_lag.set(self.since_mark as f64);
    }

    /// The number of entries that could not be written in the last round, or in this one so far.
    pub(super) fn stuck(&self) -> usize {
        self.stuck.this_round.max(self.stuck.last_round)
    }

    /// Forgets what the group changed: it is rolled back.
    pub(crate) fn forget(&mut self) {
        self.group = Group::default();
    }
}

impl<L: Lookup> LateIndex<L> {
    /// The value of a key as the running group sees it, waiting or entered.
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

/// The entries behind a key, or all of them.
fn behind<'a, L: Late>(
    waiting: &'a Entries<L>,
    key: Option<&L::Key>,
) -> impl Iterator<Item = (&'a L::Key, &'a L::Value)> {
    let from = key.map_or(Bound::Unbounded, Bound::Excluded);
    waiting.range((from, Bound::Unbounded))
}

/// The mark: all rows before this position are entered.
pub(crate) fn stored_mark<L: Late>(
    connection: &Connection,
) -> rusqlite::Result<Option<L::Position>> {
    connection
        .prepare("SELECT entered_below FROM late_indexes WHERE name = ?1")?
        .query_row([L::NAME], |row| row.get(0))
        .optional()
}

/// Entries that were written, and the positions of those that cannot be.
struct Written<L: Late> {
    entered: Vec<(L::Key, L::Value)>,
    failed: Vec<L::Position>,
}

/// Writes every entry that can be written. The others go on to wait, so that a damaged page of an index, say, affects
/// only the users on it.
fn enter<L: Late>(
    connection: &Connection,
    entries: Vec<(L::Key, L::Value)>,
    must_succeed: bool,
) -> rusqlite::Result<Written<L>> {
    let Err(error) = L::enter(connection, &entries) else {
        return Ok(Written {
            entered: entries,
            failed: Vec::new(),
        });
    };
    // The whole group fails if the disk does, or if the error has ended the transaction.
    let is_fatal = |error: &_| must_succeed || is_outage(error) || connection.is_autocommit();
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
    Ok(Written { entered, failed })
}
