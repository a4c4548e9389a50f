//! Coupon templates: what a merchant writes once and its shop issues many times.

use jiff::{Timestamp, civil::Date};

use crate::{
    business_time::BusinessZone,
    id::{MerchantId, TemplateId},
    merchant::AccessRefusal,
};

/// Where a template is in its life (contract §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TemplateStatus {
    /// Written, not yet seen by shops.
    Draft,
    /// Published.
    Issuable,
    /// Its `absolute_expires_at` has passed.
    Expired,
    /// Withdrawn by its merchant.
    Discarded,
}

/// How a discount is reckoned, as it is written in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiscountType {
    /// A fixed amount.
    FixedAmount,
    /// A share of the order.
    Percentage,
}

/// What is limited, as it is written in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitType {
    /// Nothing.
    None,
    /// How many are ever issued.
    IssueCount,
    /// How many are redeemed at once.
    RedeemCount,
}

/// A discount that passed validation. Amounts are in the merchant's currency unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discount {
    /// `amount` off, more than 0.
    FixedAmount {
        /// What is taken off.
        amount: i64,
    },
    /// `percent` (1 to 100) of the order off, at most `max` (more than 0).
    Percentage {
        /// Whole percent.
        percent: i64,
        /// The most that is taken off.
        max: i64,
    },
}

impl Discount {
    /// What is taken off an order of `order_amount` ≥ 0: never more than the order (contract §3, Redeem).
    pub fn amount_off(self, order_amount: i64) -> i64 {
        match self {
            Self::FixedAmount { amount } => amount.min(order_amount),
            Self::Percentage { percent, max } => {
                let share = i128::from(order_amount) * i128::from(percent) / 100;
                // The share of a 64-bit amount of at most 100 % is a 64-bit amount.
                i64::try_from(share).unwrap_or(i64::MAX).min(max)
            }
        }
    }

    /// Its type.
    pub fn kind(self) -> DiscountType {
        match self {
            Self::FixedAmount { .. } => DiscountType::FixedAmount,
            Self::Percentage { .. } => DiscountType::Percentage,
        }
    }

    /// The amount, or the percentage.
    pub fn value(self) -> i64 {
        match self {
            Self::FixedAmount { amount } => amount,
            Self::Percentage { percent, .. } => percent,
        }
    }

    /// The most a percentage takes off.
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
    /// None.
    None,
    /// At most so many are ever issued; more than 0.
    IssueCount(i64),
    /// At most so many are in the redeemed state at once; more than 0.
    RedeemCount(i64),
}

impl Limit {
    /// Its type.
    pub fn kind(self) -> LimitType {
        match self {
            Self::None => LimitType::None,
            Self::IssueCount(_) => LimitType::IssueCount,
            Self::RedeemCount(_) => LimitType::RedeemCount,
        }
    }

    /// How many may be issued, where that is limited.
    pub fn max_issue_count(self) -> Option<i64> {
        match self {
            Self::IssueCount(max) => Some(max),
            _ => None,
        }
    }

    /// How many may be redeemed at once, where that is limited.
    pub fn max_redeem_count(self) -> Option<i64> {
        match self {
            Self::RedeemCount(max) => Some(max),
            _ => None,
        }
    }
}

/// When coupons are issued and how long they last. Starts are inclusive, ends exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// From when on coupons are issued.
    pub issue_start_at: Timestamp,
    /// Until when, if not for ever.
    pub issue_end_at: Option<Timestamp>,
    /// For how many whole days after the day of its issue a coupon is good; more than 0.
    pub validity_days: Option<i64>,
    /// When the template and all its coupons end.
    pub absolute_expires_at: Option<Timestamp>,
}

impl Period {
    /// When a coupon issued at `issued_at` ends: the earlier of its validity's end and the absolute end.
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

/// The rules that a template's author set and that never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// 1 to 255 characters.
    pub name: String,
    /// 0 to 255 characters.
    pub description: String,
    /// The least order amount, more than 0.
    pub min_order_amount: Option<i64>,
    /// What a coupon takes off.
    pub discount: Discount,
    /// When and how long.
    pub period: Period,
    /// How many.
    pub limit: Limit,
}

