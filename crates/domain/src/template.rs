//! Coupon templates: the terms that a merchant writes once and its shop issues coupons by.

use jiff::{Timestamp, civil::Date};

use crate::{
    business_time::BusinessZone,
    id::{MerchantId, TemplateId},
    merchant::AccessRefusal,
};

/// The status of a template (contract §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TemplateStatus {
    /// Written, but not yet published to shops.
    Draft,
    /// Published.
    Issuable,
    /// Published, and past its `absolute_expires_at`.
    Expired,
    /// Withdrawn by its merchant.
    Discarded,
}

/// The way a discount is computed, as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiscountType {
    /// A fixed amount.
    FixedAmount,
    /// A share of the order's amount.
    Percentage,
}

/// The count that is limited, as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitType {
    /// Neither.
    None,
    /// The number of coupons ever issued.
    IssueCount,
    /// The number of coupons in the redeemed state.
    RedeemCount,
}

/// A discount that passed validation. Amounts are in the merchant's currency unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discount {
    /// Takes a fixed amount off.
    FixedAmount {
        /// The amount taken off: more than 0.
        amount: i64,
    },
    /// Takes a share of the order's amount off.
    Percentage {
        /// The share in whole percent: 1 to 100.
        percent: i64,
        /// The most that is taken off: more than 0.
        max: i64,
    },
}

impl Discount {
    /// Returns the amount taken off an order of `order_amount` ≥ 0: never more than `order_amount`, and a share rounded
    /// down (contract §3, Redeem).
    pub fn amount_off(self, order_amount: i64) -> i64 {
        match self {
            Self::FixedAmount { amount } => amount.min(order_amount),
            Self::Percentage { percent, max } => {
                let share = i128::from(order_amount) * i128::from(percent) / 100;
                // Never saturates: at most 100 % of a 64-bit amount fits 64 bits.
                i64::try_from(share).unwrap_or(i64::MAX).min(max)
            }
        }
    }

    /// Returns its type.
    pub fn kind(self) -> DiscountType {
        match self {
            Self::FixedAmount { .. } => DiscountType::FixedAmount,
            Self::Percentage { .. } => DiscountType::Percentage,
        }
    }

    /// Returns the fixed amount, or the percentage: the contract's `discountValue`.
    pub fn value(self) -> i64 {
        match self {
            Self::FixedAmount { amount } => amount,
            Self::Percentage { percent, .. } => percent,
        }
    }

    /// Returns the most that a percentage takes off; `None` for a fixed amount.
    pub fn max_amount(self) -> Option<i64> {
        match self {
            Self::FixedAmount { .. } => None,
            Self::Percentage { max, .. } => Some(max),
        }
    }
}

/// A limit that passed validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// No limit.
    None,
    /// The most coupons that are ever issued: more than 0.
    IssueCount(i64),
    /// The most coupons that are in the redeemed state at any time: more than 0.
    RedeemCount(i64),
}

impl Limit {
    /// Returns its type.
    pub fn kind(self) -> LimitType {
        match self {
            Self::None => LimitType::None,
            Self::IssueCount(_) => LimitType::IssueCount,
            Self::RedeemCount(_) => LimitType::RedeemCount,
        }
    }

    /// Returns the most coupons that may ever be issued; `None` if that is not limited.
    pub fn max_issue_count(self) -> Option<i64> {
        match self {
            Self::IssueCount(max) => Some(max),
            _ => None,
        }
    }

    /// Returns the most coupons that may be in the redeemed state; `None` if that is not limited.
    pub fn max_redeem_count(self) -> Option<i64> {
        match self {
            Self::RedeemCount(max) => Some(max),
            _ => None,
        }
    }
}

/// The time in which coupons are issued, and for how long they are valid. Starts are inclusive, ends exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The time from which coupons are issued.
    pub issue_start_at: Timestamp,
    /// The time until which coupons are issued; `None` if there is no end.
    pub issue_end_at: Option<Timestamp>,
    /// The number of whole days, after the day of its issue, for which a coupon is valid: more than 0.
    pub validity_days: Option<i64>,
    /// The end of the template and all its coupons.
    pub absolute_expires_at: Option<Timestamp>,
}

