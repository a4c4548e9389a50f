//! Ledger entries with the data that merchants see beside them in the coupon history (contract §2.2).

use jiff::Timestamp;

use crate::{
    id::{CouponId, HistoryId, TemplateId},
    ledger::{Amounts, HistoryAction},
};

/// An entry of the coupon history (contract §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its id; orders entries of the same time.
    pub id: HistoryId,
    /// The change that it records.
    pub action: HistoryAction,
    /// The time of the change, to the microsecond.
    pub recorded_at: Timestamp,
    /// The order, with REDEEM and CANCEL_REDEMPTION only.
    pub order_id: Option<String>,
    /// The reason, with CANCEL_REDEMPTION and DISCARD only.
    pub reason: Option<String>,
    /// The amounts of the order; kept, but not shown to merchants.
    pub amounts: Amounts,
    /// The coupon that changed.
    pub coupon_id: CouponId,
    /// The user who has the coupon.
    pub user_id: String,
    /// The coupon's template.
    pub template_id: TemplateId,
    /// The name of that template.
    pub template_name: String,
}

/// A position in the order of history entries: by time, then by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryPosition {
    /// The time at which the entry was recorded.
    pub recorded_at: Timestamp,
    /// The entry's id.
    pub id: HistoryId,
}
