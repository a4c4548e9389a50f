//! The lists of a user's coupons, and their order (contract §3, Lists).

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    coupon::{Coupon, CouponStatus},
    template::{Template, TemplateStatus},
};

/// A coupon with its template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldCoupon {
    /// The coupon.
    pub coupon: Coupon,
    /// The template it is of.
    pub template: Arc<Template>,
}

impl HeldCoupon {
    fn is_in_hand(&self, now: Timestamp) -> bool {
        self.coupon.status == CouponStatus::Issued
            && !self.coupon.is_past_expiry(now)
            && self.template.status != TemplateStatus::Discarded
    }

    /// Returns whether the template's redeem limit allows one more redemption.
    pub fn is_redeemable(&self) -> bool {
        !self.template.is_redeemed_out()
    }

    /// Returns whether an order of that amount reaches the template's minimum.
    pub fn is_min_order_amount_reached(&self, order_amount: i64) -> bool {
        self.template
            .terms
            .min_order_amount
            .is_none_or(|minimum| order_amount >= minimum)
    }

    /// Orders by earliest expiry, coupons without one last; then by latest issue; then by id, descending.
    fn cmp_urgency(&self, other: &Self) -> Ordering {
        let key = |held: &Self| {
            let coupon = &held.coupon;
            (
                coupon.expires_at.is_none(),
                coupon.expires_at,
                Reverse(coupon.issued_at),
                Reverse(coupon.id),
            )
        };
        key(self).cmp(&key(other))
    }
}

/// Returns the coupons that are in the user's hand at `now`: those that can be redeemed first, each part by urgency.
pub fn in_hand(mut held: Vec<HeldCoupon>, now: Timestamp) -> Vec<HeldCoupon> {
    held.retain(|one| one.is_in_hand(now));
    held.sort_by(|a, b| {
        let redeemable = |one: &HeldCoupon| Reverse(one.is_redeemable());
        redeemable(a).cmp(&redeemable(b)).then(a.cmp_urgency(b))
    });
    held
}

/// Returns the coupons that can be redeemed at `now`: those whose minimum an order of `order_amount` reaches first, each
/// part by urgency.
pub fn available(mut held: Vec<HeldCoupon>, order_amount: i64, now: Timestamp) -> Vec<HeldCoupon> {
    held.retain(|one| one.is_in_hand(now) && one.is_redeemable());
    held.sort_by(|a, b| {
        let reached = |one: &HeldCoupon| Reverse(one.is_min_order_amount_reached(order_amount));
        reached(a).cmp(&reached(b)).then(a.cmp_urgency(b))
    });
    held
}
