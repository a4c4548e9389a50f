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

/// Coupon templates. A method with `by` first checks that this account is a member of the merchant, in the transaction
/// that makes the change.
#[async_trait]
pub trait Templates: Send + Sync {
    /// Stores a draft, unless the quota is reached.
    async fn create(
        &self,
        merchant: MerchantId,
        by: AccountId,
        terms: Terms,
        quota: Quota,
    ) -> StoreResult<Result<Arc<Template>, DraftRefusal>>;
    /// Returns all templates of the merchant, newest first.
    async fn list(&self, merchant: MerchantId) -> StoreResult<Vec<Arc<Template>>>;
    /// Returns the template of that id if it is the merchant's.
    async fn find(&self, merchant: MerchantId, id: TemplateId)
    -> StoreResult<Owned<Arc<Template>>>;
    /// Publishes a draft.
    async fn publish(
        &self,
        merchant: MerchantId,
        by: AccountId,
        id: TemplateId,
    ) -> StoreResult<Result<Arc<Template>, PublishRefusal>>;
    /// Discards a template. [`Upkeep::discard_coupons`] discards its issued coupons later.
    async fn discard(
        &self,
        merchant: MerchantId,
        by: AccountId,
        id: TemplateId,
        reason: String,
    ) -> StoreResult<Result<Arc<Template>, DiscardRefusal>>;
}
