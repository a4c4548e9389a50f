//! Remembered answers, stored as one with what they tell.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use goodpon_application::{
    idempotency::{Answer, Idempotency, KEPT_FOR, Outcome, Peek},
    ports::StoreResult,
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::watch;

use crate::{Store, codec::micros, writer::Tx};

/// How long a request waits for another one with its key before it is told to come again.
const WAIT_FOR_FIRST: Duration = Duration::from_secs(1);

struct Record {
    body: [u8; 16],
    answer: Answer,
}

fn find(
    connection: &Connection,
    key: [u8; 16],
    now: Timestamp,
) -> rusqlite::Result<Option<Record>> {
    connection
        .prepare_cached(
            "SELECT body, status, answer FROM idempotency_records WHERE key = ?1 AND stored_at > ?2",
        )?
        .query_row(params![key, micros(now - KEPT_FOR)], |row| {
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

fn remember(
    connection: &Connection,
    key: [u8; 16],
    body: [u8; 16],
    answer: &Answer,
    now: Timestamp,
) -> rusqlite::Result<()> {
    // A record that is still here under this key is older than it may count: the new one takes its place.
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO idempotency_records (key, body, status, answer, stored_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            key,
            body,
            answer.status,
            answer.body.as_ref(),
            micros(now)
        ])?;
    Ok(())
}

/// Runs a request unless its key tells that it ran before, and remembers its answer in the same transaction.
pub(crate) fn once<T>(
    tx: &mut Tx<'_>,
    idempotency: Option<&Idempotency<T>>,
    run: impl FnOnce(&mut Tx<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Outcome<T>> {
    let Some(idempotency) = idempotency else {
        return run(tx).map(Outcome::Ran);
    };
    match find(tx.connection, idempotency.key, tx.now)? {
        Some(record) if record.body == idempotency.body => Ok(Outcome::Replayed(record.answer)),
        Some(_) => Ok(Outcome::PayloadMismatch),
        None => {
            let outcome = run(tx)?;
            let answer = (idempotency.render)(&outcome);
            let (key, body) = (idempotency.key, idempotency.body);
            remember(tx.connection, key, body, &answer, tx.now)?;
            Ok(Outcome::Ran(outcome))
        }
    }
}

/// The keys whose requests are on their way through this process.
#[derive(Default)]
pub(crate) struct InFlight(Mutex<HashMap<[u8; 16], watch::Receiver<()>>>);

/// Held by the request that was first; dropped when it is answered, whether its caller still waits or not.
pub(crate) struct Claim {
    key: [u8; 16],
    keys: Arc<InFlight>,
    _done: watch::Sender<()>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.key);
    }
}

impl InFlight {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 16], watch::Receiver<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_claim(self: &Arc<Self>, key: [u8; 16]) -> Result<Claim, watch::Receiver<()>> {
        let mut keys = self.lock();
        if let Some(first) = keys.get(&key) {
            return Err(first.clone());
        }
        let (done, waiting) = watch::channel(());
        keys.insert(key, waiting);
        Ok(Claim {
            key,
            keys: Arc::clone(self),
            _done: done,
        })
    }

    /// Claims the key, waiting a little for another request that has it. `None`: that one still runs.
    async fn claim(self: &Arc<Self>, key: [u8; 16]) -> Option<Claim> {
        let wait = async {
            loop {
                match self.try_claim(key) {
                    Ok(claim) => return claim,
                    // Errs as soon as the claim is dropped; nothing is ever sent.
                    Err(mut first) => while first.changed().await.is_ok() {},
                }
            }
        };
        tokio::time::timeout(WAIT_FOR_FIRST, wait).await.ok()
    }
}

impl Store {
    /// Writes a request that may bear a key: at most one of a key is on its way at a time.
    pub(crate) async fn write_once<T: Send + 'static>(
        &self,
        idempotency: Option<Idempotency<T>>,
        mut run: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<Outcome<T>> {
        let claim = match &idempotency {
            None => None,
            Some(idempotency) => match self.inner.in_flight.claim(idempotency.key).await {
                Some(claim) => Some(claim),
                None => return Ok(Outcome::Processing),
            },
        };
        self.write(move |tx| {
            let _held_until_answered = &claim;
            once(tx, idempotency.as_ref(), &mut run)
        })
        .await
    }

    /// What is known of a key, changing nothing.
    pub(crate) fn peek_key(&self, key: [u8; 16], body: [u8; 16]) -> StoreResult<Peek> {
        if self.inner.in_flight.lock().contains_key(&key) {
            return Ok(Peek::Processing);
        }
        let now = self.inner.clock.now();
        let record = self.read(|connection| find(connection, key, now))?;
        Ok(match record {
            None => Peek::Free,
            Some(record) if record.body == body => Peek::Finished(record.answer),
            Some(_) => Peek::PayloadMismatch,
        })
    }
}
