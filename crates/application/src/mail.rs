//! Mail: written into the outbox by use cases, sent from there by a transport.

use jiff::SignedDuration;

use crate::{
    App,
    ports::{MailError, MailTransport, QueuedMail, StoreResult},
};

/// How long a mail is tried while the mail server takes none. Beyond that it says nothing of use any more,
/// and stays in the mailbox.
pub const TRIED_FOR: SignedDuration = SignedDuration::from_hours(24);

/// What came of a try to deliver a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The mail server took it.
    Sent,
    /// It is to be tried again later.
    Delayed,
    /// It stays in the mailbox and is not tried any more.
    GivenUp,
}

/// Sends a mail and notes what came of it. One that fails is tried again later, at longer and longer intervals, for
/// [`TRIED_FOR`] or until a refusal for good; then it stays in the mailbox.
pub async fn deliver(
    app: &App,
    transport: &dyn MailTransport,
    mail: &QueuedMail,
) -> StoreResult<Delivery> {
    let given_up_at = mail.created_at + TRIED_FOR;
    if app.clock.now() >= given_up_at {
        tracing::warn!(mail_id = mail.id, "mail given up: too old");
        let reason = "too old to be sent: written more than 24 h ago".to_owned();
        app.stores.outbox.mark_failed(mail.id, None, reason).await?;
        return Ok(Delivery::GivenUp);
    }
    let Err(error) = transport.send(mail).await else {
        app.stores.outbox.mark_sent(mail.id).await?;
        return Ok(Delivery::Sent);
    };
    let retry_at = match &error {
        MailError::Transient(_) => Some(app.clock.now() + backoff(mail.attempts)),
        MailError::Permanent(_) => None,
    };
    // The last word is that of the server, not that of the clock.
    let retry_at = retry_at.filter(|at| *at < given_up_at);
    tracing::warn!(mail_id = mail.id, retry = retry_at.is_some(), %error, "mail not sent");
    app.stores
        .outbox
        .mark_failed(mail.id, retry_at, error.to_string())
        .await?;
    Ok(match retry_at {
        Some(_) => Delivery::Delayed,
        None => Delivery::GivenUp,
    })
}

/// Where no mail server is configured: leaves up to `limit` mails that are due to the mailbox, and returns how many.
/// A server that is configured later does not send them: their links would be dead.
pub async fn leave_to_mailbox(app: &App, limit: usize) -> StoreResult<usize> {
    let due = app.stores.outbox.due(limit).await?;
    for mail in &due {
        let reason = "no mail server is configured (smtp-url)".to_owned();
        app.stores.outbox.mark_failed(mail.id, None, reason).await?;
    }
    Ok(due.len())
}

/// 2 s, 4 s, 8 s … up to 15 minutes.
fn backoff(attempts: u32) -> SignedDuration {
    SignedDuration::from_secs((2 << attempts.min(9)).min(900))
}
