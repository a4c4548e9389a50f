//! A user's coupon: issue, redemption, cancellation, expiry and discard.

use jiff::Timestamp;

use crate::{
    history::HistoryAction,
    id::{CouponId, MerchantId, TemplateId},
    template::{Owned, Template, TemplateStatus},
};

/// The state of a coupon (contract §1, Enums).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CouponStatus {
    /// In the user's hand.
    Issued,
    /// Used for an order.
    Redeemed,
    /// Its time has passed.
    Expired,
    /// Withdrawn with its template.
    Discarded,
}

/// A coupon of one template in one user's hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coupon {
    /// Its id.
    pub id: CouponId,
    /// The merchant whose template it is of.
    pub merchant_id: MerchantId,
    /// Its template.
    pub template_id: TemplateId,
    /// Whose it is, byte for byte as the shop gave it.
    pub user_id: String,
    /// Its state as stored; past `expires_at` an issued one is expired, swept or not.
    pub status: CouponStatus,
    /// When its issue was accepted.
    pub issued_at: Timestamp,
    /// When it ends (exclusive), if ever.
    pub expires_at: Option<Timestamp>,
    /// The order of its last redemption: present exactly if it ever was redeemed.
    pub order_id: Option<String>,
}

impl Coupon {
    /// Whether its time has passed at `now`.
    pub fn is_past_expiry(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// Why a coupon is not issued, in the order in which the contract checks (§3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IssueRefusal {
    /// No such template.
    TemplateNotFound,
    /// Another merchant's template.
    NotOwnedByMerchant,
    /// Before the period's start or from its end on.
    NotIssuablePeriod,
    /// Not published, expired or discarded.
    NotIssuable,
    /// The user has, or had, one.
    AlreadyIssued,
    /// All are given out.
    SoldOut,
}

/// Decides what of an issue depends on the template alone; the rest is [`take_place`].
pub fn admit(template: Owned<&Template>, now: Timestamp) -> Result<&Template, IssueRefusal> {
    let template = match template {
        Owned::Absent => return Err(IssueRefusal::TemplateNotFound),
        Owned::Foreign => return Err(IssueRefusal::NotOwnedByMerchant),
        Owned::Mine(template) => template,
    };
    match period_phase(template, now) {
        Phase::Open => {}
        Phase::NotStarted | Phase::Ended => return Err(IssueRefusal::NotIssuablePeriod),
    }
    if template.status_at(now) != TemplateStatus::Issuable {
        return Err(IssueRefusal::NotIssuable);
    }
    Ok(template)
}

/// Decides first come, first served: one coupon a user for ever, never more than the limit in all.
/// The redeem limit is not looked at.
pub fn take_place(
    template: &Template,
    user_has_one: bool,
    issue_count: i64,
) -> Result<(), IssueRefusal> {
    if user_has_one {
        return Err(IssueRefusal::AlreadyIssued);
    }
    if template.is_sold_out(issue_count) {
        return Err(IssueRefusal::SoldOut);
    }
    Ok(())
}

enum Phase {
    NotStarted,
    Open,
    Ended,
}

fn period_phase(template: &Template, now: Timestamp) -> Phase {
    let period = &template.terms.period;
    if now < period.issue_start_at {
        Phase::NotStarted
    } else if period.issue_end_at.is_some_and(|end| end <= now) {
        Phase::Ended
    } else {
        Phase::Open
    }
}

/// Whether a user could get a coupon now, the first that holds (contract §3, issuanceStatus).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IssuanceStatus {
    /// The period has not begun.
    PeriodNotStarted,
    /// The period is over.
    PeriodEnded,
    /// This user has, or had, one.
    AlreadyIssuedByUser,
    /// All are given out.
    MaxIssueCountExceeded,
    /// As many as may be are redeemed.
    MaxRedeemCountExceeded,
    /// Yes.
    Available,
}

/// Tells a user how the issue of a coupon of `template` stands.
pub fn issuance_status(
    template: &Template,
    user_has_one: bool,
    issue_count: i64,
    now: Timestamp,
) -> IssuanceStatus {
    match period_phase(template, now) {
        Phase::NotStarted => IssuanceStatus::PeriodNotStarted,
        Phase::Ended => IssuanceStatus::PeriodEnded,
        Phase::Open if user_has_one => IssuanceStatus::AlreadyIssuedByUser,
        Phase::Open if template.is_sold_out(issue_count) => IssuanceStatus::MaxIssueCountExceeded,
        Phase::Open if template.is_redeemed_out() => IssuanceStatus::MaxRedeemCountExceeded,
        Phase::Open => IssuanceStatus::Available,
    }
}

