//! Where the records of idempotency keys stand.
//!
//! Keys are digests: an index that takes up each new key at once dirties a page for nearly each, which costs as much
//! as the rest of an issue. So a new key waits in memory at first. When many wait, the writer enters some into the
//! index with every group, in the order of keys, round and round: thus neighbours share a page. The records tell
//! after a crash which keys waited.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, RangeInclusive};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use goodpon_application::ports::StoreResult;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    Store,
    codec::{micros, row_limit},
    writer::Tx,
};

/// The digest of an idempotency key.
pub(crate) type Key = [u8; 16];

/// So many keys may wait: a few MiB, and as many records to be read on start.
pub(crate) const MOST_WAITING: usize = 65_536;

/// The keys of committed records that are not in the index yet, with where their records stand.
#[derive(Default)]
pub(crate) struct WaitingKeys(RwLock<BTreeMap<Key, i64>>);

impl WaitingKeys {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Key, i64>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the newest record of a key stands, if there is any; that record may be gone.
    pub(crate) fn find(&self, connection: &Connection, key: Key) -> rusqlite::Result<Option<i64>> {
        // In this order: a key leaves here only after the commit that entered it.
        if let Some(&seq) = self.read().get(&key) {
            return Ok(Some(seq));
        }
        connection
            .prepare_cached("SELECT seq FROM idempotency_keys WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()
    }
}

/// The writer's part: hands out places for records, and enters keys into the index.
pub(crate) struct KeyIndex {
    waiting: Arc<WaitingKeys>,
    most_waiting: usize,
    next_seq: i64,
    /// The last key that was entered: the next come behind it.
    cursor: Bound<Key>,
    group: Group,
}

/// What the running group will have done when it is committed.
#[derive(Default)]
struct Group {
    added: HashMap<Key, i64>,
    entered: Vec<(Key, i64)>,
    cursor: Option<Bound<Key>>,
}

impl KeyIndex {
    /// Reads which keys wait.
    pub(crate) fn open(connection: &Connection, most_waiting: usize) -> rusqlite::Result<Self> {
        let below: i64 = connection.query_row(
            "SELECT coalesce(max(below), 0) FROM idempotency_keys_entered",
            [],
            |row| row.get(0),
        )?;
        let mut statement = connection
            .prepare("SELECT key, seq FROM idempotency_records WHERE seq >= ?1 ORDER BY seq")?;
        let records = statement.query_map([below], |row| Ok((row.get(0)?, row.get(1)?)))?;
        // Of two records of one key the newer counts.
        let waiting = records.collect::<rusqlite::Result<BTreeMap<Key, i64>>>()?;
        let last = waiting.values().max();
        Ok(Self {
            // Also when all records were deleted, none may come to stand below what is held to be entered.
            next_seq: last.map_or(below, |last| last + 1),
            waiting: Arc::new(WaitingKeys(RwLock::new(waiting))),
            most_waiting,
            cursor: Bound::Unbounded,
            group: Group::default(),
        })
    }

    /// For the readers.
    pub(crate) fn waiting(&self) -> Arc<WaitingKeys> {
        Arc::clone(&self.waiting)
    }

    /// [`WaitingKeys::find`], as the running group sees it.
    pub(crate) fn find(&self, connection: &Connection, key: Key) -> rusqlite::Result<Option<i64>> {
        match self.group.added.get(&key) {
            Some(&seq) => Ok(Some(seq)),
            None => self.waiting.find(connection, key),
        }
    }

    /// The place for a new record of the key.
    pub(crate) fn add(&mut self, key: Key) -> i64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.group.added.insert(key, seq);
        seq
    }

    /// Enters keys if too many wait, up to twice as many as the group added.
    pub(crate) fn enter_some(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let (waiting, group) = (self.waiting.read(), &mut self.group);
        let too_many = (waiting.len() + group.added.len()).saturating_sub(self.most_waiting);
        let count = too_many.min(2 * group.added.len());
        if count == 0 {
            return Ok(());
        }
        let next = waiting.range((self.cursor, Bound::Unbounded)).take(count);
        group.entered.extend(next.map(|(&key, &seq)| (key, seq)));
        let mut enter = connection
            .prepare_cached("INSERT OR REPLACE INTO idempotency_keys (key, seq) VALUES (?1, ?2)")?;
        for (key, seq) in &group.entered {
            enter.execute(params![key, seq])?;
        }
        group.cursor = match group.entered.last() {
            Some(&(last, _)) if group.entered.len() == count => Some(Bound::Excluded(last)),
            // The end of a round. Every key behind the cursor is entered, so those up to it are all that wait.
            _ => {
                let up_to = match self.cursor {
                    Bound::Excluded(last) => Bound::Included(last),
                    _ => Bound::Excluded([0; 16]),
                };
                let left = waiting
                    .range((Bound::Unbounded, up_to))
                    .map(|(_, &seq)| seq);
                let below = left.chain(group.added.values().copied()).min();
                connection
                    .prepare_cached(
                        "INSERT OR REPLACE INTO idempotency_keys_entered (id, below) VALUES (1, ?1)",
                    )?
                    .execute([below.unwrap_or(self.next_seq)])?;
                Some(Bound::Unbounded)
            }
        };
        Ok(())
    }

