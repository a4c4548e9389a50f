//! Positions of the records of idempotency keys.
//!
//! Keys are digests, in no order, so their index is deferred. An entry may outlive its record.

use rusqlite::{Connection, OptionalExtension, params};

use crate::late::{Late, Lookup, Read, index::LateIndex};

/// The digest of an idempotency key.
pub(crate) type Key = [u8; 16];

/// The index of keys, each leading to the `seq` of its newest record.
pub(crate) struct Keys;

impl Late for Keys {
    const NAME: &'static str = "idempotency_keys";
    type Key = Key;
    type Value = i64;
    type Position = i64;

    fn position(seq: &i64) -> i64 {
        *seq
    }

    fn read_rows(
        connection: &Connection,
        from: Option<i64>,
        mut each: impl FnMut(Read<Self>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut statement = connection
            .prepare("SELECT key, seq FROM idempotency_records WHERE seq >= ?1 ORDER BY seq")?;
        let mut rows = statement.query([from.unwrap_or(i64::MIN)])?;
        while let Some(row) = rows.next()? {
            each(Read::Entry(row.get(0)?, row.get(1)?))?;
        }
        Ok(())
    }

    fn enter(connection: &Connection, entries: &[(Key, i64)]) -> rusqlite::Result<()> {
        let mut enter = connection
            .prepare_cached("INSERT OR REPLACE INTO idempotency_keys (key, seq) VALUES (?1, ?2)")?;
        for (key, seq) in entries {
            enter.execute(params![key, seq])?;
        }
        Ok(())
    }
}

impl Lookup for Keys {
    fn find_entered(connection: &Connection, key: &Key) -> rusqlite::Result<Option<i64>> {
        connection
            .prepare_cached("SELECT seq FROM idempotency_keys WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()
    }
}

impl LateIndex<Keys> {
    /// Adds a record of the key and returns its `seq`.
    pub(crate) fn add_record(&mut self, key: Key) -> i64 {
        let seq = self.last().map_or(0, |last| last + 1);
        self.add(key, seq);
        seq
    }
}
