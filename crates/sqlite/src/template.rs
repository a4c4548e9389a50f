//! Coupon templates.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_application::ports::{StoreResult, Templates};
use goodpon_domain::{
    id::{AccountId, MerchantId, TemplateId},
    merchant::{AccessRefusal, Role, Standing},
    quota::Quota,
    template::{
        self, DiscardRefusal, DraftRefusal, Owned, PublishRefusal, Template, TemplateStatus, Terms,
    },
};
use rusqlite::params;

use crate::{
    codec::{discount_type, limit_type, micros, template_status},
    merchant::{count, standing},
    store::Store,
    template_row,
    write::tx::Tx,
};

/// Changes a template's status, and its reason if it is discarded, in the row and for the rest of the transaction.
pub(crate) fn change_status(
    tx: &mut Tx<'_>,
    id: TemplateId,
    status: TemplateStatus,
    discard_reason: Option<&str>,
) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached(
            "UPDATE coupon_templates SET status = ?2, discard_reason = ?3 WHERE id = ?1",
        )?
        .execute(params![id.0, template_status::code(status), discard_reason])?;
    if let Some(template) = tx.template(id)? {
        template.status = status;
        template.discard_reason = discard_reason.map(str::to_owned);
    }
    Ok(())
}

pub(crate) fn insert(
    tx: &Tx<'_>,
    merchant: MerchantId,
    terms: &Terms,
) -> rusqlite::Result<TemplateId> {
    let (discount, period, limit) = (terms.discount, &terms.period, terms.limit);
    tx.connection
        .prepare_cached(
            "INSERT INTO coupon_templates (merchant_id, name, description, min_order_amount, discount_type,
                 discount_value, max_discount_amount, issue_start_at, issue_end_at, validity_days,
                 absolute_expires_at, limit_type, limit_count, status, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            merchant.0,
            terms.name,
            terms.description,
            terms.min_order_amount,
            discount_type::code(discount.kind()),
            discount.value(),
            discount.max_amount(),
            micros(period.issue_start_at),
            period.issue_end_at.map(micros),
            period.validity_days,
            period.absolute_expires_at.map(micros),
            limit_type::code(limit.kind()),
            limit.max_issue_count().or(limit.max_redeem_count()),
            template_status::code(TemplateStatus::Draft),
            micros(tx.now),
        ])?;
    Ok(TemplateId(tx.connection.last_insert_rowid()))
}

/// Refuses an account that is no member of the merchant at the moment of the change.
fn require_member(
    tx: &Tx<'_>,
    merchant: MerchantId,
    by: AccountId,
) -> rusqlite::Result<Result<Role, AccessRefusal>> {
    standing(tx.connection, merchant, by).map(Standing::require_member)
}

/// The template as the transaction sees it, as far as it is the merchant's.
fn owned<'a>(
    tx: &'a mut Tx<'_>,
    merchant: MerchantId,
    id: TemplateId,
) -> rusqlite::Result<Owned<&'a Template>> {
    Ok(match tx.template(id)? {
        None => Owned::Absent,
        Some(template) if template.merchant_id != merchant => Owned::Foreign,
        Some(template) => Owned::Mine(&*template),
    })
}

/// The template after a change, for the answer.
fn snapshot(tx: &mut Tx<'_>, id: TemplateId) -> rusqlite::Result<Arc<Template>> {
    let template = tx.template(id)?;
    let template = template.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(Arc::new(template.clone()))
}

#[async_trait]
impl Templates for Store {
    async fn create(
        &self,
        merchant: MerchantId,
        by: AccountId,
        terms: Terms,
        quota: Quota,
    ) -> StoreResult<Result<Arc<Template>, DraftRefusal>> {
        self.write(move |tx| {
            if let Err(refusal) = require_member(tx, merchant, by)? {
                return Ok(Err(DraftRefusal::Access(refusal)));
            }
            let all = "SELECT count(*) FROM coupon_templates WHERE merchant_id = ?1";
            if quota.is_limited() && !quota.has_room(count(tx.connection, all, [merchant.0])?) {
                return Ok(Err(DraftRefusal::LimitExceeded));
            }
            let id = insert(tx, merchant, &terms)?;
            snapshot(tx, id).map(Ok)
        })
        .await
    }

    async fn list(&self, merchant: MerchantId) -> StoreResult<Vec<Arc<Template>>> {
        self.scan(move |connection| {
            let found = template_row::of_merchant(connection, merchant)?;
            Ok(found.into_iter().map(Arc::new).collect())
        })
        .await
    }

    async fn find(
        &self,
        merchant: MerchantId,
        id: TemplateId,
    ) -> StoreResult<Owned<Arc<Template>>> {
        self.find_template(merchant, id).await
    }

    async fn publish(
        &self,
        merchant: MerchantId,
        by: AccountId,
        id: TemplateId,
    ) -> StoreResult<Result<Arc<Template>, PublishRefusal>> {
        self.write(move |tx| {
            if let Err(refusal) = require_member(tx, merchant, by)? {
                return Ok(Err(PublishRefusal::Access(refusal)));
            }
            if let Err(refusal) = template::publish(owned(tx, merchant, id)?) {
                return Ok(Err(refusal));
            }
            change_status(tx, id, TemplateStatus::Issuable, None)?;
            snapshot(tx, id).map(Ok)
        })
        .await
    }

    async fn discard(
        &self,
        merchant: MerchantId,
        by: AccountId,
        id: TemplateId,
        reason: String,
    ) -> StoreResult<Result<Arc<Template>, DiscardRefusal>> {
        self.write(move |tx| {
            if let Err(refusal) = require_member(tx, merchant, by)? {
                return Ok(Err(DiscardRefusal::Access(refusal)));
            }
            let now = tx.now;
            if let Err(refusal) = template::discard(owned(tx, merchant, id)?, now) {
                return Ok(Err(refusal));
            }
            change_status(tx, id, TemplateStatus::Discarded, Some(&reason))?;
            snapshot(tx, id).map(Ok)
        })
        .await
    }
}