impl Period {
    /// Returns the end of a coupon issued at `issued_at`: the earlier of its validity's end and the absolute end; `None`
    /// if the period has neither.
    pub fn expiry(&self, issued_at: Timestamp, zone: &BusinessZone) -> Option<Timestamp> {
        let validity_end = self
            .validity_days
            .map(|days| zone.end_of_validity(issued_at, days));
        match (validity_end, self.absolute_expires_at) {
            (Some(validity), Some(absolute)) => Some(validity.min(absolute)),
            (one, other) => one.or(other),
        }
    }
}

/// The terms of a template: set when it is written, never changed after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Its name: 1 to 255 characters.
    pub name: String,
    /// Its description: 0 to 255 characters.
    pub description: String,
    /// The smallest amount of an order for which a coupon can be redeemed: more than 0.
    pub min_order_amount: Option<i64>,
    /// The discount of a coupon.
    pub discount: Discount,
    /// The time of issue and validity.
    pub period: Period,
    /// The limit of coupons.
    pub limit: Limit,
}

/// A coupon template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its id.
    pub id: TemplateId,
    /// The merchant that owns it.
    pub merchant_id: MerchantId,
    /// Its terms.
    pub terms: Terms,
    /// The status as stored; [`Template::status_at`] returns the one that applies.
    pub status: TemplateStatus,
    /// The number of its coupons ever issued.
    pub issue_count: i64,
    /// The number of its coupons in the redeemed state.
    pub redeem_count: i64,
    /// The time at which it was written.
    pub created_at: Timestamp,
    /// The reason of its discard; `None` if it was not discarded.
    pub discard_reason: Option<String>,
}

impl Template {
    /// Returns the status at `now`: an issuable template is expired from its absolute end on, whether or not the sweep
    /// has reached it (contract §2.1).
    pub fn status_at(&self, now: Timestamp) -> TemplateStatus {
        match self.status {
            TemplateStatus::Issuable if self.is_past_end(now) => TemplateStatus::Expired,
            stored => stored,
        }
    }

    fn is_past_end(&self, now: Timestamp) -> bool {
        self.terms
            .period
            .absolute_expires_at
            .is_some_and(|end| end <= now)
    }

    /// Returns whether the issue limit is reached, with `issue_count` coupons issued.
    pub fn is_sold_out(&self, issue_count: i64) -> bool {
        self.terms
            .limit
            .max_issue_count()
            .is_some_and(|max| issue_count >= max)
    }

    /// Returns whether the redeem limit is reached.
    pub fn is_redeemed_out(&self) -> bool {
        self.terms
            .limit
            .max_redeem_count()
            .is_some_and(|max| self.redeem_count >= max)
    }
}

/// The result of looking a template up for a merchant. A foreign one is not returned, so that nothing of it can leak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owned<T> {
    /// It belongs to the merchant.
    Mine(T),
    /// It belongs to another merchant.
    Foreign,
    /// It does not exist.
    Absent,
}

/// Why a draft is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DraftRefusal {
    /// The account may not write templates of this merchant.
    Access(AccessRefusal),
    /// The merchant has the most templates that its quota allows.
    LimitExceeded,
}

/// Why a template cannot be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishRefusal {
    /// The account may not publish templates of this merchant.
    Access(AccessRefusal),
    /// There is no such template.
    NotFound,
    /// It belongs to another merchant.
    NotOwned,
    /// It is not a draft.
    InvalidStatus,
}

/// Decides whether a template may be published: only a draft may, whatever its dates (contract §2).
///
/// # Errors
/// The first refusal that applies, in the order of [`PublishRefusal`].
pub fn publish(template: Owned<&Template>) -> Result<(), PublishRefusal> {
    match template {
        Owned::Absent => Err(PublishRefusal::NotFound),
        Owned::Foreign => Err(PublishRefusal::NotOwned),
        Owned::Mine(template) if template.status == TemplateStatus::Draft => Ok(()),
        Owned::Mine(_) => Err(PublishRefusal::InvalidStatus),
    }
}

