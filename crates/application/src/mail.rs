//! Mail: written into the outbox by use cases, sent from there by a transport.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::{App, ports::StoreResult};

/// What a mail says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailContent {
    /// The subject, one line.
    pub subject: String,
    /// The plain text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

/// How the verification mail is written.
#[derive(Debug, Clone)]
pub struct VerificationMail {
    /// What `/verify?token=…` is appended to.
    pub link_base: String,
    /// Writes the mail to a person of that name with that link.
    pub compose: fn(name: &str, link: &str) -> MailContent,
}

impl VerificationMail {
    /// The mail that carries `token`.
    pub fn write(&self, name: &str, token: &str) -> MailContent {
        let link = format!(
            "{}/verify?token={token}",
            self.link_base.trim_end_matches('/')
        );
        (self.compose)(name, &link)
    }
}

/// A mail on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedMail {
    /// Its number in the outbox.
    pub id: i64,
    /// The recipient.
    pub to: String,
    /// What it says.
    pub content: MailContent,
    /// How often sending it failed so far.
    pub attempts: u32,
}

/// A mail as the mailbox shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMail {
    /// Its number in the outbox.
    pub id: i64,
    /// The recipient.
    pub to: String,
    /// What it says.
    pub content: MailContent,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it left by SMTP, if it did.
    pub sent_at: Option<Timestamp>,
}

/// Why a mail could not be handed over.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MailError {
    /// Another try may succeed.
    #[error("{0}")]
    Transient(String),
    /// Another try would be useless.
    #[error("{0}")]
    Permanent(String),
}

/// Hands mails over to the outside.
#[async_trait]
pub trait MailTransport: Send + Sync {
    /// Sends one. `Ok` only once the other side has taken it.
    async fn send(&self, mail: &QueuedMail) -> Result<(), MailError>;
}

/// Sends up to `limit` mails that are due and returns how many were tried. A mail that fails is tried again later,
/// at longer and longer intervals; none is dropped but by a refusal for good.
pub async fn deliver_due(
    app: &App,
    transport: &dyn MailTransport,
    limit: usize,
) -> StoreResult<usize> {
    let due = app.outbox.due(limit).await?;
    for mail in &due {
        match transport.send(mail).await {
            Ok(()) => app.outbox.mark_sent(mail.id).await?,
            Err(error) => {
                let retry_at = match &error {
                    MailError::Transient(_) => Some(app.clock.now() + backoff(mail.attempts)),
                    MailError::Permanent(_) => None,
                };
                tracing::warn!(mail_id = mail.id, retry = retry_at.is_some(), %error, "mail not sent");
                app.outbox
                    .mark_failed(mail.id, retry_at, error.to_string())
                    .await?;
            }
        }
    }
    Ok(due.len())
}

/// 2 s, 4 s, 8 s … up to 15 minutes.
fn backoff(attempts: u32) -> SignedDuration {
    SignedDuration::from_secs((2 << attempts.min(9)).min(900))
}
