//! The outbox: mails that are written with the change that they report, and delivered later.

use async_trait::async_trait;
use goodpon_application::ports::{
    Backlog, MailContent, Mails, NewVerification, QueuedMail, StoreResult, StoredMail,
};
use goodpon_domain::account::{RESEND_WINDOW, VERIFICATION_TOKEN_VALIDITY};
use goodpon_trace::TraceContext;
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use crate::{
    codec::{micros, optional_timestamp, row_limit, timestamp},
    store::Store,
    write::tx::Tx,
};

/// The occasion of a verification mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The sign-up.
    First = 0,
    /// Another request for a mail, or another sign-up with the address.
    Further = 1,
}

/// Mails to one address that are searched for a token that became void. More than one exists only where an earlier version
/// wrote them.
const VOIDED_AT_ONCE: i64 = 20;

/// Mails whose token is void, oldest first. The parameters are a time and a limit.
pub(crate) const ENDED_TOKENS: &str =
    "SELECT id, subject, text, html FROM mails INDEXED BY mails_with_token
     WHERE token_ends_at IS NOT NULL AND next_try_at IS NULL AND token_ends_at <= ?1
     ORDER BY token_ends_at LIMIT ?2";

/// Puts a verification mail into the outbox, due at once. Withdraws an earlier one to the same account that is not sent yet:
/// its token is void.
pub(crate) fn insert_mail(
    tx: &Tx<'_>,
    to: &str,
    verification: &NewVerification,
    kind: Kind,
) -> rusqlite::Result<()> {
    let content = &verification.mail;
    void_tokens(tx, to, "superseded by a newer mail")?;
    tx.connection
        .prepare_cached(
            "INSERT INTO mails (recipient, subject, text, html, created_at, next_try_at, kind,
                                token_ends_at, origin, traceparent)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            to,
            content.subject,
            content.text,
            content.html,
            micros(tx.now),
            kind as i64,
            micros(tx.now + VERIFICATION_TOKEN_VALIDITY),
            verification.origin,
            tx.trace.map(|trace| trace.to_string())
        ])?;
    Ok(())
}

/// Withdraws the mails to an address that wait, and blanks the tokens of all: they are void.
pub(crate) fn void_tokens(tx: &Tx<'_>, to: &str, reason: &str) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached(
            "UPDATE mails SET next_try_at = NULL, last_error = ?2
             WHERE recipient = ?1 COLLATE NOCASE AND next_try_at IS NOT NULL",
        )?
        .execute([to, reason])?;
    let mails: Vec<_> = tx
        .connection
        .prepare_cached(
            "SELECT id, subject, text, html FROM mails
             WHERE recipient = ?1 COLLATE NOCASE AND token_ends_at IS NOT NULL LIMIT ?2",
        )?
        .query_map(params![to, VOIDED_AT_ONCE], numbered)?
        .collect::<rusqlite::Result<_>>()?;
    blank(tx, &mails)
}

fn numbered(row: &Row<'_>) -> rusqlite::Result<(i64, MailContent)> {
    Ok((row.get(0)?, content(row, 1)?))
}

fn blank(tx: &Tx<'_>, mails: &[(i64, MailContent)]) -> rusqlite::Result<()> {
    for (id, content) in mails {
        let blanked = content.without_token();
        tx.connection
            .prepare_cached(
                "UPDATE mails SET text = ?2, html = ?3, token_ends_at = NULL WHERE id = ?1",
            )?
            .execute(params![id, blanked.text, blanked.html])?;
    }
    Ok(())
}

/// The times of further mails to an address that count towards its limit.
pub(crate) fn further(tx: &Tx<'_>, to: &str) -> rusqlite::Result<Vec<Timestamp>> {
    tx.connection
        .prepare_cached(
            "SELECT created_at FROM mails
             WHERE recipient = ?1 COLLATE NOCASE AND kind = ?2 AND created_at > ?3",
        )?
        .query_map(
            params![to, Kind::Further as i64, micros(tx.now - RESEND_WINDOW)],
            |row| timestamp(row, 0),
        )?
        .collect()
}

impl Store {
    /// Blanks void tokens in up to `limit` mails that do not wait, and returns the number of these.
    pub(crate) async fn blank_ended_tokens(&self, limit: usize) -> StoreResult<usize> {
        let now = micros(self.inner.clock.now());
        let find = move |connection: &Connection| {
            connection
                .prepare_cached(ENDED_TOKENS)?
                .query_map(params![now, row_limit(limit)], numbered)?
                .collect()
        };
        let found: Vec<(i64, MailContent)> = self.scan(find).await?;
        if found.is_empty() {
            return Ok(0);
        }
        self.write(move |tx| blank(tx, &found).map(|()| found.len()))
            .await
    }
}