/// An order for which a coupon is to be redeemed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Who orders.
    pub user_id: String,
    /// The order's amount, 0 or more.
    pub amount: i64,
    /// The order's id, byte for byte.
    pub id: String,
}

/// A redemption that went through. `final_price` = `original_price` − `discount_amount` ≥ 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redemption {
    /// The coupon.
    pub coupon_id: CouponId,
    /// What was taken off.
    pub discount_amount: i64,
    /// The order's amount.
    pub original_price: i64,
    /// What is left to pay.
    pub final_price: i64,
    /// The order.
    pub order_id: String,
    /// When.
    pub redeemed_at: Timestamp,
}

/// Why a coupon is not redeemed, in the order in which the contract checks (§3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RedeemRefusal {
    /// No such coupon.
    CouponNotFound,
    /// Its template is gone.
    TemplateNotFound,
    /// Another merchant's.
    NotOwnedByMerchant,
    /// Another user's.
    NotOwnedByUser,
    /// Its template is a draft or discarded, or it is itself discarded.
    NotRedeemable,
    /// The order is below the least amount.
    ConditionNotMet,
    /// It is in the redeemed state.
    AlreadyRedeemed,
    /// Its time has passed.
    Expired,
    /// As many as may be are redeemed.
    RedeemLimitReached,
}

/// Decides a redemption by `merchant` of a coupon and its template as loaded.
pub fn redeem(
    coupon: Option<&Coupon>,
    template: Option<&Template>,
    merchant: MerchantId,
    order: &Order,
    now: Timestamp,
) -> Result<Redemption, RedeemRefusal> {
    let coupon = coupon.ok_or(RedeemRefusal::CouponNotFound)?;
    let template = template.ok_or(RedeemRefusal::TemplateNotFound)?;
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
    let discount_amount = template.terms.discount.amount_off(order.amount);
    Ok(Redemption {
        coupon_id: coupon.id,
        discount_amount,
        original_price: order.amount,
        final_price: order.amount - discount_amount,
        order_id: order.id.clone(),
        redeemed_at: now,
    })
}

/// A cancellation that went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancellation {
    /// The coupon.
    pub coupon_id: CouponId,
    /// Its state from now on: issued, expired or discarded.
    pub status: CouponStatus,
    /// When.
    pub canceled_at: Timestamp,
    /// Why, as the shop says.
    pub reason: String,
}

impl Cancellation {
    /// The entry that follows CANCEL_REDEMPTION where the coupon did not become issued again.
    pub fn aftermath(&self) -> Option<HistoryAction> {
        match self.status {
            CouponStatus::Expired => Some(HistoryAction::Expire),
            CouponStatus::Discarded => Some(HistoryAction::Discard),
            CouponStatus::Issued | CouponStatus::Redeemed => None,
        }
    }
}

/// Why a redemption is not cancelled, in the order in which the contract checks (§3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CancelRefusal {
    /// No such coupon.
    CouponNotFound,
    /// Its template is gone.
    TemplateNotFound,
    /// Another merchant's.
    NotOwnedByMerchant,
    /// Not redeemed now, but it was before.
    AlreadyCancelled,
    /// Not redeemed, and it never was.
    NotAllowed,
    /// Redeemed for another order.
    OrderIdMismatch,
}

/// Decides the cancellation of a redemption: only with the order's id, whatever the template's status.
/// A coupon whose time passed meanwhile becomes expired, also where its template was discarded too.
pub fn cancel(
    coupon: Option<&Coupon>,
    template: Option<&Template>,
    merchant: MerchantId,
    order_id: &str,
    reason: String,
    now: Timestamp,
) -> Result<Cancellation, CancelRefusal> {
    let coupon = coupon.ok_or(CancelRefusal::CouponNotFound)?;
    let template = template.ok_or(CancelRefusal::TemplateNotFound)?;
    if template.merchant_id != merchant || coupon.merchant_id != merchant {
        return Err(CancelRefusal::NotOwnedByMerchant);
    }
    match (coupon.status, &coupon.order_id) {
        (CouponStatus::Redeemed, Some(order)) if order == order_id => {}
        (CouponStatus::Redeemed, _) => return Err(CancelRefusal::OrderIdMismatch),
        (_, Some(_)) => return Err(CancelRefusal::AlreadyCancelled),
        (_, None) => return Err(CancelRefusal::NotAllowed),
    }
    let status = if coupon.is_past_expiry(now) {
        CouponStatus::Expired
    } else if template.status == TemplateStatus::Discarded {
        CouponStatus::Discarded
    } else {
        CouponStatus::Issued
    };
    Ok(Cancellation {
        coupon_id: coupon.id,
        status,
        canceled_at: now,
        reason,
    })
}
