//! How the mail is written that carries an account's verification token.

use goodpon_domain::business_time::BusinessZone;
use jiff::Timestamp;

use crate::ports::{BEFORE_TOKEN, MailContent};

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
