//! The outbox: mails written with what they tell of, sent later by whoever delivers.

use async_trait::async_trait;
use goodpon_application::{
    mail::{MailContent, QueuedMail, StoredMail},
    ports::{NewVerification, Outbox, StoreResult},
};
use jiff::Timestamp;
use mysql_async::Params;

use crate::{
    Store,
    codec::{micros, row_limit},
    columns::Columns,
    fault::Result,
    session::Session,
};

/// The form of an address under which mails to it are found: without regard to case.
fn recipient_key(to: &str) -> String {
    to.to_ascii_lowercase()
}

/// Puts a verification mail into the outbox, due at once. One before it to the same account that has not left
/// yet must not leave any more: its token is void.
pub(crate) async fn insert_mail(
    session: &mut Session<'_>,
    to: &str,
    verification: &NewVerification,
) -> Result<()> {
    let content = &verification.mail;
    let (key, now) = (recipient_key(to), micros(session.now));
    session
        .run(
            "UPDATE mails SET next_try_at = NULL, last_error = 'superseded by a newer mail'
             WHERE recipient_key = ? AND next_try_at IS NOT NULL",
            (&key,),
        )
        .await?;
    session
        .run(
            "INSERT INTO mails (recipient, recipient_key, subject, text, html, created_at, next_try_at, origin)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                to,
                key,
                &content.subject,
                &content.text,
                &content.html,
                now,
                now,
                &verification.origin,
            ),
        )
        .await
        .map(drop)
}

async fn due(session: &mut Session<'_>, limit: usize) -> Result<Vec<QueuedMail>> {
    session
        .rows(
            "SELECT id, recipient, subject, text, html, created_at, attempts FROM mails
             WHERE next_try_at <= ? ORDER BY next_try_at, id LIMIT ?",
            (micros(session.now), row_limit(limit)),
            |row| {
                Ok(QueuedMail {
                    id: row.read()?,
                    to: row.read()?,
                    content: content(row)?,
                    created_at: row.timestamp()?,
                    attempts: row.read()?,
                })
            },
        )
        .await
}

fn content(row: &mut Columns) -> Result<MailContent> {
    Ok(MailContent {
        subject: row.read()?,
        text: row.read()?,
        html: row.read()?,
    })
}

/// Mails for which `condition` holds, newest first. Its values and the limit are `params`.
async fn select(
    session: &mut Session<'_>,
    condition: &str,
    params: impl Into<Params>,
) -> Result<Vec<StoredMail>> {
    let sql = format!(
        "SELECT id, recipient, subject, text, html, created_at, sent_at,
                next_try_at IS NOT NULL, attempts, last_error FROM mails
         WHERE {condition} ORDER BY created_at DESC, id DESC LIMIT ?"
    );
    session
        .rows(&sql, params, |row| {
            Ok(StoredMail {
                id: row.read()?,
                to: row.read()?,
                content: content(row)?,
                created_at: row.timestamp()?,
                sent_at: row.optional_timestamp()?,
                waiting: row.read()?,
                attempts: row.read()?,
                error: row.read()?,
            })
        })
        .await
}

/// The address as typed counts before the same address in other case.
async fn list(
    session: &mut Session<'_>,
    to: Option<&str>,
    limit: usize,
) -> Result<Vec<StoredMail>> {
    let limit = row_limit(limit);
    let Some(to) = to else {
        return select(session, "TRUE", (limit,)).await;
    };
    let key = recipient_key(to);
    let as_typed = "recipient_key = ? AND recipient = ?";
    let exact = select(session, as_typed, (&key, to, limit)).await?;
    if exact.is_empty() {
        return select(session, "recipient_key = ?", (&key, limit)).await;
    }
    Ok(exact)
}

async fn mark_sent(session: &mut Session<'_>, id: i64) -> Result<()> {
    session
        .run(
            "UPDATE mails SET sent_at = ?, next_try_at = NULL WHERE id = ?",
            (micros(session.now), id),
        )
        .await
        .map(drop)
}

async fn mark_failed(
    session: &mut Session<'_>,
    id: i64,
    retry_at: Option<Timestamp>,
    error: &str,
) -> Result<()> {
    session
        .run(
            // One that was superseded during the try does not wait again.
            "UPDATE mails SET attempts = attempts + 1, next_try_at = ?, last_error = ?
             WHERE id = ? AND next_try_at IS NOT NULL",
            (retry_at.map(micros), error, id),
        )
        .await
        .map(drop)
}

#[async_trait]
impl Outbox for Store {
    async fn due(&self, limit: usize) -> StoreResult<Vec<QueuedMail>> {
        self.read(|session| Box::pin(due(session, limit))).await
    }

    async fn mark_sent(&self, id: i64) -> StoreResult<()> {
        self.transact(|session| Box::pin(mark_sent(session, id)))
            .await
    }

    async fn mark_failed(
        &self,
        id: i64,
        retry_at: Option<Timestamp>,
        error: String,
    ) -> StoreResult<()> {
        self.transact(|session| Box::pin(mark_failed(session, id, retry_at, &error)))
            .await
    }

    async fn list(&self, to: Option<&str>, limit: usize) -> StoreResult<Vec<StoredMail>> {
        self.scan(|session| Box::pin(list(session, to, limit)))
            .await
    }
}
