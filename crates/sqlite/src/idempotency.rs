//! Remembered answers, stored in one transaction with the effects that they report.

use std::sync::Arc;

use bytes::Bytes;
use goodpon_application::{
    idempotency::{ANSWER_RETENTION, Answer, Idempotency, Outcome, Peek},
    ports::StoreResult,
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    codec::micros,
    late::{
        key::Key,
        key_round::{DELETE_STALE, stale_keys},
    },
    store::Store,
    write::{published::Published, tx::Tx},
};

/// A request's remembered answer.
pub(crate) struct Record {
    /// The digest of the request's body.
    pub(crate) body: [u8; 16],
    pub(crate) answer: Answer,
}

/// The record at `seq`, if it is this key's and young enough to count.
fn find(
    connection: &Connection,
    seq: i64,
    key: Key,
    now: Timestamp,
) -> rusqlite::Result<Option<Record>> {
    connection
        .prepare_cached(
            "SELECT r.body, coalesce(a.status, r.own_status), coalesce(a.body, r.own_answer)
             FROM idempotency_records r LEFT JOIN common_answers a ON a.id = r.common_answer
             WHERE r.seq = ?1 AND r.key = ?2 AND r.stored_at > ?3",
        )?
        .query_row(params![seq, key, micros(now - ANSWER_RETENTION)], |row| {
            Ok(Record {
                body: row.get(0)?,
                answer: Answer {
                    status: row.get(1)?,
                    body: Bytes::from(row.get::<_, Vec<u8>>(2)?),
                },
            })
        })
        .optional()
}

/// The record of a key, committed and young enough to count.
pub(crate) fn find_committed(
    published: &Published,
    connection: &Connection,
    key: Key,
    now: Timestamp,
) -> rusqlite::Result<Option<Record>> {
    match published.keys.find(connection, &key)? {
        Some(seq) => find(connection, seq, key, now),
        None => Ok(None),
    }
}

fn remember(
    tx: &mut Tx<'_>,
    key: Key,
    body: [u8; 16],
    answer: &Answer,
    is_common: bool,
) -> rusqlite::Result<()> {
    let common_answer = match is_common {
        true => tx.memory.answers.id(tx.connection, answer)?,
        false => None,
    };
    let own = Some(answer).filter(|_| common_answer.is_none());
    let seq = tx.memory.keys.add_record(key);
    tx.connection
        .prepare_cached(
            "INSERT INTO idempotency_records (seq, key, body, stored_at, common_answer, own_status, own_answer)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            seq,
            key,
            body,
            micros(tx.now),
            common_answer,
            own.map(|answer| answer.status),
            own.map(|answer| answer.body.as_ref()),
        ])?;
    Ok(())
}

/// The kind of answers that a request's successes get. Refusals carry no data, so their answers are always common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// A success carries no data: its answer is stored once for all requests that get it.
    Common,
    /// A success carries data: its answer is stored with its key.
    Own,
}

impl Answers {
    fn is_common<S, R>(self, outcome: &Result<S, R>) -> bool {
        outcome.is_err() || self == Self::Common
    }
}

/// Runs a request unless the record of its key shows that it ran before, and remembers its answer in the same transaction.
pub(crate) fn once<S, R>(
    tx: &mut Tx<'_>,
    idempotency: Option<&Idempotency<Result<S, R>>>,
    answers: Answers,
    run: impl FnOnce(&mut Tx<'_>) -> rusqlite::Result<Result<S, R>>,
) -> rusqlite::Result<Outcome<Result<S, R>>> {
    let Some(idempotency) = idempotency else {
        return run(tx).map(Outcome::Ran);
    };
    let (key, body) = (idempotency.key, idempotency.body);
    let record = match tx.memory.keys.find(tx.connection, &key)? {
        Some(seq) => find(tx.connection, seq, key, tx.now)?,
        None => None,
    };
    match record {
        Some(record) if record.body == body => Ok(Outcome::Replayed(record.answer)),
        Some(_) => Ok(Outcome::PayloadMismatch),
        None => {
            let outcome = run(tx)?;
            let answer = (idempotency.render)(&outcome);
            remember(tx, key, body, &answer, answers.is_common(&outcome))?;
            Ok(Outcome::Ran(outcome))
        }
    }
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
        self.inner.key_round.go_on_from(next);
        Ok(deleted)
    }

    /// Writes a request that may carry a key. Of requests with one key, one at a time is on its way.
    pub(crate) async fn write_once<S: Send + 'static, R: Send + 'static>(
        &self,
        idempotency: Option<Idempotency<Result<S, R>>>,
        answers: Answers,
        mut run: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<Result<S, R>> + Send + 'static,
    ) -> StoreResult<Outcome<Result<S, R>>> {
        let claim = match &idempotency {
            None => None,
            Some(idempotency) => match self.inner.in_flight.claim(idempotency.key).await {
                Some(claim) => Some(claim),
                None => return Ok(Outcome::Processing),
            },
        };
        self.write(move |tx| {
            let _held_until_answered = &claim;
            once(tx, idempotency.as_ref(), answers, &mut run)
        })
        .await
    }

    /// Looks a key up, without a write.
    pub(crate) async fn peek_key(&self, key: [u8; 16], body: [u8; 16]) -> StoreResult<Peek> {
        if self.inner.in_flight.contains(key) {
            return Ok(Peek::Processing);
        }
        let (published, now) = (Arc::clone(&self.inner.published), self.inner.clock.now());
        let find = move |connection: &Connection| find_committed(&published, connection, key, now);
        let record = self.glance(find).await?;
        Ok(match record {
            None => Peek::Free,
            Some(record) if record.body == body => Peek::Finished(record.answer),
            Some(_) => Peek::PayloadMismatch,
        })
    }
}
