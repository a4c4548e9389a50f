//! Mail: written into the outbox by use cases, sent from there by a transport.

use async_trait::async_trait;
use goodpon_domain::business_time::BusinessZone;
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

/// Of what the verification mail gives notice. Nothing else that was typed at sign-up stands in it: it goes to an
/// address that may be a stranger's.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// The address that was typed.
    pub address: &'a str,
    /// When.
    pub signed_up_at: Timestamp,
}

/// How the verification mail is written.
#[derive(Debug, Clone)]
pub struct VerificationMail {
    /// What `/verify?token=…` is appended to.
    pub link_base: String,
    /// Writes the mail to that address, which signed up at that local time, with that link.
    pub compose: fn(address: &str, signed_up_at: &str, link: &str) -> MailContent,
}

/// What stands before the token in a link.
const BEFORE_TOKEN: &str = "/verify?token=";

/// How many hex digits a token has.
const TOKEN_DIGITS: usize = 32;

impl VerificationMail {
    /// The mail that carries `token`.
    pub fn write(&self, zone: &BusinessZone, notice: Notice<'_>, token: &str) -> MailContent {
        let base = self.link_base.trim_end_matches('/');
        let link = format!("{base}{BEFORE_TOKEN}{token}");
        let time = zone.local(notice.signed_up_at).strftime("%Y-%m-%d %H:%M");
        let signed_up_at = format!("{time} ({})", zone.name());
        (self.compose)(notice.address, &signed_up_at, &link)
    }
}

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

/// How long a mail is tried while the mail server takes none. Beyond that it says nothing of use any more,
/// and stays in the mailbox.
pub const TRIED_FOR: SignedDuration = SignedDuration::from_hours(24);

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
        app.outbox.mark_failed(mail.id, None, reason).await?;
        return Ok(Delivery::GivenUp);
    }
    let Err(error) = transport.send(mail).await else {
        app.outbox.mark_sent(mail.id).await?;
        return Ok(Delivery::Sent);
    };
    let retry_at = match &error {
        MailError::Transient(_) => Some(app.clock.now() + backoff(mail.attempts)),
        MailError::Permanent(_) => None,
    };
    // The last word is that of the server, not that of the clock.
    let retry_at = retry_at.filter(|at| *at < given_up_at);
    tracing::warn!(mail_id = mail.id, retry = retry_at.is_some(), %error, "mail not sent");
    app.outbox
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
    let due = app.outbox.due(limit).await?;
    for mail in &due {
        let reason = "no mail server is configured (smtp-url)".to_owned();
        app.outbox.mark_failed(mail.id, None, reason).await?;
    }
    Ok(due.len())
}

/// 2 s, 4 s, 8 s … up to 15 minutes.
fn backoff(attempts: u32) -> SignedDuration {
    SignedDuration::from_secs((2 << attempts.min(9)).min(900))
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
