//! The rows of coupon templates.

use goodpon_domain::{
    id::{MerchantId, TemplateId},
    template::{Discount, DiscountType, Limit, LimitType, Period, Template, Terms},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::codec::{discount_type, limit_type, optional_timestamp, template_status, timestamp};

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

/// The template of this id, of any merchant.
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

/// The templates of a merchant, newest first.
pub(crate) fn of_merchant(
    connection: &Connection,
    merchant: MerchantId,
) -> rusqlite::Result<Vec<Template>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM coupon_templates WHERE merchant_id = ?1
             ORDER BY created_at DESC, id DESC"
        ))?
        .query_map([merchant.0], read)?
        .collect()
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
