//! Mails that wait to be sent, what became of others, and the way out.

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreResult;
#[cfg(doc)]
use super::Upkeep;

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

/// What stands before the token in a link.
pub(crate) const BEFORE_TOKEN: &str = "/verify?token=";

/// How many hex digits a token has.
const TOKEN_DIGITS: usize = 32;

impl MailContent {
    /// The same mail with stars in place of the verification token in its links.
    #[must_use]
    pub fn without_token(&self) -> Self {
        Self {
            subject: self.subject.clone(),
            text: without_token(&self.text),
            html: without_token(&self.html),
        }
    }
}

fn without_token(text: &str) -> String {
    let mut parts = text.split(BEFORE_TOKEN);
    let mut blanked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        blanked.push_str(BEFORE_TOKEN);
        // As many as digits are there: what is shorter or longer is no token, but surely nothing to keep either.
        let stars = digits.min(TOKEN_DIGITS);
        blanked.push_str(&"*".repeat(stars));
        blanked.push_str(&part[stars..]);
    }
    blanked
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
    /// When it was written.
    pub created_at: Timestamp,
    /// How often sending it failed so far.
    pub attempts: u32,
    /// The network whose request wrote it, if that is known.
    pub origin: Option<String>,
}

/// How much waits to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// How many mails are due.
    pub due: i64,
    /// Since when the one is due that waits longest.
    pub oldest: Option<Timestamp>,
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
    /// Whether it is to be tried, or tried again.
    pub waiting: bool,
    /// How often sending it failed, for want of a mail server too.
    pub attempts: u32,
    /// Why the last try failed, or why there is none any more.
    pub error: Option<String>,
}

impl StoredMail {
    /// What became of it.
    #[must_use]
    pub fn state(&self) -> MailState {
        match (self.sent_at, self.waiting) {
            (Some(_), _) => MailState::Sent,
            (None, true) => MailState::Waiting,
            (None, false) => MailState::GivenUp,
        }
    }
}

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailState {
    /// It is to be tried, or tried again.
    Waiting,
    /// The mail server took it.
    Sent,
    /// It stays in the mailbox and is not tried any more: refused for good, too old, superseded,
    /// or without a mail server to send it by.
    GivenUp,
}

/// Mails that wait to be sent, and those that were or never will be. A new verification mail supersedes the one
/// to the same address that still waits, as does a verification: its token is void. The token in a mail is blanked once
/// it is void or spent, and by [`Upkeep::clean_up`] once its time is over and the mail does not wait any more.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Up to `limit` mails whose next try is due, oldest first.
    async fn due(&self, limit: usize) -> StoreResult<Vec<QueuedMail>>;
    /// How much is due.
    async fn backlog(&self) -> StoreResult<Backlog>;
    /// Notes that it left.
    async fn mark_sent(&self, id: i64) -> StoreResult<()>;
    /// Notes a failed try of a mail that still waits; `retry_at` is `None` where another would be useless:
    /// it stays listed.
    async fn mark_failed(
        &self,
        id: i64,
        retry_at: Option<Timestamp>,
        error: String,
    ) -> StoreResult<()>;
    /// The mails to an address, or all, newest first.
    async fn list(&self, to: Option<&str>, limit: usize) -> StoreResult<Vec<StoredMail>>;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_blanked_wherever_its_link_stands() {
        let token = "0123456789abcdef0123456789abcdef";
        let text =
            format!("a {token} https://x/verify?token={token}\nhttps://x/verify?token={token}<br>");
        let content = MailContent {
            subject: "s".into(),
            text: text.clone(),
            html: format!("<a href=\"https://x/verify?token={token}\">"),
        };
        let blanked = content.without_token();
        assert_eq!(
            blanked.text,
            text.replace(&format!("={token}"), &format!("={}", "*".repeat(32))),
        );
        assert!(!blanked.html.contains(token) && blanked.html.ends_with("**\">"));
        assert_eq!(blanked.without_token(), blanked);
        let plain = MailContent {
            subject: String::new(),
            text: "가/verify?token=가".into(),
            html: String::new(),
        };
        assert_eq!(plain.without_token(), plain);
    }
}
