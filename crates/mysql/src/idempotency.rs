//! Remembered answers, stored as one with what they tell: of redemptions and cancellations. An issue's record is its
//! coupon.

use goodpon_application::{
    idempotency::{Answer, Idempotency, KEPT_FOR, Outcome, Peek},
    ports::StoreResult,
};
use jiff::Timestamp;

use crate::{
    Store, codec::micros, columns::Columns, fault::Result, script::Script, session::Session,
};

/// An answer under its key, old or not.
pub(crate) struct Record {
    body: [u8; 16],
    answer: Answer,
    stored_at: Timestamp,
}

/// The columns that [`read`] reads, of `idempotency_records` as `r`.
pub(crate) const COLUMNS: &str = "r.body, r.status, r.answer, r.stored_at";

/// Reads [`COLUMNS`], which are null where there is no record.
pub(crate) fn read(row: &mut Columns) -> Result<Option<Record>> {
    let (body, status) = (row.optional_bytes()?, row.read::<Option<u16>>()?);
    let (answer, stored_at) = (row.read::<Option<Vec<u8>>>()?, row.optional_timestamp()?);
    let (Some(body), Some(status), Some(answer), Some(stored_at)) =
        (body, status, answer, stored_at)
    else {
        return Ok(None);
    };
    Ok(Some(Record {
        body,
        answer: Answer {
            status,
            body: answer.into(),
        },
        stored_at,
    }))
}

impl Record {
    fn counts(&self, now: Timestamp) -> bool {
        self.stored_at > now - KEPT_FOR
    }

    fn peek(self, body: [u8; 16]) -> Peek {
        match self.body == body {
            true => Peek::Finished(self.answer),
            false => Peek::PayloadMismatch,
        }
    }
}

/// The record under a key.
pub(crate) async fn find(session: &mut Session<'_>, key: [u8; 16]) -> Result<Option<Record>> {
    let sql = format!("SELECT {COLUMNS} FROM idempotency_records r WHERE r.id = ?");
    let found = session.first(&sql, (key,), read).await?;
    Ok(found.flatten())
}

/// How a request ends whose key was used before; `None` where it is to run.
pub(crate) fn recall<T>(
    record: Option<&Record>,
    idempotency: Option<&Idempotency<T>>,
    now: Timestamp,
) -> Option<Outcome<T>> {
    let record = record.filter(|record| record.counts(now))?;
    Some(match record.body == idempotency?.body {
        true => Outcome::Replayed(record.answer.clone()),
        false => Outcome::PayloadMismatch,
    })
}

/// Adds to `script` what remembers an outcome. `old` is the record that was found under the key and counts no more.
/// Another request with the key that was first makes the script fail with [`crate::fault::Fault::Overtaken`].
pub(crate) fn remember<T>(
    script: &mut Script,
    idempotency: Option<&Idempotency<T>>,
    old: Option<&Record>,
    outcome: &T,
    now: Timestamp,
) {
    let Some(idempotency) = idempotency else {
        return;
    };
    let (key, answer) = (&idempotency.key, (idempotency.render)(outcome));
    if let Some(old) = old {
        script.say(
            "DELETE FROM idempotency_records WHERE id = ? AND stored_at = ?",
            [key.into(), micros(old.stored_at).into()],
        );
    }
    script.say(
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
    /// Runs a request that may bear a key. In this process at most one of a key is on its way at a time; across
    /// processes the record's own key decides.
    pub(crate) async fn one_of_a_key<T>(
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

    /// What is known of a key, changing nothing.
    pub(crate) async fn peek_key(&self, key: [u8; 16], body: [u8; 16]) -> StoreResult<Peek> {
        if self.inner.in_flight.contains(key) {
            return Ok(Peek::Processing);
        }
        let read = async |session: &mut Session<'_>| {
            let record = find(session, key).await?;
            let record = record.filter(|record| record.counts(session.now));
            Ok(record.map_or(Peek::Free, |record| record.peek(body)))
        };
        self.read(|session| Box::pin(read(session))).await
    }
}
