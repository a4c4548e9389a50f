//! Coupons once they are issued.

use async_trait::async_trait;
use goodpon_domain::{
    id::{CouponId, MerchantId},
    redemption::{CancelRefusal, Cancellation, Order, RedeemRefusal, Redemption},
    wallet::HeldCoupon,
};

use super::StoreResult;
use crate::idempotency::{Idempotency, Outcome, Peek};

/// A wish to redeem.
#[derive(Debug, Clone)]
pub struct RedeemRequest {
    /// Whose shop asks.
    pub merchant_id: MerchantId,
    /// Which coupon.
    pub coupon_id: CouponId,
    /// For which order.
    pub order: Order,
}

/// How a redemption ends.
pub type RedeemOutcome = Result<Redemption, RedeemRefusal>;

/// A wish to cancel a redemption.
#[derive(Debug, Clone)]
pub struct CancelRequest {
    /// Whose shop asks.
    pub merchant_id: MerchantId,
    /// Which coupon.
    pub coupon_id: CouponId,
    /// Of which order.
    pub order_id: String,
    /// Why.
    pub reason: String,
}

/// How a cancellation ends.
pub type CancelOutcome = Result<Cancellation, CancelRefusal>;

/// Coupons once they are issued.
#[async_trait]
pub trait Coupons: Send + Sync {
    /// The user's coupons of this merchant with their templates: at least those in state ISSUED. None at all are listed
    /// of a user who ever got more than `most`.
    async fn held(
        &self,
        merchant: MerchantId,
        user_id: &str,
        most: usize,
    ) -> StoreResult<Option<Vec<HeldCoupon>>>;
    /// Redeems a coupon, with its history entry, counters and remembered answer as one.
    async fn redeem(
        &self,
        request: RedeemRequest,
        idempotency: Option<Idempotency<RedeemOutcome>>,
    ) -> StoreResult<Outcome<RedeemOutcome>>;
    /// Cancels a redemption, likewise as one.
    async fn cancel(
        &self,
        request: CancelRequest,
        idempotency: Option<Idempotency<CancelOutcome>>,
    ) -> StoreResult<Outcome<CancelOutcome>>;
    /// What is known of a redemption's or cancellation's idempotency key (by its digests), changing nothing.
    async fn peek(&self, key: [u8; 16], body: [u8; 16]) -> StoreResult<Peek>;
}
