//! A user's coupon, and who gets one.

use jiff::Timestamp;

use crate::{
    business_time::BusinessZone,
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

/// How an issue ends.
pub type IssueOutcome = Result<(), IssueRefusal>;

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
