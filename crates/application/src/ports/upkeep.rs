//! What is due by the clock.

use async_trait::async_trait;

use super::StoreResult;

/// What is due by the clock. Every call does at most one small batch, may be repeated and may be cut short;
/// it returns how much it did, or 1 where it only found nothing to do in what it looked at and has more to look at:
/// 0 alone means that nothing more is due.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// ISSUABLE templates past their end become EXPIRED.
    async fn expire_templates(&self, limit: usize) -> StoreResult<usize>;
    /// ISSUED coupons past their end become EXPIRED, with an EXPIRE entry each.
    async fn expire_coupons(&self, limit: usize) -> StoreResult<usize>;
    /// ISSUED coupons of discarded templates become DISCARDED, with a DISCARD entry each.
    async fn discard_coupons(&self, limit: usize) -> StoreResult<usize>;
    /// Old idempotency records, tokens, mails and accounts that nobody verified are deleted, and tokens in mails whose
    /// time is over are blanked.
    async fn clean_up(&self, limit: usize) -> StoreResult<usize>;
}
