//! Redemptions and their cancellation (contract §3).

use jiff::Timestamp;

use crate::{
    coupon::{Coupon, CouponStatus},
    id::{CouponId, MerchantId},
    ledger::{Amounts, CountDelta, CouponState, Decision, HistoryAction, Posting, Transition},
    template::{Template, TemplateStatus},
};

/// An order for which a coupon is to be redeemed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The shop's id of the user who orders, byte for byte.
    pub user_id: String,
    /// The order's amount in the merchant's currency unit: 0 or more.
    pub amount: i64,
    /// The order's id, byte for byte.
    pub id: String,
}

/// A redemption that was made. `final_price` = `original_price` − `discount_amount` ≥ 0, all in the merchant's currency
/// unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redemption {
    /// The coupon.
    pub coupon_id: CouponId,
    /// The amount taken off.
    pub discount_amount: i64,
    /// The order's amount.
    pub original_price: i64,
    /// The amount left to pay.
    pub final_price: i64,
    /// The order.
    pub order_id: String,
    /// The time of the redemption.
    pub redeemed_at: Timestamp,
}

/// Why a coupon is not redeemed, in the order in which the contract checks (§3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RedeemRefusal {
    /// There is no such coupon.
    CouponNotFound,
    /// Its template does not exist.
    TemplateNotFound,
    /// It belongs to another merchant.
    NotOwnedByMerchant,
    /// It belongs to another user.
    NotOwnedByUser,
    /// Its template is a draft or discarded, or the coupon itself is discarded.
    NotRedeemable,
    /// The order's amount is below the template's minimum.
    ConditionNotMet,
    /// It is redeemed already.
    AlreadyRedeemed,
    /// It is past its end.
    Expired,
    /// The template's redeem limit is reached.
    RedeemLimitReached,
}

/// Decides a redemption by `merchant` at `now`, given the coupon and its template as loaded.
///
/// # Errors
/// The first refusal that applies, in the order of [`RedeemRefusal`]; a coupon that is itself discarded is refused only
/// after one that is redeemed (contract §3, Redeem).
pub fn redeem(
    coupon: Option<&Coupon>,
    template: Option<&Template>,
    merchant: MerchantId,
    order: &Order,
    now: Timestamp,
) -> Result<Decision<Redemption>, RedeemRefusal> {
    let coupon = coupon.ok_or(RedeemRefusal::CouponNotFound)?;
    let template = template.ok_or(RedeemRefusal::TemplateNotFound)?;
    check_redemption(coupon, template, merchant, order, now)?;
    let discount_amount = template.terms.discount.amount_off(order.amount);
    let amounts = Amounts {
        order: Some(order.amount),
        discount: Some(discount_amount),
    };
    Ok(Decision {
        outcome: Redemption {
            coupon_id: coupon.id,
            discount_amount,
            original_price: order.amount,
            final_price: order.amount - discount_amount,
            order_id: order.id.clone(),
            redeemed_at: now,
        },
        posting: Posting {
            transitions: vec![Transition {
                order_id: Some(order.id.clone()),
                amounts,
                ..Transition::bare(HistoryAction::Redeem)
            }],
            state: CouponState {
                status: CouponStatus::Redeemed,
                order_id: Some(order.id.clone()),
            },
            counts: CountDelta { redeemed: 1 },
        },
    })
}

/// Refuses a redemption of a coupon that exists, for the first reason in the contract's order.
fn check_redemption(
    coupon: &Coupon,
    template: &Template,
    merchant: MerchantId,
    order: &Order,
    now: Timestamp,
) -> Result<(), RedeemRefusal> {
    if template.merchant_id != merchant || coupon.merchant_id != merchant {
        return Err(RedeemRefusal::NotOwnedByMerchant);
    }
    if coupon.user_id != order.user_id {
        return Err(RedeemRefusal::NotOwnedByUser);
    }
    if matches!(
        template.status,
        TemplateStatus::Draft | TemplateStatus::Discarded
    ) {
        return Err(RedeemRefusal::NotRedeemable);
    }
    let minimum = template.terms.min_order_amount;
    if minimum.is_some_and(|minimum| order.amount < minimum) {
        return Err(RedeemRefusal::ConditionNotMet);
    }
    match coupon.status {
        CouponStatus::Redeemed => return Err(RedeemRefusal::AlreadyRedeemed),
        CouponStatus::Discarded => return Err(RedeemRefusal::NotRedeemable),
        CouponStatus::Expired => return Err(RedeemRefusal::Expired),
        CouponStatus::Issued if coupon.is_past_expiry(now) => return Err(RedeemRefusal::Expired),
        CouponStatus::Issued => {}
    }
    if template.is_redeemed_out() {
        return Err(RedeemRefusal::RedeemLimitReached);
    }
    Ok(())
}

