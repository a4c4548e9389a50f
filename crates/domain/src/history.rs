//! The ledger's entries as merchants page through them (contract §2.2).

use jiff::Timestamp;

use crate::{
    id::{CouponId, HistoryId, TemplateId},
    ledger::{Amounts, HistoryAction},
};

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