/// A coupon template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its id.
    pub id: TemplateId,
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// Its rules.
    pub terms: Terms,
    /// The status as stored; see [`Template::status_at`].
    pub status: TemplateStatus,
    /// All coupons ever issued of it.
    pub issue_count: i64,
    /// Its coupons now in the redeemed state.
    pub redeem_count: i64,
    /// When it was written.
    pub created_at: Timestamp,
    /// Why it was discarded, if it was.
    pub discard_reason: Option<String>,
}

impl Template {
    /// The status that counts at `now`: past its absolute end an issuable one is expired, swept or not.
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

    /// Whether no further coupon can be issued because of the issue limit.
    pub fn is_sold_out(&self, issue_count: i64) -> bool {
        self.terms
            .limit
            .max_issue_count()
            .is_some_and(|max| issue_count >= max)
    }

    /// Whether no further coupon can be redeemed because of the redeem limit.
    pub fn is_redeemed_out(&self) -> bool {
        self.terms
            .limit
            .max_redeem_count()
            .is_some_and(|max| self.redeem_count >= max)
    }
}

/// A template that is not the caller's to see, or is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owned<T> {
    /// It is the merchant's own.
    Mine(T),
    /// It is another merchant's; nothing more of it is told.
    Foreign,
    /// It does not exist.
    Absent,
}

/// Why a draft is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DraftRefusal {
    /// Not allowed to this account.
    Access(AccessRefusal),
    /// The merchant has as many templates as it may.
    LimitExceeded,
}

/// Why a template cannot be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishRefusal {
    /// Not allowed to this account.
    Access(AccessRefusal),
    /// No such template.
    NotFound,
    /// Another merchant's.
    NotOwned,
    /// Not a draft.
    InvalidStatus,
}

/// Decides a publication: only a draft's, whatever its dates (contract §2).
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
    /// Not allowed to this account.
    Access(AccessRefusal),
    /// No such template.
    NotFound,
    /// Another merchant's.
    NotOwned,
    /// Expired or discarded already.
    InvalidStatus,
}

/// Decides a discard: a draft's or an issuable one's.
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

/// What a merchant asks a template to be: in bounds, but with no rule checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Trimmed, 1 to 255 characters.
    pub name: String,
    /// Trimmed, 0 to 255 characters.
    pub description: String,
    /// The least order amount.
    pub min_order_amount: Option<i64>,
    /// How the discount is reckoned.
    pub discount_type: DiscountType,
    /// The amount or percentage.
    pub discount_value: i64,
    /// The most a percentage takes off.
    pub max_discount_amount: Option<i64>,
    /// The first day of issue.
    pub issue_start_date: Date,
    /// The last day of issue.
    pub issue_end_date: Option<Date>,
    /// Days for which a coupon is good.
    pub validity_days: Option<i64>,
    /// The last day of all its coupons.
    pub absolute_expiry_date: Option<Date>,
    /// What is limited.
    pub limit_type: LimitType,
    /// How many are ever issued.
    pub max_issue_count: Option<i64>,
    /// How many are redeemed at once.
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

/// Checks a draft: every group with a broken rule is reported, the first broken rule of each (contract §2.1).
pub fn validate(draft: Draft, zone: &BusinessZone) -> Result<Terms, Vec<Violation>> {
    let mut violations = Vec::new();
    violations.extend(
        draft
            .min_order_amount
            .filter(|&amount| amount <= 0)
            .map(|_| Violation::MinOrderAmountNotPositive),
    );
    let mut keep = |violation| violations.push(violation);
    let discount = discount(&draft).map_err(&mut keep).ok();
    period_rule(&draft).map_err(&mut keep).ok();
    let limit = limit(&draft).map_err(&mut keep).ok();
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

fn discount(draft: &Draft) -> Result<Discount, Violation> {
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

fn period_rule(draft: &Draft) -> Result<(), Violation> {
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

fn limit(draft: &Draft) -> Result<Limit, Violation> {
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
