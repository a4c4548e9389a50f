//! The outbox: mails are written in the transaction that causes them, and sent later.

use async_trait::async_trait;
use goodpon_application::ports::{
    Backlog, MailContent, Mails, NewVerification, QueuedMail, StoreResult, StoredMail,
};
use goodpon_domain::account::{RESEND_WINDOW, VERIFICATION_TOKEN_VALIDITY};
use goodpon_trace::TraceContext;
use jiff::Timestamp;
use mysql_async::Params;

use crate::{
    Store,
    codec::{micros, row_limit},
    columns::Columns,
    fault::Result,
    session::Session,
};

/// Returns the form under which the mails to an address are found: in lower case.
fn recipient_key(to: &str) -> String {
    to.to_ascii_lowercase()
}

/// The kind of a verification mail; only resends count towards the limits of mails to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MailKind {
    /// The mail of the first sign-up with the address.
    First = 0,
    /// A mail that was requested again, or by another sign-up with the address.
    Resend = 1,
}

/// The most mails to one address whose tokens are blanked when they are voided. There is one, unless an older release
/// wrote more.
const MAX_MAILS_VOIDED: i64 = 20;

/// Selects mails that are not pending and whose token has expired, oldest first. Parameters: the latest end of a token,
/// the number of rows.
pub(crate) const ENDED_TOKENS: &str =
    "SELECT id, subject, text, html FROM mails FORCE INDEX (mails_with_token)
     WHERE next_try_at IS NULL AND token_ends_at <= ? ORDER BY token_ends_at LIMIT ?
     FOR UPDATE SKIP LOCKED";

/// Selects the times of mails to an address. Parameters: the address's key, the earliest time (exclusive), the kind.
pub(crate) const RESEND_TIMES: &str =
    "SELECT created_at FROM mails FORCE INDEX (mails_by_recipient)
     WHERE recipient_key = ? AND created_at > ? AND kind = ?";

/// Puts a verification mail into the outbox, due at once. Earlier mails to the account that are still pending are given
/// up, because their tokens are void.
pub(crate) async fn insert_mail(
    session: &mut Session<'_>,
    to: &str,
    verification: &NewVerification,
    kind: MailKind,
) -> Result<()> {
    void_tokens(session, to, "superseded by a newer mail").await?;
    let (content, now) = (&verification.mail, session.now);
    session
        .run(
            "INSERT INTO mails (recipient, recipient_key, subject, text, html, created_at,
                                next_try_at, kind, token_ends_at, origin, traceparent)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                to,
                recipient_key(to),
                &content.subject,
                &content.text,
                &content.html,
                micros(now),
                micros(now),
                kind as i64,
                micros(now + VERIFICATION_TOKEN_VALIDITY),
                &verification.origin,
                goodpon_trace::current().map(|trace| trace.to_string()),
            ),
        )
        .await
        .map(drop)
}

/// Gives up all pending mails to an address, and blanks their tokens, which are void. The account's row is locked or new.
pub(crate) async fn void_tokens(session: &mut Session<'_>, to: &str, reason: &str) -> Result<()> {
    let key = recipient_key(to);
    session
        .run(
            "UPDATE mails SET next_try_at = NULL, last_error = ?
             WHERE recipient_key = ? AND next_try_at IS NOT NULL",
            (reason, &key),
        )
        .await?;
    let mails = session
        .rows(
            "SELECT id, subject, text, html FROM mails
             WHERE recipient_key = ? AND token_ends_at IS NOT NULL LIMIT ?",
            (&key, MAX_MAILS_VOIDED),
            read_with_id,
        )
        .await?;
    blank(session, &mails).await
}

fn read_with_id(row: &mut Columns) -> Result<(i64, MailContent)> {
    Ok((row.read()?, content(row)?))
}

async fn blank(session: &mut Session<'_>, mails: &[(i64, MailContent)]) -> Result<()> {
    for (id, content) in mails {
        let blanked = content.without_token();
        let sql = "UPDATE mails SET text = ?, html = ?, token_ends_at = NULL WHERE id = ?";
        session.run(sql, (blanked.text, blanked.html, id)).await?;
    }
    Ok(())
}

/// Blanks the expired tokens of up to `limit` mails that are not pending, and returns their number.
pub(crate) async fn blank_ended_tokens(session: &mut Session<'_>, limit: usize) -> Result<usize> {
    let ended = (micros(session.now), row_limit(limit));
    let found = session.rows(ENDED_TOKENS, ended, read_with_id).await?;
    blank(session, &found).await?;
    Ok(found.len())
}

/// Returns the times of the resends to an address that count towards its limits.
pub(crate) async fn resend_times(session: &mut Session<'_>, to: &str) -> Result<Vec<Timestamp>> {
    let since = micros(session.now - RESEND_WINDOW);
    let values = (recipient_key(to), since, MailKind::Resend as i64);
    session
        .rows(RESEND_TIMES, values, |row| row.timestamp())
        .await
}

async fn due(session: &mut Session<'_>, limit: usize) -> Result<Vec<QueuedMail>> {
    session
        .rows(
            "SELECT id, recipient, subject, text, html, created_at, attempts, origin, traceparent
             FROM mails
             WHERE next_try_at <= ? ORDER BY next_try_at, id LIMIT ?",
            (micros(session.now), row_limit(limit)),
            |row| {
                Ok(QueuedMail {
                    id: row.read()?,
                    to: row.read()?,
                    content: content(row)?,
                    created_at: row.timestamp()?,
                    attempts: row.read()?,
                    origin: row.read()?,
                    trace: trace(row)?,
                })
            },
        )
        .await
}

async fn backlog(session: &mut Session<'_>) -> Result<Backlog> {
    let found = session
        .rows(
            "SELECT COUNT(*), MIN(next_try_at) FROM mails WHERE next_try_at <= ?",
            (micros(session.now),),
            |row| {
                Ok(Backlog {
                    due: row.read()?,
                    oldest: row.optional_timestamp()?,
                })
            },
        )
        .await?;
    Ok(found.into_iter().next().unwrap_or_default())
}

/// Reads a `traceparent`. One that cannot be read is none: no mail waits for its trace.
fn trace(row: &mut Columns) -> Result<Option<TraceContext>> {
    let traceparent: Option<String> = row.read()?;
    Ok(traceparent.and_then(|text| TraceContext::parse(text.as_bytes())))
}

fn content(row: &mut Columns) -> Result<MailContent> {
    Ok(MailContent {
        subject: row.read()?,
        text: row.read()?,
        html: row.read()?,
    })
}

/// Returns the mails that meet `condition`, newest first. `params` has the values of the condition, then the limit.
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

/// Lists mails to exactly `to`; if there are none, those to the same address in another case.
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
            // A mail that was superseded during the attempt stays given up.
            "UPDATE mails SET attempts = attempts + 1, next_try_at = ?, last_error = ?
             WHERE id = ? AND next_try_at IS NOT NULL",
            (retry_at.map(micros), error, id),
        )
        .await
        .map(drop)
}

#[async_trait]
impl Mails for Store {
    async fn due(&self, limit: usize) -> StoreResult<Vec<QueuedMail>> {
        self.scan(|session| Box::pin(due(session, limit))).await
    }

    async fn backlog(&self) -> StoreResult<Backlog> {
        self.read(|session| Box::pin(backlog(session))).await
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
