//! The stored answers of redemptions and cancellations under their idempotency keys, each written in the transaction of
//! its effect. An issue has no record here: its coupon's row is the record.

use goodpon_application::{
    idempotency::{ANSWER_RETENTION, Answer, Idempotency, Outcome, Peek},
    ports::StoreResult,
};
use jiff::Timestamp;

use crate::{
    Store, codec::micros, columns::Columns, fault::Result, script::Script, session::Session,
};

/// An answer as it is stored under its key; it may be older than the retention of answers.
pub(crate) struct StoredAnswer {
    body: [u8; 16],
    answer: Answer,
    stored_at: Timestamp,
}

/// The columns that [`read`] reads, of `idempotency_records` as `r`.
pub(crate) const COLUMNS: &str = "r.body, r.status, r.answer, r.stored_at";

/// Reads [`COLUMNS`], which are null if there is no stored answer.
pub(crate) fn read(row: &mut Columns) -> Result<Option<StoredAnswer>> {
    let (body, status) = (row.optional_bytes()?, row.read::<Option<u16>>()?);
    let (answer, stored_at) = (row.read::<Option<Vec<u8>>>()?, row.optional_timestamp()?);
    let (Some(body), Some(status), Some(answer), Some(stored_at)) =
        (body, status, answer, stored_at)
    else {
        return Ok(None);
    };
    Ok(Some(StoredAnswer {
        body,
        answer: Answer {
            status,
            body: answer.into(),
        },
        stored_at,
    }))
}

impl StoredAnswer {
    /// Returns whether it is still replayed at `now` (contract §3.1).
    fn is_valid(&self, now: Timestamp) -> bool {
        self.stored_at > now - ANSWER_RETENTION
    }

    fn peek(self, body: [u8; 16]) -> Peek {
        match self.body == body {
            true => Peek::Finished(self.answer),
            false => Peek::PayloadMismatch,
        }
    }
}

/// Returns the answer that is stored under a key.
pub(crate) async fn find(session: &mut Session<'_>, key: [u8; 16]) -> Result<Option<StoredAnswer>> {
    let sql = format!("SELECT {COLUMNS} FROM idempotency_records r WHERE r.id = ?");
    let found = session.first(&sql, (key,), read).await?;
    Ok(found.flatten())
}

/// Returns the outcome of a request whose key was used before; `None` if the request is to run.
pub(crate) fn recall<T>(
    stored: Option<&StoredAnswer>,
    idempotency: Option<&Idempotency<T>>,
    now: Timestamp,
) -> Option<Outcome<T>> {
    let stored = stored.filter(|stored| stored.is_valid(now))?;
    Some(match stored.body == idempotency?.body {
        true => Outcome::Replayed(stored.answer.clone()),
        false => Outcome::PayloadMismatch,
    })
}

/// Adds to `script` the statements that store the answer of an outcome. `old` is the answer that was found under the key
/// and is not valid any more. If another request with the key was first, the script fails with
/// [`crate::fault::Fault::Overtaken`].
pub(crate) fn remember<T>(
    script: &mut Script,
    idempotency: Option<&Idempotency<T>>,
    old: Option<&StoredAnswer>,
    outcome: &T,
    now: Timestamp,
) {
    let Some(idempotency) = idempotency else {
        return;
    };
    let (key, answer) = (&idempotency.key, (idempotency.render)(outcome));
    if let Some(old) = old {
        script.add(
            "DELETE FROM idempotency_records WHERE id = ? AND stored_at = ?",
            [key.into(), micros(old.stored_at).into()],
        );
    }
    script.add(
        "INSERT INTO idempotency_records (id, body, status, answer, stored_at) VALUES (?, ?, ?, ?, ?)",
        [
            key.into(),
            (&idempotency.body).into(),
            i64::from(answer.status).into(),
            answer.body.as_ref().into(),
            micros(now).into(),
        ],
    );
}

impl Store {
    /// Runs a request that may have a key. Within this process one request of a key runs at a time; among processes the
    /// primary key of the stored answer decides.
    pub(crate) async fn run_with_key<T>(
        &self,
        idempotency: Option<&Idempotency<T>>,
        run: impl Future<Output = StoreResult<Outcome<T>>>,
    ) -> StoreResult<Outcome<T>> {
        let _held_until_answered = match idempotency {
            None => None,
            Some(idempotency) => match self.inner.in_flight.claim(idempotency.key).await {
                Some(claim) => Some(claim),
                None => return Ok(Outcome::Processing),
            },
        };
        run.await
    }

    /// Looks a key up; changes nothing.
    pub(crate) async fn peek_key(&self, key: [u8; 16], body: [u8; 16]) -> StoreResult<Peek> {
        if self.inner.in_flight.contains(key) {
            return Ok(Peek::Processing);
        }
        let read = async |session: &mut Session<'_>| {
            let stored = find(session, key).await?;
            let stored = stored.filter(|stored| stored.is_valid(session.now));
            Ok(stored.map_or(Peek::Free, |stored| stored.peek(body)))
        };
        self.read(|session| Box::pin(read(session))).await
    }
}
