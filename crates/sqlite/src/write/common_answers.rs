//! Answers that many requests get, each stored once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;
use goodpon_application::idempotency::Answer;
use rusqlite::{Connection, OptionalExtension, params};

/// The table takes no more answers than this. Today's texts are a few dozen; more would mean that answers with data in
/// them are stored as common ones, and neither table nor memory is to grow with those.
const MOST_ANSWERS: i64 = 64;

/// Ids of common answers, as far as the writer has met them since its last rollback.
#[derive(Default)]
pub(crate) struct CommonAnswers(HashMap<(u16, Bytes), i64>);

impl CommonAnswers {
    /// The id of a common answer, which is stored if it is new; `None` if the table is full, so that the answer must be
    /// stored with its key.
    pub(crate) fn id(
        &mut self,
        connection: &Connection,
        answer: &Answer,
    ) -> rusqlite::Result<Option<i64>> {
        match self.0.entry((answer.status, answer.body.clone())) {
            Entry::Occupied(known) => Ok(Some(*known.get())),
            Entry::Vacant(unknown) => {
                let id = find_or_store(connection, answer)?;
                Ok(id.map(|id| *unknown.insert(id)))
            }
        }
    }

    /// Forgets all ids: the transaction that may have stored some of them is rolled back.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

fn find_or_store(connection: &Connection, answer: &Answer) -> rusqlite::Result<Option<i64>> {
    let row = params![answer.status, answer.body.as_ref()];
    let found = connection
        .prepare_cached("SELECT id FROM common_answers WHERE status = ?1 AND body = ?2")?
        .query_row(row, |row| row.get(0))
        .optional()?;
    if found.is_some() {
        return Ok(found);
    }
    let stored: i64 = connection
        .prepare_cached("SELECT count(*) FROM common_answers")?
        .query_row([], |row| row.get(0))?;
    if stored >= MOST_ANSWERS {
        return Ok(None);
    }
    connection
        .prepare_cached("INSERT INTO common_answers (status, body) VALUES (?1, ?2)")?
        .execute(row)?;
    Ok(Some(connection.last_insert_rowid()))
}