/// Why a template cannot be discarded (contract §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscardRefusal {
    /// The account may not discard templates of this merchant.
    Access(AccessRefusal),
    /// There is no such template.
    NotFound,
    /// It belongs to another merchant.
    NotOwned,
    /// It is expired or discarded already.
    InvalidStatus,
}

/// Decides whether a template may be discarded: only a draft or an issuable one may (contract §5).
///
/// # Errors
/// The first refusal that applies, in the order of [`DiscardRefusal`].
pub fn discard(template: Owned<&Template>, now: Timestamp) -> Result<(), DiscardRefusal> {
    match template {
        Owned::Absent => Err(DiscardRefusal::NotFound),
        Owned::Foreign => Err(DiscardRefusal::NotOwned),
        Owned::Mine(template) => match template.status_at(now) {
            TemplateStatus::Draft | TemplateStatus::Issuable => Ok(()),
            TemplateStatus::Expired | TemplateStatus::Discarded => {
                Err(DiscardRefusal::InvalidStatus)
            }
        },
    }
}

/// The fields of a template as a merchant sends them: within the bounds of contract §1, but not yet checked against the
/// rules of §2.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Trimmed, 1 to 255 characters.
    pub name: String,
    /// Trimmed, 0 to 255 characters.
    pub description: String,
    /// The smallest amount of an order for which a coupon can be redeemed.
    pub min_order_amount: Option<i64>,
    /// The way the discount is computed.
    pub discount_type: DiscountType,
    /// The fixed amount, or the percentage.
    pub discount_value: i64,
    /// The most that a percentage takes off.
    pub max_discount_amount: Option<i64>,
    /// The first day of issue.
    pub issue_start_date: Date,
    /// The last day of issue.
    pub issue_end_date: Option<Date>,
    /// The number of whole days, after the day of its issue, for which a coupon is valid.
    pub validity_days: Option<i64>,
    /// The last day on which its coupons are valid.
    pub absolute_expiry_date: Option<Date>,
    /// The count that is limited.
    pub limit_type: LimitType,
    /// The most coupons that may ever be issued.
    pub max_issue_count: Option<i64>,
    /// The most coupons that may be in the redeemed state.
    pub max_redeem_count: Option<i64>,
}

/// A rule of contract §2.1 that a draft breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Violation {
    /// minOrderAmount given and ≤ 0.
    MinOrderAmountNotPositive,
    /// FIXED_AMOUNT with discountValue ≤ 0.
    FixedAmountNotPositive,
    /// FIXED_AMOUNT with a maxDiscountAmount.
    FixedAmountWithMaximum,
    /// PERCENTAGE outside 1 to 100.
    PercentageOutOfRange,
    /// PERCENTAGE with maxDiscountAmount missing or ≤ 0.
    PercentageWithoutMaximum,
    /// issueEndDate before issueStartDate.
    IssueEndBeforeStart,
    /// absoluteExpiryDate before issueStartDate.
    ExpiryBeforeIssueStart,
    /// absoluteExpiryDate before issueEndDate.
    ExpiryBeforeIssueEnd,
    /// absoluteExpiryDate without issueEndDate.
    ExpiryWithoutIssueEnd,
    /// validityDays ≤ 0.
    ValidityDaysNotPositive,
    /// ISSUE_COUNT with maxIssueCount missing or ≤ 0.
    IssueLimitMissing,
    /// ISSUE_COUNT with a maxRedeemCount.
    IssueLimitWithRedeemLimit,
    /// REDEEM_COUNT with maxRedeemCount missing or ≤ 0.
    RedeemLimitMissing,
    /// REDEEM_COUNT with a maxIssueCount.
    RedeemLimitWithIssueLimit,
    /// NONE with either limit.
    NoLimitWithLimit,
}

