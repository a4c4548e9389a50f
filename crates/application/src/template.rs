//! Coupon templates as merchants handle them (contract §2, §5).

use std::sync::Arc;

use goodpon_domain::{
    id::{AccountId, MerchantId, TemplateId},
    merchant::AccessRefusal,
    template::{
        self, DiscardRefusal, Draft, DraftRefusal, Owned, PublishRefusal, Template, TemplateStatus,
        Violation,
    },
};

use crate::{
    App, Failure,
    merchant::require_member,
    turns::{Tenant, Wide},
};

/// A template with what counts of it at this moment.
#[derive(Debug, Clone)]
pub struct TemplateView {
    /// The template.
    pub template: Arc<Template>,
    /// The status that counts now.
    pub status: TemplateStatus,
    /// All coupons ever accepted.
    pub issue_count: i64,
}

/// Why a template is not created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateRefusal {
    /// Not allowed to this account.
    Access(AccessRefusal),
    /// The rules that the draft breaks.
    Invalid(Vec<Violation>),
    /// The merchant has as many templates as it may.
    LimitExceeded,
}

/// Writes a template, as a draft.
pub async fn create(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
    draft: Draft,
) -> Result<Arc<Template>, Failure<CreateRefusal>> {
    let terms = match template::validate(draft, &app.zone) {
        Ok(terms) => terms,
        // Who may not learns nothing of the rules.
        Err(violations) => {
            require_member(app, account, merchant)
                .await
                .map_err(|failure| failure.map(CreateRefusal::Access))?;
            return Err(Failure::Refused(CreateRefusal::Invalid(violations)));
        }
    };
    let quota = app.quotas.templates_per_merchant;
    let created = app
        .stores
        .templates
        .create(merchant, account, terms, quota)
        .await?;
    created.map_err(|refusal| {
        Failure::Refused(match refusal {
            DraftRefusal::Access(refusal) => CreateRefusal::Access(refusal),
            DraftRefusal::LimitExceeded => CreateRefusal::LimitExceeded,
        })
    })
}

/// All templates of the merchant, newest first.
pub async fn list(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
) -> Result<Wide<TemplateView>, Failure<AccessRefusal>> {
    require_member(app, account, merchant).await?;
    let turn = app.turns.take(Tenant::Merchant(merchant)).await?;
    let templates = app.stores.templates.list(merchant).await?;
    let counts = app.stores.gate.issue_counts(&templates).await?;
    let now = app.clock.now();
    let views = templates
        .into_iter()
        .zip(counts)
        .map(|(template, issue_count)| TemplateView {
            status: template.status_at(now),
            template,
            issue_count,
        })
        .collect();
    Ok(Wide::of(views, turn))
}

/// Why a template is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetailRefusal {
    /// Not allowed to this account.
    Access(AccessRefusal),
    /// No such template.
    NotFound,
    /// Another merchant's.
    NotOwned,
}

/// One template of the merchant.
pub async fn detail(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
    id: TemplateId,
) -> Result<TemplateView, Failure<DetailRefusal>> {
    require_member(app, account, merchant)
        .await
        .map_err(|failure| failure.map(DetailRefusal::Access))?;
    let template = match app.stores.templates.find(merchant, id).await? {
        Owned::Mine(template) => template,
        Owned::Foreign => return Err(Failure::Refused(DetailRefusal::NotOwned)),
        Owned::Absent => return Err(Failure::Refused(DetailRefusal::NotFound)),
    };
    let issue_count = app.stores.gate.standing(&template, None).await?.issue_count;
    Ok(TemplateView {
        status: template.status_at(app.clock.now()),
        template,
        issue_count,
    })
}

/// Publishes a draft: its shop can issue it from then on.
pub async fn publish(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
    id: TemplateId,
) -> Result<Arc<Template>, Failure<PublishRefusal>> {
    let published = app.stores.templates.publish(merchant, account, id).await?;
    published.map_err(Failure::Refused)
}

/// Discards a template: nothing of it is issued or redeemed from then on.
pub async fn discard(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
    id: TemplateId,
    reason: String,
) -> Result<Arc<Template>, Failure<DiscardRefusal>> {
    let discarded = app
        .stores
        .templates
        .discard(merchant, account, id, reason)
        .await?;
    discarded.map_err(Failure::Refused)
}