/// The input of a cancellation.
#[derive(Debug, Clone, Copy)]
pub struct CancelInput<'a> {
    /// The id of the redeemed order, byte for byte.
    pub order_id: &'a str,
    /// The reason that the shop gives.
    pub reason: &'a str,
}

/// A cancellation that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancellation {
    /// The coupon.
    pub coupon_id: CouponId,
    /// The coupon's state after it: issued, expired or discarded.
    pub status: CouponStatus,
    /// The time of the cancellation.
    pub canceled_at: Timestamp,
    /// The reason that the shop gave.
    pub reason: String,
}

/// Why a redemption is not cancelled, in the order in which the contract checks (§3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CancelRefusal {
    /// There is no such coupon.
    CouponNotFound,
    /// Its template does not exist.
    TemplateNotFound,
    /// It belongs to another merchant.
    NotOwnedByMerchant,
    /// It is not redeemed now, but it was before.
    AlreadyCancelled,
    /// It was never redeemed.
    NotAllowed,
    /// It is redeemed for another order.
    OrderIdMismatch,
}

/// Decides the cancellation of a redemption by `merchant` at `now`. It needs the id of the redeemed order; the template's
/// status does not matter. `redeemed` are the amounts of the redemption's entry.
///
/// The coupon is issued again. If it is past its end meanwhile, it expires at once; otherwise, if its template was
/// discarded, it is discarded at once (contract §3, Cancel).
///
/// # Errors
/// The first refusal that applies, in the order of [`CancelRefusal`].
pub fn cancel(
    coupon: Option<&Coupon>,
    template: Option<&Template>,
    merchant: MerchantId,
    wish: CancelInput<'_>,
    redeemed: Amounts,
    now: Timestamp,
) -> Result<Decision<Cancellation>, CancelRefusal> {
    let coupon = coupon.ok_or(CancelRefusal::CouponNotFound)?;
    let template = template.ok_or(CancelRefusal::TemplateNotFound)?;
    if template.merchant_id != merchant || coupon.merchant_id != merchant {
        return Err(CancelRefusal::NotOwnedByMerchant);
    }
    match (coupon.status, coupon.order_id.as_deref()) {
        (CouponStatus::Redeemed, Some(order)) if order == wish.order_id => {}
        (CouponStatus::Redeemed, _) => return Err(CancelRefusal::OrderIdMismatch),
        (_, Some(_)) => return Err(CancelRefusal::AlreadyCancelled),
        (_, None) => return Err(CancelRefusal::NotAllowed),
    }
    let mut transitions = vec![Transition {
        action: HistoryAction::CancelRedemption,
        order_id: Some(wish.order_id.to_owned()),
        reason: Some(wish.reason.to_owned()),
        amounts: redeemed.for_cancellation(),
    }];
    if coupon.is_past_expiry(now) {
        transitions.push(Transition::bare(HistoryAction::Expire));
    } else if template.status == TemplateStatus::Discarded {
        transitions.push(Transition {
            reason: template.discard_reason.clone(),
            ..Transition::bare(HistoryAction::Discard)
        });
    }
    let last = transitions.last().map(|last| last.action);
    let status = last.map_or(CouponStatus::Issued, HistoryAction::leads_to);
    Ok(Decision {
        outcome: Cancellation {
            coupon_id: coupon.id,
            status,
            canceled_at: now,
            reason: wish.reason.to_owned(),
        },
        posting: Posting {
            transitions,
            state: CouponState {
                status,
                order_id: coupon.order_id.clone(),
            },
            counts: CountDelta { redeemed: -1 },
        },
    })
}
