//! Delivery of mails: use cases write them into the outbox, a transport sends them from there.

use jiff::SignedDuration;

use crate::{
    App,
    ports::{MailError, MailTransport, QueuedMail, StoreResult},
};

/// The age at which a mail is given up: its link is dead by then. It stays in the mailbox.
pub const MAX_DELIVERY_AGE: SignedDuration = SignedDuration::from_hours(24);

/// The result of one attempt to deliver a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The mail server took it.
    Sent,
    /// It failed, and is tried again later.
    Delayed,
    /// It stays in the mailbox and is not tried any more.
    GivenUp,
}

/// Sends a mail and stores the result. A mail that fails is tried again at growing intervals, until it is as old as
/// [`MAX_DELIVERY_AGE`] or refused for good; then it stays in the mailbox.
pub async fn deliver(
    app: &App,
    transport: &dyn MailTransport,
    mail: &QueuedMail,
) -> StoreResult<Delivery> {
    let given_up_at = mail.created_at + MAX_DELIVERY_AGE;
    if app.clock.now() >= given_up_at {
        tracing::warn!(mail_id = mail.id, "mail given up: too old");
        let reason = "too old to be sent: written more than 24 h ago".to_owned();
        app.stores.mails.mark_failed(mail.id, None, reason).await?;
        return Ok(Delivery::GivenUp);
    }
    let Err(error) = transport.send(mail).await else {
        app.stores.mails.mark_sent(mail.id).await?;
        return Ok(Delivery::Sent);
    };
    let retry_at = match &error {
        MailError::Transient(_) => Some(app.clock.now() + backoff(mail.attempts)),
        MailError::Permanent(_) => None,
    };
    // A retry that would be too late is not scheduled, so that the error stored last is the server's.
    let retry_at = retry_at.filter(|at| *at < given_up_at);
    tracing::warn!(mail_id = mail.id, retry = retry_at.is_some(), %error, "mail not sent");
    app.stores
        .mails
        .mark_failed(mail.id, retry_at, error.to_string())
        .await?;
    Ok(match retry_at {
        Some(_) => Delivery::Delayed,
        None => Delivery::GivenUp,
    })
}

/// Gives up to `limit` mails up that are due, because no mail server is configured, and returns their number. They can
/// be read in the mailbox. A server that is configured later does not send them, because their links would be dead.
pub async fn leave_to_mailbox(app: &App, limit: usize) -> StoreResult<usize> {
    let due = app.stores.mails.due(limit).await?;
    for mail in &due {
        let reason = "no mail server is configured (smtp-url)".to_owned();
        app.stores.mails.mark_failed(mail.id, None, reason).await?;
    }
    Ok(due.len())
}

/// Returns the wait after `attempts` earlier failures: 2 s, 4 s, 8 s … up to 15 minutes.
fn backoff(attempts: u32) -> SignedDuration {
    SignedDuration::from_secs((2 << attempts.min(9)).min(900))
}
