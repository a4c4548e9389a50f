//! What issues are answered with, to the byte. Remembered answers in Valkey name them by number; a coupon's row does not,
//! so its answer is the text that successes had when it was accepted.

use goodpon_application::{idempotency::Answer, ports::StoreResult};
use jiff::Timestamp;

use crate::{Store, codec::micros, session::Session};

/// Bytes of a text that can be kept: it stands in a unique index.
pub const LONGEST_ISSUE_ANSWER: usize = 2_000;

impl Store {
    /// The number of what an issue is answered with, which is kept from now on if it was not. At most
    /// [`LONGEST_ISSUE_ANSWER`] bytes.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn keep_issue_answer(&self, answer: &Answer, is_success: bool) -> StoreResult<u32> {
        let (status, body) = (answer.status, answer.body.as_ref());
        let find =
            "SELECT number FROM issue_answers WHERE is_success = ? AND status = ? AND body = ?";
        self.transact(|session| {
            Box::pin(async move {
                if let Some(number) = number(session, find, is_success, status, body).await? {
                    return Ok(number);
                }
                // Who comes at the same time waits here, and finds it there.
                let sql = "INSERT INTO issue_answers (is_success, status, body, since) VALUES (?, ?, ?, ?)
                           ON DUPLICATE KEY UPDATE since = LEAST(since, VALUES(since))";
                let since = micros(session.now);
                session.run(sql, (is_success, status, body, since)).await?;
                let number = number(session, find, is_success, status, body).await?;
                number.ok_or(crate::Fault::Corrupt("an answer that was just written is gone"))
            })
        })
        .await
    }

    /// What was answered under a number.
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

    /// What successes were ever answered with, by when that began, the earliest first.
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

async fn number(
    session: &mut Session<'_>,
    sql: &str,
    is_success: bool,
    status: u16,
    body: &[u8],
) -> crate::fault::Result<Option<u32>> {
    let found = session.first(sql, (is_success, status, body), |row| row.read());
    found.await
}
