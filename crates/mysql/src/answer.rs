//! The answers of issues, byte for byte, each under a number. An idempotency record in Valkey names its answer by that
//! number. A coupon's row has no number: its answer is the one that successes had when the coupon was accepted.

use goodpon_application::{idempotency::Answer, ports::StoreResult};
use jiff::Timestamp;

use crate::{Store, codec::micros, session::Session};

/// The most bytes of an answer that can be stored: the text is part of a unique index.
pub const MAX_ISSUE_ANSWER_BYTES: usize = 2_000;

impl Store {
    /// Returns the number of an answer of at most [`MAX_ISSUE_ANSWER_BYTES`] bytes; stores it first if it is new.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn keep_issue_answer(&self, answer: &Answer, is_success: bool) -> StoreResult<u32> {
        let (status, body) = (answer.status, answer.body.as_ref());
        let find =
            "SELECT number FROM issue_answers WHERE is_success = ? AND status = ? AND body = ?";
        self.transact(|session| {
            Box::pin(async move {
                if let Some(number) = find_number(session, find, is_success, status, body).await? {
                    return Ok(number);
                }
                // A process that stores the same answer at the same time waits here for the other's commit.
                let sql = "INSERT INTO issue_answers (is_success, status, body, since) VALUES (?, ?, ?, ?)
                           ON DUPLICATE KEY UPDATE since = LEAST(since, VALUES(since))";
                let since = micros(session.now);
                session.run(sql, (is_success, status, body, since)).await?;
                let number = find_number(session, find, is_success, status, body).await?;
                number.ok_or(crate::fault::Fault::Corrupt("an answer that was just written is gone"))
            })
        })
        .await
    }

    /// Returns the answer of a number.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn issue_answer(&self, number: u32) -> StoreResult<Option<Answer>> {
        let sql = "SELECT status, body FROM issue_answers WHERE number = ?";
        self.read(|session| {
            Box::pin(async move {
                session
                    .first(sql, (number,), |row| {
                        let (status, body) = (row.read()?, row.read::<Vec<u8>>()?);
                        Ok(Answer {
                            status,
                            body: body.into(),
                        })
                    })
                    .await
            })
        })
        .await
    }

    /// Returns the number of each answer that successes ever had, with the time from which they had it, earliest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn success_answers(&self) -> StoreResult<Vec<(Timestamp, u32)>> {
        let sql =
            "SELECT since, number FROM issue_answers WHERE is_success = 1 ORDER BY since, number";
        self.read(|session| {
            Box::pin(async move {
                session
                    .rows(sql, (), |row| Ok((row.timestamp()?, row.read()?)))
                    .await
            })
        })
        .await
    }
}

async fn find_number(
    session: &mut Session<'_>,
    sql: &str,
    is_success: bool,
    status: u16,
    body: &[u8],
) -> crate::fault::Result<Option<u32>> {
    let found = session.first(sql, (is_success, status, body), |row| row.read());
    found.await
}
