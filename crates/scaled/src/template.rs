//! Templates. Every process learns of a change: at once if Valkey passes it on, and within two seconds in any case.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_application::ports::{StoreResult, Templates};
use goodpon_domain::{
    id::{AccountId, MerchantId, TemplateId},
    quota::Quota,
    template::{DiscardRefusal, DraftRefusal, Owned, PublishRefusal, Template, Terms},
};

use crate::scaled::Scaled;

impl Scaled {
    /// Makes all processes forget a template that was changed.
    async fn announce_change(&self, template: TemplateId) {
        self.partner.gates.forget(template);
        if let Err(error) = self.valkey.invalidate(&template.to_string()).await {
            tracing::debug!(%error, "other processes notice a change of a template later");
        }
    }
}

#[async_trait]
impl Templates for Scaled {
    async fn create(
        &self,
        merchant: MerchantId,
        by: AccountId,
        terms: Terms,
        quota: Quota,
    ) -> StoreResult<Result<Arc<Template>, DraftRefusal>> {
        Templates::create(&self.store, merchant, by, terms, quota).await
    }

    async fn list(&self, merchant: MerchantId) -> StoreResult<Vec<Arc<Template>>> {
        Templates::list(&self.store, merchant).await
    }

    async fn find(
        &self,
        merchant: MerchantId,
        id: TemplateId,
    ) -> StoreResult<Owned<Arc<Template>>> {
        let seen = self.partner.gates.read(id).await?;
        Ok(match &seen.read {
            None => Owned::Absent,
            Some(read) if read.template.merchant_id != merchant => Owned::Foreign,
            Some(read) => Owned::Mine(Arc::clone(&read.template)),
        })
    }

    async fn publish(
        &self,
        merchant: MerchantId,
        by: AccountId,
        id: TemplateId,
    ) -> StoreResult<Result<Arc<Template>, PublishRefusal>> {
        let published = Templates::publish(&self.store, merchant, by, id).await?;
        if published.is_ok() {
            self.announce_change(id).await;
        }
        Ok(published)
    }

    async fn discard(
        &self,
        merchant: MerchantId,
        by: AccountId,
        id: TemplateId,
        reason: String,
    ) -> StoreResult<Result<Arc<Template>, DiscardRefusal>> {
        let discarded = Templates::discard(&self.store, merchant, by, id, reason).await?;
        if discarded.is_ok() {
            self.announce_change(id).await;
        }
        Ok(discarded)
    }
}
