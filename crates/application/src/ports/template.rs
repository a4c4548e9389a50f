//! Coupon templates.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_domain::{
    id::{AccountId, MerchantId, TemplateId},
    quota::Quota,
    template::{DiscardRefusal, DraftRefusal, Owned, PublishRefusal, Template, Terms},
};

use super::StoreResult;
#[cfg(doc)]
use super::Upkeep;

/// Coupon templates. What changes them is allowed to members only, as of the change itself.
#[async_trait]
pub trait Templates: Send + Sync {
    /// Stores a draft, if `by` may and the quota has room for another template.
    async fn create(
        &self,
        merchant: MerchantId,
        by: AccountId,
        terms: Terms,
        quota: Quota,
    ) -> StoreResult<Result<Arc<Template>, DraftRefusal>>;
    /// All of the merchant, newest first.
    async fn list(&self, merchant: MerchantId) -> StoreResult<Vec<Arc<Template>>>;
    /// One, as far as it is the merchant's.
    async fn find(&self, merchant: MerchantId, id: TemplateId)
    -> StoreResult<Owned<Arc<Template>>>;
    /// Publishes a draft, if `by` may.
    async fn publish(
        &self,
        merchant: MerchantId,
        by: AccountId,
        id: TemplateId,
    ) -> StoreResult<Result<Arc<Template>, PublishRefusal>>;
    /// Discards a template, if `by` may. Its issued coupons follow by [`Upkeep::discard_coupons`].
    async fn discard(
        &self,
        merchant: MerchantId,
        by: AccountId,
        id: TemplateId,
        reason: String,
    ) -> StoreResult<Result<Arc<Template>, DiscardRefusal>>;
}
