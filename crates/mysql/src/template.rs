//! Coupon templates.

use std::{borrow::Borrow, sync::Arc};

use async_trait::async_trait;
use goodpon_application::ports::{StoreResult, Templates};
use goodpon_domain::{
    id::{AccountId, MerchantId, TemplateId},
    merchant::{AccessRefusal, Role},
    quota::Quota,
    template::{
        self, DiscardRefusal, Discount, DiscountType, DraftRefusal, Limit, LimitType, Owned,
        Period, PublishRefusal, Template, TemplateStatus, Terms,
    },
};
use mysql_async::Value;

use crate::{
    Store,
    codec::{discount_type, limit_type, micros, template_status},
    columns::Columns,
    fault::{Fault, Result},
    merchant,
    session::Session,
};

macro_rules! columns {
    ($redeem_count:literal) => {
        concat!(
            "t.id, t.merchant_id, t.name, t.description, t.min_order_amount, t.discount_type, t.discount_value,
             t.max_discount_amount, t.issue_start_at, t.issue_end_at, t.validity_days, t.absolute_expires_at,
             t.limit_type, t.limit_count, t.status, t.issue_count, ",
            $redeem_count,
            ", t.created_at, t.discard_reason"
        )
    };
}

/// The columns that [`read`] reads, of `coupon_templates` as `t`. Redemptions without a limit are counted in slots.
pub(crate) const COLUMNS: &str = columns!(
    "t.redeem_count + (SELECT COALESCE(CAST(SUM(r.redeem_count) AS SIGNED), 0)
                       FROM template_redemptions r FORCE INDEX (PRIMARY) WHERE r.template_id = t.id)"
);

/// The same without what is counted in slots, where only a limit matters.
pub(crate) const COLUMNS_BUT_SLOTS: &str = columns!("t.redeem_count");

/// How a row is locked that is read to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Not at all: as it was committed last.
    None,
    /// Nobody may change it until the transaction ends.
    Shared,
    /// Nobody else may lock it until the transaction ends.
    Exclusive,
}

impl Lock {
    /// What stands behind the SELECT. The old wording for shared is the one that MariaDB knows too.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Shared => " LOCK IN SHARE MODE",
            Self::Exclusive => " FOR UPDATE",
        }
    }
}

/// Reads [`COLUMNS`].
pub(crate) fn read(row: &mut Columns) -> Result<Template> {
    let (id, merchant_id) = (TemplateId(row.read()?), MerchantId(row.read()?));
    let (name, description) = (row.read()?, row.read()?);
    let min_order_amount = row.read()?;
    let discount = match (discount_type::read(row)?, row.read()?, row.read()?) {
        (DiscountType::FixedAmount, amount, None) => Discount::FixedAmount { amount },
        (DiscountType::Percentage, percent, Some(max)) => Discount::Percentage { percent, max },
        _ => return Err(Fault::Corrupt("a discount")),
    };
    let period = Period {
        issue_start_at: row.timestamp()?,
        issue_end_at: row.optional_timestamp()?,
        validity_days: row.read()?,
        absolute_expires_at: row.optional_timestamp()?,
    };
    let limit = match (limit_type::read(row)?, row.read()?) {
        (LimitType::None, None) => Limit::None,
        (LimitType::IssueCount, Some(count)) => Limit::IssueCount(count),
        (LimitType::RedeemCount, Some(count)) => Limit::RedeemCount(count),
        _ => return Err(Fault::Corrupt("a limit")),
    };
    Ok(Template {
        id,
        merchant_id,
        terms: Terms {
            name,
            description,
            min_order_amount,
            discount,
            period,
            limit,
        },
        status: template_status::read(row)?,
        issue_count: row.read()?,
        redeem_count: row.read()?,
        created_at: row.timestamp()?,
        discard_reason: row.read()?,
    })
}

/// The template of that id.
pub(crate) async fn load(
    session: &mut Session<'_>,
    id: TemplateId,
    lock: Lock,
) -> Result<Option<Template>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM coupon_templates t WHERE t.id = ?{}",
        lock.sql()
    );
    session.first(&sql, (id.0,), read).await
}

async fn list(session: &mut Session<'_>, merchant: MerchantId) -> Result<Vec<Arc<Template>>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM coupon_templates t WHERE t.merchant_id = ?
         ORDER BY t.created_at DESC, t.id DESC"
    );
    let read = |row: &mut Columns| read(row).map(Arc::new);
    session.rows(&sql, (merchant.0,), read).await
}

/// Whether the account is a member of the merchant, and stays one until the commit.
async fn require_member(
    session: &mut Session<'_>,
    merchant: MerchantId,
    by: AccountId,
    how: Lock,
) -> Result<std::result::Result<Role, AccessRefusal>> {
    merchant::lock(session, merchant, how).await?;
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

/// Changes a template's status, and its reason if it is discarded, where the row is locked and was just read.
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

/// The template, as far as it is the merchant's.
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
        self.scan(|session| Box::pin(list(session, merchant))).await
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
