//! The outbox of mails, and the transport that sends them.

use async_trait::async_trait;
use goodpon_trace::TraceContext;
use jiff::Timestamp;

use super::StoreResult;
#[cfg(doc)]
use super::Upkeep;

/// The content of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailContent {
    /// The subject, one line.
    pub subject: String,
    /// The plain text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

/// The part of a verification link that precedes its token.
pub(crate) const LINK_BEFORE_TOKEN: &str = "/verify?token=";

/// The number of hex digits of a token.
const TOKEN_DIGITS: usize = 32;

impl MailContent {
    /// Returns the mail with the verification tokens in its links replaced by stars.
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
    let mut parts = text.split(LINK_BEFORE_TOKEN);
    let mut blanked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        blanked.push_str(LINK_BEFORE_TOKEN);
        // A shorter run of digits is not a token, but is blanked too; of a longer one the first digits are.
        let stars = digits.min(TOKEN_DIGITS);
        blanked.push_str(&"*".repeat(stars));
        blanked.push_str(&part[stars..]);
    }
    blanked
}

/// A mail that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedMail {
    /// Its number in the outbox.
    pub id: i64,
    /// The recipient.
    pub to: String,
    /// Its content.
    pub content: MailContent,
    /// The time at which it was written.
    pub created_at: Timestamp,
    /// The number of failed attempts to send it.
    pub attempts: u32,
    /// The network of the request that caused it, as text; `None` if it is not known.
    pub origin: Option<String>,
    /// The trace of the request that caused it. `None` if that was not sampled.
    pub trace: Option<TraceContext>,
}

/// The mails that are due but not sent yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// The number of mails that are due.
    pub due: i64,
    /// The earliest time at which one of them became due.
    pub oldest: Option<Timestamp>,
}

/// A mail as the mailbox shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMail {
    /// Its number in the outbox.
    pub id: i64,
    /// The recipient.
    pub to: String,
    /// Its content.
    pub content: MailContent,
    /// The time at which it was written.
    pub created_at: Timestamp,
    /// The time at which a mail server took it; `None` if none did.
    pub sent_at: Option<Timestamp>,
    /// True if it is to be tried, or tried again.
    pub waiting: bool,
    /// The number of failed attempts to send it, including those without a mail server.
    pub attempts: u32,
    /// Why the last attempt failed, or why there are no more.
    pub error: Option<String>,
}

impl StoredMail {
    /// Returns its state.
    #[must_use]
    pub fn state(&self) -> MailState {
        match (self.sent_at, self.waiting) {
            (Some(_), _) => MailState::Sent,
            (None, true) => MailState::Waiting,
            (None, false) => MailState::GivenUp,
        }
    }
}

/// The state of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailState {
    /// It is to be tried, or tried again.
    Waiting,
    /// The mail server took it.
    Sent,
    /// It is not tried any more, and stays in the mailbox: it was refused for good, is too old, was superseded, or no
    /// mail server is configured.
    GivenUp,
}

/// Every mail: pending, sent or given up. A pending verification mail is superseded by a newer one to the same address,
/// and by a verification, because both void its token. The token in a mail is blanked once it is void or spent;
/// [`Upkeep::clean_up`] blanks it once it has expired and the mail is not pending any more. A mail that is written in the
/// context of a trace ([`goodpon_trace::current`]) keeps it, so that its delivery belongs to that trace.
#[async_trait]
pub trait Mails: Send + Sync {
    /// Returns up to `limit` mails whose next attempt is due, oldest first.
    async fn due(&self, limit: usize) -> StoreResult<Vec<QueuedMail>>;
    /// Counts the mails that are due.
    async fn backlog(&self) -> StoreResult<Backlog>;
    /// Stores that a mail server took the mail.
    async fn mark_sent(&self, id: i64) -> StoreResult<()>;
    /// Stores a failed attempt of a pending mail, and the time of the next attempt; without one the mail is given up, but
    /// stays listed.
    async fn mark_failed(
        &self,
        id: i64,
        retry_at: Option<Timestamp>,
        error: String,
    ) -> StoreResult<()>;
    /// Returns up to `limit` mails, to one address or to all, newest first.
    async fn list(&self, to: Option<&str>, limit: usize) -> StoreResult<Vec<StoredMail>>;
}

/// Why a mail was not sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MailError {
    /// Another attempt may succeed.
    #[error("{0}")]
    Transient(String),
    /// Another attempt cannot succeed.
    #[error("{0}")]
    Permanent(String),
}

/// Sends mails to a mail server.
#[async_trait]
pub trait MailTransport: Send + Sync {
    /// Sends a mail. Returns `Ok` only once the mail server has taken it.
    async fn send(&self, mail: &QueuedMail) -> Result<(), MailError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_blanked_in_every_link() {
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