    /// The group is committed.
    pub(crate) fn publish(&mut self) {
        let group = std::mem::take(&mut self.group);
        if group.added.is_empty() && group.entered.is_empty() {
            return;
        }
        let mut waiting = self
            .waiting
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for (key, _) in group.entered {
            waiting.remove(&key);
        }
        // After that: a key that was entered may have got another record in this very group.
        waiting.extend(group.added);
        self.cursor = group.cursor.unwrap_or(self.cursor);
    }

    /// The group is rolled back.
    pub(crate) fn forget(&mut self) {
        self.group = Group::default();
    }
}

/// How far the search for entries without a record is. All entries are looked at, once a round: keys are digests, so
/// those with the same first bits make up equal stripes, and each stripe has its turn by the clock.
pub(crate) struct Round {
    next: AtomicI64,
}

/// So many first bits tell the stripe.
const STRIPE_BITS: u32 = 12;
const STRIPES: i64 = 1 << STRIPE_BITS;
/// A round takes an hour.
const MICROS_A_TURN: i64 = 3_600_000_000 / STRIPES;

impl Round {
    /// Begins with the stripe whose turn it is.
    pub(crate) fn beginning_at(now: Timestamp) -> Self {
        Self {
            next: AtomicI64::new(turn(now)),
        }
    }

    /// The turns that are due, a whole round at the most.
    fn due(&self, now: Timestamp) -> RangeInclusive<i64> {
        let now = turn(now);
        let next = self.next.load(Ordering::Relaxed);
        next.clamp(now - STRIPES + 1, now + 1)..=now
    }
}

fn turn(now: Timestamp) -> i64 {
    micros(now).div_euclid(MICROS_A_TURN)
}

/// Records are deleted from the old end, so what points before the first points nowhere.
const STALE_KEYS: &str = "SELECT key FROM idempotency_keys
     WHERE key >= ?1 AND key <= ?2 AND seq < (SELECT min(seq) FROM idempotency_records) LIMIT ?3";
const DELETE_STALE: &str = "DELETE FROM idempotency_keys
     WHERE key = ?1 AND seq < (SELECT min(seq) FROM idempotency_records)";

/// Up to `limit` stale keys of the stripes whose turn it is; and the turn to go on from.
fn stale_keys(
    connection: &Connection,
    turns: RangeInclusive<i64>,
    limit: usize,
) -> rusqlite::Result<(i64, Vec<Key>)> {
    let mut statement = connection.prepare_cached(STALE_KEYS)?;
    let mut keys = Vec::new();
    let end = *turns.end() + 1;
    for turn in turns {
        let rest = u128::MAX >> STRIPE_BITS;
        let first =
            u128::from(turn.rem_euclid(STRIPES).unsigned_abs()) << (u128::BITS - STRIPE_BITS);
        let (first, last) = (first.to_be_bytes(), (first | rest).to_be_bytes());
        let left = row_limit(limit - keys.len());
        for key in statement.query_map(params![first, last, left], |row| row.get(0))? {
            keys.push(key?);
        }
        if keys.len() == limit {
            return Ok((turn, keys));
        }
    }
    Ok((end, keys))
}

