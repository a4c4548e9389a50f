//! What happened to a coupon, one entry per state change.

use jiff::Timestamp;

use crate::{
    coupon::{CouponStatus, Redemption},
    id::{CouponId, HistoryId, TemplateId},
};

/// What an entry records (contract §1, Enums).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HistoryAction {
    /// The coupon was issued.
    Issue,
    /// It was redeemed for an order.
    Redeem,
    /// Its redemption was cancelled.
    CancelRedemption,
    /// Its time had passed.
    Expire,
    /// Its template was discarded.
    Discard,
}

impl HistoryAction {
    /// The state that a coupon is in behind such an entry.
    pub const fn leads_to(self) -> CouponStatus {
        match self {
            Self::Issue | Self::CancelRedemption => CouponStatus::Issued,
            Self::Redeem => CouponStatus::Redeemed,
            Self::Expire => CouponStatus::Expired,
            Self::Discard => CouponStatus::Discarded,
        }
    }

    /// Whether such an entry bears an order id, and whether a reason (contract §2.2).
    pub const fn bears(self) -> (bool, bool) {
        match self {
            Self::Issue | Self::Expire => (false, false),
            Self::Redeem => (true, false),
            Self::CancelRedemption => (true, true),
            Self::Discard => (false, true),
        }
    }
}

/// The money that an entry tells of. Entries written before amounts were kept have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// What the order amounted to, with REDEEM only.
    pub order: Option<i64>,
    /// What was taken off, with REDEEM and CANCEL_REDEMPTION only.
    pub discount: Option<i64>,
}

impl Amounts {
    /// Those of the entry that tells of a redemption.
    pub fn of(redemption: &Redemption) -> Self {
        Self {
            order: Some(redemption.original_price),
            discount: Some(redemption.discount_amount),
        }
    }

    /// Those of the entry that tells of the cancellation of a redemption with these: the discount alone.
    pub fn cancelled(self) -> Self {
        Self {
            order: None,
            discount: self.discount,
        }
    }
}

/// An entry as merchants see it (contract §2.2), with what is kept of it beyond that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Sorts entries of one instant.
    pub id: HistoryId,
    /// What happened.
    pub action: HistoryAction,
    /// When, to the microsecond.
    pub recorded_at: Timestamp,
    /// The order, with REDEEM and CANCEL_REDEMPTION only.
    pub order_id: Option<String>,
    /// The reason, with CANCEL_REDEMPTION and DISCARD only.
    pub reason: Option<String>,
    /// The money it tells of, which merchants do not see.
    pub amounts: Amounts,
    /// The coupon it happened to.
    pub coupon_id: CouponId,
    /// Whose coupon that is.
    pub user_id: String,
    /// The coupon's template.
    pub template_id: TemplateId,
    /// That template's name.
    pub template_name: String,
}

/// A place in the order of entries: by time, then id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryPosition {
    /// When the entry was recorded.
    pub recorded_at: Timestamp,
    /// Its id.
    pub id: HistoryId,
}
