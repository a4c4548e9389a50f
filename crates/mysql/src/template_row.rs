//! The rows of coupon templates.

use std::sync::Arc;

use goodpon_domain::{
    id::{MerchantId, TemplateId},
    template::{Discount, DiscountType, Limit, LimitType, Period, Template, Terms},
};

use crate::{
    codec::{discount_type, limit_type, template_status},
    columns::Columns,
    fault::{Fault, Result},
    lock::Lock,
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

/// The columns that [`read`] reads, of `coupon_templates` as `t`. The redemption count includes the slots in which those
/// of templates without a redeem limit are counted.
pub(crate) const COLUMNS: &str = columns!(
    "t.redeem_count + (SELECT COALESCE(CAST(SUM(r.redeem_count) AS SIGNED), 0)
                       FROM template_redemptions r FORCE INDEX (PRIMARY) WHERE r.template_id = t.id)"
);

/// The same columns without the count of the slots, for readers that need only the count of limited redemptions.
pub(crate) const COLUMNS_BUT_SLOTS: &str = columns!("t.redeem_count");

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

/// Loads the template of that id.
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

/// Loads all templates of a merchant, newest first.
pub(crate) async fn of_merchant(
    session: &mut Session<'_>,
    merchant: MerchantId,
) -> Result<Vec<Arc<Template>>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM coupon_templates t WHERE t.merchant_id = ?
         ORDER BY t.created_at DESC, t.id DESC"
    );
    let read = |row: &mut Columns| read(row).map(Arc::new);
    session.rows(&sql, (merchant.0,), read).await
}
