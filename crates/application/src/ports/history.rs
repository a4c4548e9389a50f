//! The ledger of what happened to coupons, page by page.

use async_trait::async_trait;
use goodpon_domain::{
    history::{HistoryEntry, HistoryPosition},
    id::{MerchantId, TemplateId},
};
use jiff::Timestamp;

use super::StoreResult;

/// The order in which entries are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// Selects entries: all conditions that are set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryFilter {
    /// Recorded at or after.
    pub from: Option<Timestamp>,
    /// Recorded before.
    pub until: Option<Timestamp>,
    /// Of that order.
    pub order_id: Option<String>,
    /// Of that user's coupons.
    pub user_id: Option<String>,
    /// Of that template's coupons.
    pub template_id: Option<TemplateId>,
}

/// The ledger of what happened to coupons.
#[async_trait]
pub trait Histories: Send + Sync {
    /// Up to `limit` entries of this merchant that pass the filter, in order of position,
    /// beginning behind `after`.
    async fn page(
        &self,
        merchant: MerchantId,
        filter: &HistoryFilter,
        direction: Direction,
        after: Option<HistoryPosition>,
        limit: usize,
    ) -> StoreResult<Vec<HistoryEntry>>;
}
