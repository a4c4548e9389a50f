//! Answers that many requests get, stored once.

use std::collections::HashMap;

use bytes::Bytes;
use goodpon_application::idempotency::Answer;
use rusqlite::{Connection, OptionalExtension, params};

/// Ids of answers that many requests get, as far as the writer has met them since its last rollback.
#[derive(Default)]
pub(crate) struct CommonAnswers(HashMap<(u16, Bytes), i64>);

impl CommonAnswers {
    pub(crate) fn id(&mut self, connection: &Connection, answer: &Answer) -> rusqlite::Result<i64> {
        use std::collections::hash_map::Entry;
        match self.0.entry((answer.status, answer.body.clone())) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(place) => Ok(*place.insert(intern(connection, answer)?)),
        }
    }

    /// For when the transaction that may have stored some of them is rolled back.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

/// The id of a common answer, which is stored if it is new.
fn intern(connection: &Connection, answer: &Answer) -> rusqlite::Result<i64> {
    let row = params![answer.status, answer.body.as_ref()];
    let found = connection
        .prepare_cached("SELECT id FROM common_answers WHERE status = ?1 AND body = ?2")?
        .query_row(row, |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT INTO common_answers (status, body) VALUES (?1, ?2)")?
        .execute(row)?;
    Ok(connection.last_insert_rowid())
}
