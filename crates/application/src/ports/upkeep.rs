//! Work that is due by the clock.

use async_trait::async_trait;
use jiff::SignedDuration;

use super::StoreResult;

/// The age at which [`Upkeep::clean_up`] deletes a verification token: a day after the last moment at which it can be
/// spent, so that the link of a spent token can say so.
pub const TOKEN_RETENTION: SignedDuration = SignedDuration::from_mins(24 * 60 + 30);

/// The time for which a mail stays in the mailbox, counted from when it was sent, or else written.
pub const MAIL_RETENTION: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Work that is due by the clock. Each call changes at most `limit` rows; it may be repeated, and may be cut short at any
/// point. It returns the number of rows that it changed, or 1 if it changed none but has more rows to look at: 0 alone means
/// that nothing more is due.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Sets ISSUABLE templates that are past their end to EXPIRED.
    async fn expire_templates(&self, limit: usize) -> StoreResult<usize>;
    /// Sets ISSUED coupons that are past their end to EXPIRED, with an EXPIRE entry each.
    async fn expire_coupons(&self, limit: usize) -> StoreResult<usize>;
    /// Sets ISSUED coupons of discarded templates to DISCARDED, with a DISCARD entry each.
    async fn discard_coupons(&self, limit: usize) -> StoreResult<usize>;
    /// Deletes old idempotency records, tokens, mails and accounts that were not verified in time, and blanks the
    /// expired tokens in mails.
    async fn clean_up(&self, limit: usize) -> StoreResult<usize>;
}
