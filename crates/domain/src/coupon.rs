//! Coupons, and the decision whether a user is issued one.

use jiff::Timestamp;

use crate::{
    business_time::BusinessZone,
    id::{CouponId, MerchantId, TemplateId},
    template::{Owned, Template, TemplateStatus},
};

/// The state of a coupon (contract §1, Enums).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CouponStatus {
    /// In the user's hand, to be redeemed.
    Issued,
    /// Used for an order.
    Redeemed,
    /// Past its `expires_at`.
    Expired,
    /// Withdrawn because its template was discarded.
    Discarded,
}

/// A coupon of one template, issued to one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coupon {
    /// Its id.
    pub id: CouponId,
    /// The merchant that owns its template.
    pub merchant_id: MerchantId,
    /// Its template.
    pub template_id: TemplateId,
    /// The shop's id of the user who has it, byte for byte as the shop sent it.
    pub user_id: String,
    /// Its state as stored. One that is stored as issued counts as expired from `expires_at` on, whether or not the sweep
    /// has reached it.
    pub status: CouponStatus,
    /// The time at which its issue was accepted.
    pub issued_at: Timestamp,
    /// Its exclusive end; `None` if it never expires.
    pub expires_at: Option<Timestamp>,
    /// The order of its last redemption, kept when that is cancelled: `None` exactly if it was never redeemed.
    pub order_id: Option<String>,
}

impl Coupon {
    /// A coupon of `template`, ISSUED at `issued_at`.
    pub fn issued(
        id: CouponId,
        template: &Template,
        user_id: &str,
        issued_at: Timestamp,
        zone: &BusinessZone,
    ) -> Self {
        Self {
            id,
            merchant_id: template.merchant_id,
            template_id: template.id,
            user_id: user_id.to_owned(),
            status: CouponStatus::Issued,
            issued_at,
            expires_at: template.terms.period.expiry(issued_at, zone),
            order_id: None,
        }
    }

    /// Returns whether `now` is at or past the coupon's end.
    pub fn is_past_expiry(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// Why a coupon is not issued, in the order in which the contract checks (§3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IssueRefusal {
    /// There is no such template.
    TemplateNotFound,
    /// The template belongs to another merchant.
    NotOwnedByMerchant,
    /// The issue period has not begun, or is over.
    NotIssuablePeriod,
    /// The template is not published, has expired or was discarded.
    NotIssuable,
    /// The user was issued a coupon of this template before, whatever became of it.
    AlreadyIssued,
    /// The template's issue limit is reached.
    SoldOut,
}

/// A coupon that was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issued {
    /// Its id. `None` where only the answer to its idempotency key is known, which a version before kept without the id.
    pub coupon_id: Option<CouponId>,
}

/// The outcome of an issue.
pub type IssueOutcome = Result<Issued, IssueRefusal>;

/// Decides the part of an issue that depends on the template and the time alone; [`check_user_and_limit`] decides the rest.
///
/// # Errors
/// The first refusal that applies, in the order of [`IssueRefusal`].
pub fn check_template(
    template: Owned<&Template>,
    now: Timestamp,
) -> Result<&Template, IssueRefusal> {
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

/// Decides the part of an issue that depends on earlier issues: each user gets one coupon of a template, ever, and no
/// more are issued than the limit allows. `issue_count` is the number issued so far. The redeem limit does not matter
/// here (contract §3, Issue).
///
/// # Errors
/// [`IssueRefusal::AlreadyIssued`], or else [`IssueRefusal::SoldOut`].
pub fn check_user_and_limit(
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

/// The answer to whether a user could be issued a coupon now: the first state that applies, in this order (contract §3,
/// issuanceStatus).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IssuanceStatus {
    /// The issue period has not begun.
    PeriodNotStarted,
    /// The issue period is over.
    PeriodEnded,
    /// The user was issued a coupon of this template before.
    AlreadyIssuedByUser,
    /// The issue limit is reached.
    MaxIssueCountExceeded,
    /// The redeem limit is reached.
    MaxRedeemCountExceeded,
    /// A coupon can be issued.
    Available,
}

/// Returns the issuance status that a user is shown for `template` at `now`. `issue_count` is the number of coupons
/// issued so far.
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
