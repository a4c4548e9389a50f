//! The use cases of merchants about coupon templates (contract §2, §5).

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
    turns::{Tenant, WideRead},
};

/// A template with its present status and issue count.
#[derive(Debug, Clone)]
pub struct TemplateView {
    /// The template.
    pub template: Arc<Template>,
    /// The status at present, which may be ahead of the stored one.
    pub status: TemplateStatus,
    /// The number of coupons ever accepted; scaled out it may be ahead of the template's own count.
    pub issue_count: i64,
}

/// Why a template is not created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateRefusal {
    /// The account may not write templates of this merchant.
    Access(AccessRefusal),
    /// The draft breaks these rules.
    Invalid(Vec<Violation>),
    /// The merchant has the most templates that its quota allows.
    LimitExceeded,
}

/// Creates a template as a draft.
pub async fn create(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
    draft: Draft,
) -> Result<Arc<Template>, Failure<CreateRefusal>> {
    let terms = match template::validate(draft, &app.zone) {
        Ok(terms) => terms,
        // An outsider is refused before broken rules are reported (contract §2).
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

/// Lists all templates of the merchant, newest first.
pub async fn list(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
) -> Result<WideRead<TemplateView>, Failure<AccessRefusal>> {
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
    Ok(WideRead::in_turn(views, turn))
}

/// Why a template is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetailRefusal {
    /// The account may not see templates of this merchant.
    Access(AccessRefusal),
    /// There is no such template.
    NotFound,
    /// It belongs to another merchant.
    NotOwned,
}

/// Returns a template of the merchant.
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

/// Publishes a draft. From then on the shop can issue coupons of it.
pub async fn publish(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
    id: TemplateId,
) -> Result<Arc<Template>, Failure<PublishRefusal>> {
    let published = app.stores.templates.publish(merchant, account, id).await?;
    published.map_err(Failure::Refused)
}

/// Discards a template. From then on no coupon of it is issued or redeemed; scaled out, 5 seconds later at most
/// (contract §5).
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