/// Checks a draft against the rules of contract §2.1, and turns its dates into instants of `zone`.
///
/// # Errors
/// The first broken rule of each group, in the contract's order of groups.
pub fn validate(draft: Draft, zone: &BusinessZone) -> Result<Terms, Vec<Violation>> {
    let mut violations = Vec::new();
    violations.extend(
        draft
            .min_order_amount
            .filter(|&amount| amount <= 0)
            .map(|_| Violation::MinOrderAmountNotPositive),
    );
    let mut report = |violation| violations.push(violation);
    let discount = check_discount(&draft).map_err(&mut report).ok();
    check_period(&draft).map_err(&mut report).ok();
    let limit = check_limit(&draft).map_err(&mut report).ok();
    match (discount, limit) {
        (Some(discount), Some(limit)) if violations.is_empty() => Ok(Terms {
            period: period(&draft, zone),
            name: draft.name,
            description: draft.description,
            min_order_amount: draft.min_order_amount,
            discount,
            limit,
        }),
        _ => Err(violations),
    }
}

fn check_discount(draft: &Draft) -> Result<Discount, Violation> {
    let (value, max) = (draft.discount_value, draft.max_discount_amount);
    match draft.discount_type {
        DiscountType::FixedAmount if value <= 0 => Err(Violation::FixedAmountNotPositive),
        DiscountType::FixedAmount if max.is_some() => Err(Violation::FixedAmountWithMaximum),
        DiscountType::FixedAmount => Ok(Discount::FixedAmount { amount: value }),
        DiscountType::Percentage if !(1..=100).contains(&value) => {
            Err(Violation::PercentageOutOfRange)
        }
        DiscountType::Percentage => match max {
            Some(max) if max > 0 => Ok(Discount::Percentage {
                percent: value,
                max,
            }),
            _ => Err(Violation::PercentageWithoutMaximum),
        },
    }
}

fn check_period(draft: &Draft) -> Result<(), Violation> {
    let start = draft.issue_start_date;
    let (end, expiry) = (draft.issue_end_date, draft.absolute_expiry_date);
    if end.is_some_and(|end| end < start) {
        return Err(Violation::IssueEndBeforeStart);
    }
    if expiry.is_some_and(|expiry| expiry < start) {
        return Err(Violation::ExpiryBeforeIssueStart);
    }
    match (expiry, end) {
        (Some(expiry), Some(end)) if expiry < end => return Err(Violation::ExpiryBeforeIssueEnd),
        (Some(_), None) => return Err(Violation::ExpiryWithoutIssueEnd),
        _ => {}
    }
    if draft.validity_days.is_some_and(|days| days <= 0) {
        return Err(Violation::ValidityDaysNotPositive);
    }
    Ok(())
}

fn period(draft: &Draft, zone: &BusinessZone) -> Period {
    Period {
        issue_start_at: zone.start_of_day(draft.issue_start_date),
        issue_end_at: draft.issue_end_date.map(|date| zone.end_of_day(date)),
        validity_days: draft.validity_days,
        absolute_expires_at: draft.absolute_expiry_date.map(|date| zone.end_of_day(date)),
    }
}

fn check_limit(draft: &Draft) -> Result<Limit, Violation> {
    let (issue, redeem) = (draft.max_issue_count, draft.max_redeem_count);
    match draft.limit_type {
        LimitType::IssueCount => match issue {
            Some(max) if max > 0 && redeem.is_none() => Ok(Limit::IssueCount(max)),
            Some(max) if max > 0 => Err(Violation::IssueLimitWithRedeemLimit),
            _ => Err(Violation::IssueLimitMissing),
        },
        LimitType::RedeemCount => match redeem {
            Some(max) if max > 0 && issue.is_none() => Ok(Limit::RedeemCount(max)),
            Some(max) if max > 0 => Err(Violation::RedeemLimitWithIssueLimit),
            _ => Err(Violation::RedeemLimitMissing),
        },
        LimitType::None if issue.is_some() || redeem.is_some() => Err(Violation::NoLimitWithLimit),
        LimitType::None => Ok(Limit::None),
    }
}