impl Store {
    /// Deletes up to `limit` entries whose record is gone; 0 when there are none in the stripes whose turn it is.
    pub(crate) async fn forget_keys(&self, limit: usize) -> StoreResult<usize> {
        let turns = self.inner.key_round.due(self.inner.clock.now());
        let find = move |connection: &Connection| stale_keys(connection, turns, limit);
        let (next, keys) = self.scan(find).await?;
        let mut deleted = 0;
        if !keys.is_empty() {
            let delete = move |tx: &mut Tx<'_>| {
                let mut statement = tx.connection.prepare_cached(DELETE_STALE)?;
                let each = keys.iter().map(|key| statement.execute([key]));
                each.sum::<rusqlite::Result<usize>>()
            };
            deleted = self.write(delete).await?;
        }
        self.inner.key_round.next.store(next, Ordering::Relaxed);
        Ok(deleted)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MOST: usize = 50;

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&mut connection).unwrap();
        connection
    }

    fn key(number: u64) -> Key {
        // Spread over the key space, as digests are.
        let spread = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        spread.to_be_bytes()
    }

    /// Adds a record for each key, as one group.
    fn add(keys: &mut KeyIndex, connection: &Connection, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let seq = keys.add(key(number));
            connection
                .execute(
                    "INSERT INTO idempotency_records (seq, key, body, stored_at) VALUES (?1, ?2, x'', ?1)",
                    params![seq, key(number)],
                )
                .unwrap();
        }
        keys.enter_some(connection).unwrap();
    }

    fn count(connection: &Connection, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    /// Every key leads to its newest record.
    fn assert_found(keys: &KeyIndex, connection: &Connection) {
        let mut newest = connection
            .prepare("SELECT key, max(seq) FROM idempotency_records GROUP BY key")
            .unwrap();
        let mut rows = newest.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (key, seq): (Key, i64) = (row.get(0).unwrap(), row.get(1).unwrap());
            assert_eq!(keys.find(connection, key).unwrap(), Some(seq));
        }
    }

    #[test]
    fn each_key_is_found_whether_it_waits_or_is_entered_also_after_a_crash() {
        let connection = database();
        let mut keys = KeyIndex::open(&connection, MOST).unwrap();
        for group in 0..300 {
            // Some keys come again, as they may after a day.
            let first = if group % 7 == 3 { group * 3 } else { group * 5 };
            add(&mut keys, &connection, first..first + 5);
            assert_found(&keys, &connection);
            keys.publish();
            assert_found(&keys, &connection);
            assert!(keys.waiting.read().len() <= MOST + 5);
            if group % 20 == 11 {
                let next = keys.next_seq;
                keys = KeyIndex::open(&connection, MOST).unwrap();
                assert_eq!(keys.next_seq, next);
                assert_found(&keys, &connection);
                let waiting = keys.waiting.read().len();
                assert!(waiting <= 4 * MOST, "{waiting} are read on start");
                while keys.waiting.read().len() > MOST {
                    add(&mut keys, &connection, 10_000..10_001);
                    keys.publish();
                }
            }
        }
        assert!(count(&connection, "idempotency_keys") > 500);
    }

    #[test]
    fn what_is_rolled_back_leaves_no_trace() {
        let connection = database();
        let mut keys = KeyIndex::open(&connection, MOST).unwrap();
        add(&mut keys, &connection, 0..100);
        keys.publish();
        for round in 0..40 {
            let group = round * 5 + 100..round * 5 + 105;
            let undone = connection.unchecked_transaction().unwrap();
            add(&mut keys, &connection, group.clone());
            undone.rollback().unwrap();
            keys.forget();
            for number in group.clone() {
                assert_eq!(keys.find(&connection, key(number)).unwrap(), None);
            }
            assert_found(&keys, &connection);
            add(&mut keys, &connection, group);
            keys.publish();
            assert_found(&keys, &connection);
        }
    }

    #[test]
    fn places_are_not_given_twice_once_all_records_are_gone() {
        let connection = database();
        let mut keys = KeyIndex::open(&connection, MOST).unwrap();
        for group in 0..100 {
            add(&mut keys, &connection, group * 5..group * 5 + 5);
            keys.publish();
        }
        connection
            .execute("DELETE FROM idempotency_records", [])
            .unwrap();
        let mut keys = KeyIndex::open(&connection, MOST).unwrap();
        add(&mut keys, &connection, 10_000..10_001);
        keys.publish();
        let keys = KeyIndex::open(&connection, MOST).unwrap();
        assert_found(&keys, &connection);
    }

    #[test]
    fn stale_entries_are_found_by_stripes_within_a_round() {
        let connection = database();
        let mut keys = KeyIndex::open(&connection, 0).unwrap();
        for number in 0..100 {
            add(&mut keys, &connection, number..number + 1);
            keys.publish();
        }
        let reopened = KeyIndex::open(&connection, 0).unwrap();
        assert_found(&reopened, &connection);
        let entered = count(&connection, "idempotency_keys");
        assert!(entered > 90);
        let start = Timestamp::UNIX_EPOCH;
        let round = Round::beginning_at(start);
        assert_eq!(round.due(start).count(), 1);
        let turns = round.due(start + jiff::SignedDuration::from_hours(5));
        assert_eq!(turns.clone().count(), STRIPES as usize);
        assert_eq!(
            stale_keys(&connection, turns.clone(), 1_000).unwrap().1,
            [[0; 16]; 0]
        );
        connection
            .execute("DELETE FROM idempotency_records WHERE seq < 60", [])
            .unwrap();
        let (next, stale) = stale_keys(&connection, turns.clone(), 1_000).unwrap();
        assert_eq!(next, turns.end() + 1);
        assert_eq!(stale.len(), 60);
        let (next, stale) = stale_keys(&connection, turns.clone(), 10).unwrap();
        assert!(turns.contains(&next));
        assert_eq!(stale.len(), 10);
        for sql in [STALE_KEYS, DELETE_STALE] {
            let plan = crate::schema::query_plan(&connection, sql);
            assert!(
                plan.contains("SEARCH idempotency_keys USING PRIMARY KEY"),
                "{plan}"
            );
        }
    }
}
