//! The coupon history, page by page.

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
    /// Selects entries recorded at or after this time.
    pub from: Option<Timestamp>,
    /// Selects entries recorded before this time.
    pub until: Option<Timestamp>,
    /// Selects entries of this order.
    pub order_id: Option<String>,
    /// Selects entries of this user's coupons.
    pub user_id: Option<String>,
    /// Selects entries of this template's coupons.
    pub template_id: Option<TemplateId>,
}

/// The coupon history (contract §2.2).
#[async_trait]
pub trait Histories: Send + Sync {
    /// Returns up to `limit` entries of this merchant that pass the filter, in order of position, beginning after
    /// `after`.
    async fn page(
        &self,
        merchant: MerchantId,
        filter: &HistoryFilter,
        direction: Direction,
        after: Option<HistoryPosition>,
        limit: usize,
    ) -> StoreResult<Vec<HistoryEntry>>;
}