fn due(connection: &Connection, now: Timestamp, limit: usize) -> rusqlite::Result<Vec<QueuedMail>> {
    connection
        .prepare_cached(
            "SELECT id, recipient, subject, text, html, created_at, attempts, origin, traceparent
             FROM mails
             WHERE next_try_at IS NOT NULL AND next_try_at <= ?1 ORDER BY next_try_at, id LIMIT ?2",
        )?
        .query_map(params![micros(now), row_limit(limit)], |row| {
            Ok(QueuedMail {
                id: row.get(0)?,
                to: row.get(1)?,
                content: content(row, 2)?,
                created_at: timestamp(row, 5)?,
                attempts: row.get(6)?,
                origin: row.get(7)?,
                trace: trace(row, 8)?,
            })
        })?
        .collect()
}

fn backlog(connection: &Connection, now: Timestamp) -> rusqlite::Result<Backlog> {
    connection
        .prepare_cached(
            "SELECT COUNT(*), MIN(next_try_at) FROM mails
             WHERE next_try_at IS NOT NULL AND next_try_at <= ?1",
        )?
        .query_row([micros(now)], |row| {
            Ok(Backlog {
                due: row.get(0)?,
                oldest: optional_timestamp(row, 1)?,
            })
        })
}

/// Reads a `traceparent`. One that cannot be read is none: no mail waits for its trace.
fn trace(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<TraceContext>> {
    let traceparent: Option<String> = row.get(column)?;
    Ok(traceparent.and_then(|text| TraceContext::parse(text.as_bytes())))
}

fn content(row: &Row<'_>, first: usize) -> rusqlite::Result<MailContent> {
    Ok(MailContent {
        subject: row.get(first)?,
        text: row.get(first + 1)?,
        html: row.get(first + 2)?,
    })
}

/// Mails for which `condition` holds (`?1` is the recipient asked for), newest first.
fn select(
    connection: &Connection,
    condition: &str,
    to: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<StoredMail>> {
    connection
        .prepare_cached(&format!(
            "SELECT id, recipient, subject, text, html, created_at, sent_at,
                    next_try_at IS NOT NULL, attempts, last_error FROM mails
             WHERE {condition} ORDER BY id DESC LIMIT ?2"
        ))?
        .query_map(params![to, row_limit(limit)], |row| {
            Ok(StoredMail {
                id: row.get(0)?,
                to: row.get(1)?,
                content: content(row, 2)?,
                created_at: timestamp(row, 5)?,
                sent_at: optional_timestamp(row, 6)?,
                waiting: row.get(7)?,
                attempts: row.get(8)?,
                error: row.get(9)?,
            })
        })?
        .collect()
}

/// The address as typed counts before the same address in other case.
pub(crate) fn list(
    connection: &Connection,
    to: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<StoredMail>> {
    if to.is_none() {
        return select(connection, "?1 IS NULL", to, limit);
    }
    let any_case = "recipient = ?1 COLLATE NOCASE";
    let as_typed = format!("{any_case} AND recipient = ?1 COLLATE BINARY");
    let exact = select(connection, &as_typed, to, limit)?;
    if exact.is_empty() {
        return select(connection, any_case, to, limit);
    }
    Ok(exact)
}

#[async_trait]
impl Mails for Store {
    async fn due(&self, limit: usize) -> StoreResult<Vec<QueuedMail>> {
        let now = self.inner.clock.now();
        self.scan(move |connection| due(connection, now, limit))
            .await
    }

    async fn backlog(&self) -> StoreResult<Backlog> {
        let now = self.inner.clock.now();
        self.scan(move |connection| backlog(connection, now)).await
    }

    async fn mark_sent(&self, id: i64) -> StoreResult<()> {
        self.write(move |tx| {
            tx.connection
                .prepare_cached("UPDATE mails SET sent_at = ?2, next_try_at = NULL WHERE id = ?1")?
                .execute(params![id, micros(tx.now)])
                .map(drop)
        })
        .await
    }

    async fn mark_failed(
        &self,
        id: i64,
        retry_at: Option<Timestamp>,
        error: String,
    ) -> StoreResult<()> {
        self.write(move |tx| {
            tx.connection
                // One that was superseded during the try does not wait again.
                .prepare_cached(
                    "UPDATE mails SET attempts = attempts + 1, next_try_at = ?2, last_error = ?3
                     WHERE id = ?1 AND next_try_at IS NOT NULL",
                )?
                .execute(params![id, retry_at.map(micros), error])
                .map(drop)
        })
        .await
    }

    async fn list(&self, to: Option<&str>, limit: usize) -> StoreResult<Vec<StoredMail>> {
        let to = to.map(str::to_owned);
        self.scan(move |connection| list(connection, to.as_deref(), limit))
            .await
    }
}
