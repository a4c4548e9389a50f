//! Coupons once they are issued.

use async_trait::async_trait;
use goodpon_domain::{
    id::{CouponId, MerchantId},
    redemption::{CancelRefusal, Cancellation, Order, RedeemRefusal, Redemption},
    wallet::HeldCoupon,
};

use super::StoreResult;
use crate::idempotency::{Idempotency, Outcome, Peek};

/// A request to redeem a coupon.
#[derive(Debug, Clone)]
pub struct RedeemRequest {
    /// The merchant whose shop asks.
    pub merchant_id: MerchantId,
    /// The coupon.
    pub coupon_id: CouponId,
    /// The order.
    pub order: Order,
}

/// The outcome of a redemption.
pub type RedeemOutcome = Result<Redemption, RedeemRefusal>;

/// A request to cancel a redemption.
#[derive(Debug, Clone)]
pub struct CancelRequest {
    /// The merchant whose shop asks.
    pub merchant_id: MerchantId,
    /// The coupon.
    pub coupon_id: CouponId,
    /// The id of the redeemed order.
    pub order_id: String,
    /// The reason that the shop gives.
    pub reason: String,
}

/// The outcome of a cancellation.
pub type CancelOutcome = Result<Cancellation, CancelRefusal>;

/// Coupons once they are issued.
#[async_trait]
pub trait Coupons: Send + Sync {
    /// Returns the user's coupons of this merchant with their templates: at least those in state ISSUED, others perhaps.
    /// Returns `None` if the user was ever issued more than `max` coupons of this merchant.
    async fn held(
        &self,
        merchant: MerchantId,
        user_id: &str,
        max: usize,
    ) -> StoreResult<Option<Vec<HeldCoupon>>>;
    /// Redeems a coupon. Its state, history entry, counters and stored answer are written in one transaction.
    async fn redeem(
        &self,
        request: RedeemRequest,
        idempotency: Option<Idempotency<RedeemOutcome>>,
    ) -> StoreResult<Outcome<RedeemOutcome>>;
    /// Cancels a redemption, in one transaction likewise.
    async fn cancel(
        &self,
        request: CancelRequest,
        idempotency: Option<Idempotency<CancelOutcome>>,
    ) -> StoreResult<Outcome<CancelOutcome>>;
    /// Looks the idempotency key of a redemption or cancellation up by its digests; changes nothing.
    async fn peek(&self, key: [u8; 16], body: [u8; 16]) -> StoreResult<Peek>;
}
