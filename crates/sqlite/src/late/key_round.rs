//! The search for entries of idempotency keys whose records are gone.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::{
    codec::{micros, row_limit},
    late::key::Key,
};

/// The progress of the search for entries without a record. Each round looks at all entries. Keys are digests, so keys with
/// the same leading bits make up stripes of equal size; each stripe has its turn by the clock.
pub(crate) struct Round {
    next: AtomicI64,
}

/// Keys are split into 2^12 stripes by their leading bits.
const STRIPE_BITS: u32 = 12;
const STRIPES: i64 = 1 << STRIPE_BITS;
/// A round takes an hour.
const MICROS_A_TURN: i64 = 3_600_000_000 / STRIPES;

impl Round {
    /// A search that begins with the stripe of this time.
    pub(crate) fn beginning_at(now: Timestamp) -> Self {
        Self {
            next: AtomicI64::new(turn(now)),
        }
    }

    /// Goes on from that turn the next time.
    pub(crate) fn go_on_from(&self, turn: i64) {
        self.next.store(turn, Ordering::Relaxed);
    }

    /// The turns that are due: one round at most.
    pub(crate) fn due(&self, now: Timestamp) -> RangeInclusive<i64> {
        let now = turn(now);
        let next = self.next.load(Ordering::Relaxed);
        next.clamp(now - STRIPES + 1, now + 1)..=now
    }
}

fn turn(now: Timestamp) -> i64 {
    micros(now).div_euclid(MICROS_A_TURN)
}

/// Records are deleted from the old end, so an entry that points before the first one has no record.
const STALE_KEYS: &str = "SELECT key FROM idempotency_keys
     WHERE key >= ?1 AND key <= ?2 AND seq < (SELECT min(seq) FROM idempotency_records) LIMIT ?3";
pub(crate) const DELETE_STALE: &str = "DELETE FROM idempotency_keys
     WHERE key = ?1 AND seq < (SELECT min(seq) FROM idempotency_records)";

/// Up to `limit` stale keys of the stripes whose turn it is, and the turn from which the next search goes on.
pub(crate) fn stale_keys(
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn stale_entries_are_found_by_stripes_within_a_round() {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&mut connection).unwrap();
        for seq in 0..100_u8 {
            // Spread over all stripes, as digests are.
            let key = [seq.reverse_bits(); 16];
            for sql in [
                "INSERT INTO idempotency_records (seq, key, body, stored_at) VALUES (?1, ?2, x'', ?1)",
                "INSERT INTO idempotency_keys (seq, key) VALUES (?1, ?2)",
            ] {
                connection.execute(sql, params![seq, key]).unwrap();
            }
        }
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
