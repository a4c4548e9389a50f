//! The outbox: mails written with what they tell of, sent later by whoever delivers.

use async_trait::async_trait;
use goodpon_application::ports::{
    Backlog, MailContent, NewVerification, Outbox, QueuedMail, StoreResult, StoredMail,
};
use goodpon_domain::account::{RESENDS_COUNTED_FOR, VERIFICATION_TOKEN_VALIDITY};
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

/// Which verification mail to an address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// That of the sign-up.
    First = 0,
    /// One that was asked for again, or by another sign-up.
    Further = 1,
}

/// How many mails to one address are searched for a token that became void: more than one only where a version before
/// this one wrote them.
const VOIDED_AT_ONCE: i64 = 20;

/// Mails that do not wait and whose token is not good any more, oldest first: since when, how many.
pub(crate) const ENDED_TOKENS: &str =
    "SELECT id, subject, text, html FROM mails FORCE INDEX (mails_with_token)
     WHERE next_try_at IS NULL AND token_ends_at <= ? ORDER BY token_ends_at LIMIT ?
     FOR UPDATE SKIP LOCKED";

/// When the further mails to an address were written: whose, since when, which kind.
pub(crate) const FURTHER: &str = "SELECT created_at FROM mails FORCE INDEX (mails_by_recipient)
     WHERE recipient_key = ? AND created_at > ? AND kind = ?";

/// Puts a verification mail into the outbox, due at once. One before it to the same account that has not left
/// yet must not leave any more: its token is void.
pub(crate) async fn insert_mail(
    session: &mut Session<'_>,
    to: &str,
    verification: &NewVerification,
    kind: Kind,
) -> Result<()> {
    void_tokens(session, to, "superseded by a newer mail").await?;
    let (content, now) = (&verification.mail, session.now);
    session
        .run(
            "INSERT INTO mails (recipient, recipient_key, subject, text, html, created_at,
                                next_try_at, kind, token_ends_at, origin)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
            ),
        )
        .await
        .map(drop)
}

/// The tokens of all mails to an address are void: none that waits leaves any more, and the tokens are blanked. The
/// account's row is locked, or new.
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
            (&key, VOIDED_AT_ONCE),
            numbered,
        )
        .await?;
    blank(session, &mails).await
}

fn numbered(row: &mut Columns) -> Result<(i64, MailContent)> {
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

/// Blanks the tokens of up to `limit` mails that do not wait, where they are not good any more; returns how many.
pub(crate) async fn blank_ended_tokens(session: &mut Session<'_>, limit: usize) -> Result<usize> {
    let ended = (micros(session.now), row_limit(limit));
    let found = session.rows(ENDED_TOKENS, ended, numbered).await?;
    blank(session, &found).await?;
    Ok(found.len())
}

/// When the further mails to an address were written that count towards how many it may be sent.
pub(crate) async fn further(session: &mut Session<'_>, to: &str) -> Result<Vec<Timestamp>> {
    let since = micros(session.now - RESENDS_COUNTED_FOR);
    let asked = (recipient_key(to), since, Kind::Further as i64);
    session.rows(FURTHER, asked, |row| row.timestamp()).await
}

async fn due(session: &mut Session<'_>, limit: usize) -> Result<Vec<QueuedMail>> {
    session
        .rows(
            "SELECT id, recipient, subject, text, html, created_at, attempts, origin FROM mails
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
