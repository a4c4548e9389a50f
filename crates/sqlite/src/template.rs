//! Coupon templates.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_application::ports::{StoreResult, Templates};
use goodpon_domain::{
    id::{AccountId, MerchantId, TemplateId},
    merchant::{AccessRefusal, Role, Standing},
    quota::Quota,
    template::{
        self, DiscardRefusal, Discount, DiscountType, DraftRefusal, Limit, LimitType, Owned,
        Period, PublishRefusal, Template, TemplateStatus, Terms,
    },
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    codec::{discount_type, limit_type, micros, optional_timestamp, template_status, timestamp},
    merchant::{count, standing},
    store::Store,
    writer::Tx,
};

const COLUMNS: &str = "id, merchant_id, name, description, min_order_amount, discount_type, discount_value, \
     max_discount_amount, issue_start_at, issue_end_at, validity_days, absolute_expires_at, limit_type, limit_count, \
     status, issue_count, redeem_count, created_at, discard_reason";

/// Reads a row of [`COLUMNS`].
fn read(row: &Row<'_>) -> rusqlite::Result<Template> {
    Ok(Template {
        id: TemplateId(row.get(0)?),
        merchant_id: MerchantId(row.get(1)?),
        terms: Terms {
            name: row.get(2)?,
            description: row.get(3)?,
            min_order_amount: row.get(4)?,
            discount: match discount_type::read(row, 5)? {
                DiscountType::FixedAmount => Discount::FixedAmount {
                    amount: row.get(6)?,
                },
                DiscountType::Percentage => Discount::Percentage {
                    percent: row.get(6)?,
                    max: row.get(7)?,
                },
            },
            period: Period {
                issue_start_at: timestamp(row, 8)?,
                issue_end_at: optional_timestamp(row, 9)?,
                validity_days: row.get(10)?,
                absolute_expires_at: optional_timestamp(row, 11)?,
            },
            limit: match limit_type::read(row, 12)? {
                LimitType::None => Limit::None,
                LimitType::IssueCount => Limit::IssueCount(row.get(13)?),
                LimitType::RedeemCount => Limit::RedeemCount(row.get(13)?),
            },
        },
        status: template_status::read(row, 14)?,
        issue_count: row.get(15)?,
        redeem_count: row.get(16)?,
        created_at: timestamp(row, 17)?,
        discard_reason: row.get(18)?,
    })
}

/// The template of that id, whosever it is.
pub(crate) fn load(connection: &Connection, id: TemplateId) -> rusqlite::Result<Option<Template>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM coupon_templates WHERE id = ?1"
        ))?
        .query_row([id.0], read)
        .optional()
}

/// Hands every template to `each`, in order of id.
pub(crate) fn for_each(
    connection: &Connection,
    mut each: impl FnMut(Template) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!(
        "SELECT {COLUMNS} FROM coupon_templates ORDER BY id"
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(read(row)?)?;
    }
    Ok(())
}

/// Writes a template's counters.
pub(crate) fn write_counts(connection: &Connection, template: &Template) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE coupon_templates SET issue_count = ?2, redeem_count = ?3 WHERE id = ?1",
        )?
        .execute(params![
            template.id.0,
            template.issue_count,
            template.redeem_count
        ])?;
    Ok(())
}

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

fn insert(tx: &Tx<'_>, merchant: MerchantId, terms: &Terms) -> rusqlite::Result<TemplateId> {
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

/// Whether the account is a member of the merchant at the moment of the change.
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

/// The template after a change, to be told to the caller.
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
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM coupon_templates WHERE merchant_id = ?1
                     ORDER BY created_at DESC, id DESC"
                ))?
                .query_map([merchant.0], |row| read(row).map(Arc::new))?
                .collect()
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
