//! The mail that carries an account's verification token.

use goodpon_domain::business_time::BusinessZone;
use jiff::Timestamp;

use crate::ports::{LINK_BEFORE_TOKEN, MailContent};

/// The data of a sign-up that its verification mail mentions. The address may be a stranger's, so the mail repeats
/// nothing else that was typed at sign-up (contract §2).
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// The address that was typed.
    pub address: &'a str,
    /// The time of the sign-up.
    pub signed_up_at: Timestamp,
}

/// Writes verification mails.
#[derive(Debug, Clone)]
pub struct VerificationMail {
    /// The URL to which `/verify?token=…` is appended.
    pub link_base: String,
    /// Words the mail to an address that signed up at a local time, with a link.
    pub compose: fn(address: &str, signed_up_at: &str, link: &str) -> MailContent,
}

impl VerificationMail {
    /// Returns the mail that carries `token`.
    pub fn write(&self, zone: &BusinessZone, notice: Notice<'_>, token: &str) -> MailContent {
        let base = self.link_base.trim_end_matches('/');
        let link = format!("{base}{LINK_BEFORE_TOKEN}{token}");
        let time = zone.local(notice.signed_up_at).strftime("%Y-%m-%d %H:%M");
        let signed_up_at = format!("{time} ({})", zone.name());
        (self.compose)(notice.address, &signed_up_at, &link)
    }
}
