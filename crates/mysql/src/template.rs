//! Coupon templates.

use std::{borrow::Borrow, sync::Arc};

use async_trait::async_trait;
use goodpon_application::ports::{StoreResult, Templates};
use goodpon_domain::{
    id::{AccountId, MerchantId, TemplateId},
    merchant::{AccessRefusal, Role},
    quota::Quota,
    template::{
        self, DiscardRefusal, DraftRefusal, Owned, PublishRefusal, Template, TemplateStatus, Terms,
    },
};
use mysql_async::Value;

use crate::{
    Store,
    codec::{discount_type, limit_type, micros, template_status},
    fault::{Fault, Result},
    lock::Lock,
    merchant,
    session::Session,
    template_row::{load, of_merchant},
};

/// Requires the account to be a member of the merchant, and locks the merchant's row so that it stays one until the
/// commit.
async fn require_member(
    session: &mut Session<'_>,
    merchant: MerchantId,
    by: AccountId,
    lock: Lock,
) -> Result<std::result::Result<Role, AccessRefusal>> {
    merchant::lock_row(session, merchant, lock).await?;
    let standing = merchant::standing(session, merchant, by).await?;
    Ok(standing.require_member())
}

async fn create(
    session: &mut Session<'_>,
    merchant: MerchantId,
    by: AccountId,
    terms: &Terms,
    quota: Quota,
) -> Result<std::result::Result<Arc<Template>, DraftRefusal>> {
    if let Err(refusal) = require_member(session, merchant, by, Lock::Exclusive).await? {
        return Ok(Err(DraftRefusal::Access(refusal)));
    }
    let all = "SELECT COUNT(*) FROM coupon_templates WHERE merchant_id = ?";
    let key = (merchant.0,);
    if quota.is_limited() && !quota.has_room(merchant::count(session, all, key).await?) {
        return Ok(Err(DraftRefusal::LimitExceeded));
    }
    let id = insert(session, merchant, terms).await?;
    let written = load(session, id, Lock::None).await?;
    let written = written.ok_or(Fault::Corrupt("a template that was just written is gone"))?;
    Ok(Ok(Arc::new(written)))
}

async fn insert(
    session: &mut Session<'_>,
    merchant: MerchantId,
    terms: &Terms,
) -> Result<TemplateId> {
    let (discount, period, limit) = (terms.discount, &terms.period, terms.limit);
    let values: Vec<Value> = vec![
        merchant.0.into(),
        (&terms.name).into(),
        (&terms.description).into(),
        terms.min_order_amount.into(),
        discount_type::code(discount.kind()).into(),
        discount.value().into(),
        discount.max_amount().into(),
        micros(period.issue_start_at).into(),
        period.issue_end_at.map(micros).into(),
        period.validity_days.into(),
        period.absolute_expires_at.map(micros).into(),
        limit_type::code(limit.kind()).into(),
        limit.max_issue_count().or(limit.max_redeem_count()).into(),
        template_status::code(TemplateStatus::Draft).into(),
        micros(session.now).into(),
    ];
    let id = session
        .insert(
            "INSERT INTO coupon_templates (merchant_id, name, description, min_order_amount, discount_type,
                 discount_value, max_discount_amount, issue_start_at, issue_end_at, validity_days,
                 absolute_expires_at, limit_type, limit_count, status, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        .await?;
    Ok(TemplateId(id))
}

/// Writes the status and discard reason of a template whose row is locked.
async fn change_status(session: &mut Session<'_>, changed: &Template) -> Result<()> {
    session
        .run(
            "UPDATE coupon_templates SET status = ?, discard_reason = ? WHERE id = ?",
            (
                template_status::code(changed.status),
                changed.discard_reason.as_deref(),
                changed.id.0,
            ),
        )
        .await
        .map(drop)
}

/// Compares the owner of a template with the merchant.
fn owned<T: Borrow<Template>>(found: Option<T>, merchant: MerchantId) -> Owned<T> {
    match found {
        None => Owned::Absent,
        Some(template) if template.borrow().merchant_id != merchant => Owned::Foreign,
        Some(template) => Owned::Mine(template),
    }
}

async fn publish(
    session: &mut Session<'_>,
    merchant: MerchantId,
    by: AccountId,
    id: TemplateId,
) -> Result<std::result::Result<Arc<Template>, PublishRefusal>> {
    if let Err(refusal) = require_member(session, merchant, by, Lock::Shared).await? {
        return Ok(Err(PublishRefusal::Access(refusal)));
    }
    let found = load(session, id, Lock::Exclusive).await?;
    if let Err(refusal) = template::publish(owned(found.as_ref(), merchant)) {
        return Ok(Err(refusal));
    }
    let Some(draft) = found else {
        return Ok(Err(PublishRefusal::NotFound));
    };
    let published = Template {
        status: TemplateStatus::Issuable,
        ..draft
    };
    change_status(session, &published).await?;
    Ok(Ok(Arc::new(published)))
}

async fn discard(
    session: &mut Session<'_>,
    merchant: MerchantId,
    by: AccountId,
    id: TemplateId,
    reason: &str,
) -> Result<std::result::Result<Arc<Template>, DiscardRefusal>> {
    if let Err(refusal) = require_member(session, merchant, by, Lock::Shared).await? {
        return Ok(Err(DiscardRefusal::Access(refusal)));
    }
    let found = load(session, id, Lock::Exclusive).await?;
    if let Err(refusal) = template::discard(owned(found.as_ref(), merchant), session.now) {
        return Ok(Err(refusal));
    }
    let Some(template) = found else {
        return Ok(Err(DiscardRefusal::NotFound));
    };
    let discarded = Template {
        status: TemplateStatus::Discarded,
        discard_reason: Some(reason.to_owned()),
        ..template
    };
    change_status(session, &discarded).await?;
    Ok(Ok(Arc::new(discarded)))
}

#[async_trait]
impl Templates for Store {
    async fn create(
        &self,
        merchant: MerchantId,
        by: AccountId,
        terms: Terms,
        quota: Quota,
    ) -> StoreResult<std::result::Result<Arc<Template>, DraftRefusal>> {
        self.transact(|session| Box::pin(create(session, merchant, by, &terms, quota)))
            .await
    }

    async fn list(&self, merchant: MerchantId) -> StoreResult<Vec<Arc<Template>>> {
        self.scan(|session| Box::pin(of_merchant(session, merchant)))
            .await
    }

    async fn find(
        &self,
        merchant: MerchantId,
        id: TemplateId,
    ) -> StoreResult<Owned<Arc<Template>>> {
        let found = self
            .read(|session| Box::pin(load(session, id, Lock::None)))
            .await?;
        Ok(owned(found.map(Arc::new), merchant))
    }

    async fn publish(
        &self,
        merchant: MerchantId,
        by: AccountId,
        id: TemplateId,
    ) -> StoreResult<std::result::Result<Arc<Template>, PublishRefusal>> {
        self.transact(|session| Box::pin(publish(session, merchant, by, id)))
            .await
    }

    async fn discard(
        &self,
        merchant: MerchantId,
        by: AccountId,
        id: TemplateId,
        reason: String,
    ) -> StoreResult<std::result::Result<Arc<Template>, DiscardRefusal>> {
        self.transact(|session| Box::pin(discard(session, merchant, by, id, &reason)))
            .await
    }
}
