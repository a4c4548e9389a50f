//! The lists of coupons in a user's hand, and their order (contract §3, Lists).

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

    /// Whether the template's redeem limit leaves it a place.
    pub fn is_redeemable(&self) -> bool {
        !self.template.is_redeemed_out()
    }

    /// Whether an order of that amount is large enough.
    pub fn is_min_order_amount_reached(&self, order_amount: i64) -> bool {
        self.template
            .terms
            .min_order_amount
            .is_none_or(|minimum| order_amount >= minimum)
    }

    /// Earliest expiry first, none last; then latest issue; then id descending.
    fn urgency(&self, other: &Self) -> Ordering {
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

/// All coupons in the user's hand at `now`: redeemable ones first, then by urgency.
pub fn in_hand(mut held: Vec<HeldCoupon>, now: Timestamp) -> Vec<HeldCoupon> {
    held.retain(|one| one.is_in_hand(now));
    held.sort_by(|a, b| {
        let redeemable = |one: &HeldCoupon| Reverse(one.is_redeemable());
        redeemable(a).cmp(&redeemable(b)).then(a.urgency(b))
    });
    held
}

/// Those of them that can be redeemed now: ones whose least order amount is reached first, then by urgency.
pub fn available(mut held: Vec<HeldCoupon>, order_amount: i64, now: Timestamp) -> Vec<HeldCoupon> {
    held.retain(|one| one.is_in_hand(now) && one.is_redeemable());
    held.sort_by(|a, b| {
        let reached = |one: &HeldCoupon| Reverse(one.is_min_order_amount_reached(order_amount));
        reached(a).cmp(&reached(b)).then(a.urgency(b))
    });
    held
}
