//! The ledger of what happened to coupons, page by page.
//!
//! Every page is read along an index in the order of time and id, from its cursor on. A user's page has no such index:
//! it is merged from the first entries of each of their coupons.

use async_trait::async_trait;
use goodpon_application::ports::{Direction, Histories, HistoryFilter, StoreResult};
use goodpon_domain::{
    history::{HistoryEntry, HistoryPosition},
    id::{CouponId, MerchantId, TemplateId},
};
use mysql_async::Value;

use crate::{
    Store,
    codec::{history_action, micros, row_limit},
    columns::Columns,
    fault::Result,
    session::Session,
};

/// A query for a page.
pub(crate) struct Page<'a> {
    pub(crate) merchant: MerchantId,
    pub(crate) filter: &'a HistoryFilter,
    pub(crate) direction: Direction,
    pub(crate) after: Option<HistoryPosition>,
    pub(crate) limit: usize,
}

/// A statement with its values.
#[derive(Clone, Default)]
pub(crate) struct Query {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

impl Query {
    fn add<const N: usize>(&mut self, sql: &str, values: [Value; N]) {
        self.sql.push_str(sql);
        self.values.extend(values);
    }
}

impl Page<'_> {
    /// Entries of which there are few in an order; then those of a template; else all of the merchant.
    pub(crate) fn query(&self) -> Query {
        let index = match (&self.filter.order_id, self.filter.template_id) {
            (Some(_), _) => "coupon_histories_by_order",
            (None, Some(_)) => "coupon_histories_by_template",
            (None, None) => "PRIMARY",
        };
        let mut query = Query::default();
        query.add(
            &format!(
                "SELECT STRAIGHT_JOIN h.recorded_at, h.id, h.action, h.order_id, h.reason, h.order_amount,
                        h.discount_amount, h.coupon_id, c.user_id, h.template_id, t.name
                 FROM coupon_histories h FORCE INDEX ({index})
                 JOIN coupons c ON c.id = h.coupon_id
                 JOIN coupon_templates t ON t.id = h.template_id
                 WHERE h.merchant_id = ?"
            ),
            [self.merchant.0.into()],
        );
        if let Some(order) = &self.filter.order_id {
            query.add(" AND h.order_id = ?", [order.as_str().into()]);
        }
        if let Some(user) = &self.filter.user_id {
            query.add(" AND c.user_id = ?", [user.as_str().into()]);
        }
        if let Some(template) = self.filter.template_id {
            // Another merchant's is found out at once, not entry by entry.
            let values = [template.0.into(), self.merchant.0.into()];
            query.add(" AND h.template_id = ? AND t.merchant_id = ?", values);
        }
        self.add_range(&mut query);
        query
    }

    /// Adds which entries stand on the page as far as their place tells, and their order.
    fn add_range(&self, query: &mut Query) {
        if let Some(from) = self.filter.from {
            query.add(" AND h.recorded_at >= ?", [micros(from).into()]);
        }
        if let Some(until) = self.filter.until {
            query.add(" AND h.recorded_at < ?", [micros(until).into()]);
        }
        let (beyond, order) = match self.direction {
            Direction::Ascending => (">", "ASC"),
            Direction::Descending => ("<", "DESC"),
        };
        if let Some(HistoryPosition { recorded_at, id }) = self.after {
            let at = micros(recorded_at);
            query.add(
                &format!(
                    " AND (h.recorded_at {beyond} ? OR h.recorded_at = ? AND h.id {beyond} ?)"
                ),
                [at.into(), at.into(), id.to_bytes().into()],
            );
        }
        query.add(
            &format!(" ORDER BY h.recorded_at {order}, h.id {order} LIMIT ?"),
            [row_limit(self.limit).into()],
        );
    }

    /// The user's coupons that may have entries on the page: a coupon's entries lie between its issue and its last
    /// change.
    pub(crate) fn coupons_query(&self, user: &str) -> Query {
        let index = match self.filter.template_id {
            Some(_) => "coupons_one_for_each_user",
            None => "coupons_by_user",
        };
        let mut query = Query::default();
        query.add(
            &format!(
                "SELECT STRAIGHT_JOIN c.id, c.template_id, t.name
                 FROM coupons c FORCE INDEX ({index}) JOIN coupon_templates t ON t.id = c.template_id
                 WHERE c.merchant_id = ? AND c.user_id = ?"
            ),
            [self.merchant.0.into(), user.into()],
        );
        if let Some(template) = self.filter.template_id {
            query.add(" AND c.template_id = ?", [template.0.into()]);
        }
        let after = self.after.map(|after| after.recorded_at);
        let (from, until) = match self.direction {
            Direction::Ascending => (after.max(self.filter.from), self.filter.until),
            Direction::Descending => (self.filter.from, after.or(self.filter.until)),
        };
        if let Some(from) = from {
            query.add(" AND c.changed_at >= ?", [micros(from).into()]);
        }
        if let Some(until) = until {
            query.add(" AND c.issued_at <= ?", [micros(until).into()]);
        }
        query
    }

    /// The first entries of each of these coupons.
    pub(crate) fn entries_query(&self, coupons: &[CouponId]) -> Query {
        let mut one = Query::default();
        one.add(
            "SELECT h.recorded_at, h.id, h.action, h.order_id, h.reason, h.order_amount, h.discount_amount, h.coupon_id
             FROM coupon_histories h FORCE INDEX (coupon_histories_by_coupon) WHERE h.coupon_id = ?",
            [],
        );
        self.add_range(&mut one);
        let mut query = Query {
            sql: vec![format!("({})", one.sql); coupons.len()].join(" UNION ALL "),
            values: Vec::with_capacity(coupons.len() * (one.values.len() + 1)),
        };
        for coupon in coupons {
            query.values.push(coupon.to_bytes().into());
            query.values.extend_from_slice(&one.values);
        }
        query
    }
}

/// A coupon of a user.
struct Own {
    id: CouponId,
    template: TemplateId,
    template_name: String,
}

/// Of so many coupons at most entries are asked for at a time, and few counts are asked for, so that few statements
/// are prepared.
const AT_A_TIME: [usize; 3] = [1, 8, 48];

async fn user_page(
    session: &mut Session<'_>,
    page: &Page<'_>,
    user: &str,
) -> Result<Vec<HistoryEntry>> {
    let Query { sql, values } = page.coupons_query(user);
    let read_own = |row: &mut Columns| {
        Ok(Own {
            id: row.coupon_id()?,
            template: TemplateId(row.read()?),
            template_name: row.read()?,
        })
    };
    let own = session.rows(&sql, values, read_own).await?;
    let mut entries: Vec<HistoryEntry> = Vec::new();
    let [.., most] = AT_A_TIME;
    for some in own.chunks(most) {
        let mut ids: Vec<CouponId> = some.iter().map(|coupon| coupon.id).collect();
        let count = AT_A_TIME.into_iter().find(|count| *count >= ids.len());
        // Nothing bears this id.
        ids.resize(count.unwrap_or(most), CouponId::from_bytes([0; 16]));
        let Query { sql, values } = page.entries_query(&ids);
        let read = |row: &mut Columns| {
            let position = read_position(row)?;
            let (action, order_id) = (history_action::read(row)?, row.read()?);
            let (reason, amounts, coupon_id) = (row.read()?, row.amounts()?, row.coupon_id()?);
            let coupon = some.iter().find(|coupon| coupon.id == coupon_id);
            Ok(coupon.map(|coupon| HistoryEntry {
                id: position.id,
                action,
                recorded_at: position.recorded_at,
                order_id,
                reason,
                amounts,
                coupon_id,
                user_id: user.to_owned(),
                template_id: coupon.template,
                template_name: coupon.template_name.clone(),
            }))
        };
        entries.extend(
            session
                .rows(&sql, values, read)
                .await?
                .into_iter()
                .flatten(),
        );
        entries.sort_unstable_by(|one, other| match page.direction {
            Direction::Ascending => position(one).cmp(&position(other)),
            Direction::Descending => position(other).cmp(&position(one)),
        });
        entries.truncate(page.limit);
    }
    Ok(entries)
}

fn position(entry: &HistoryEntry) -> HistoryPosition {
    HistoryPosition {
        recorded_at: entry.recorded_at,
        id: entry.id,
    }
}

fn read_position(row: &mut Columns) -> Result<HistoryPosition> {
    Ok(HistoryPosition {
        recorded_at: row.timestamp()?,
        id: row.history_id()?,
    })
}

fn read(row: &mut Columns) -> Result<HistoryEntry> {
    let HistoryPosition { recorded_at, id } = read_position(row)?;
    Ok(HistoryEntry {
        id,
        action: history_action::read(row)?,
        recorded_at,
        order_id: row.read()?,
        reason: row.read()?,
        amounts: row.amounts()?,
        coupon_id: row.coupon_id()?,
        user_id: row.read()?,
        template_id: TemplateId(row.read()?),
        template_name: row.read()?,
    })
}

#[async_trait]
impl Histories for Store {
    async fn page(
        &self,
        merchant: MerchantId,
        filter: &HistoryFilter,
        direction: Direction,
        after: Option<HistoryPosition>,
        limit: usize,
    ) -> StoreResult<Vec<HistoryEntry>> {
        let page = &Page {
            merchant,
            filter,
            direction,
            after,
            limit,
        };
        // An order has few entries, whoever's it is.
        let user = filter
            .user_id
            .as_ref()
            .filter(|_| filter.order_id.is_none());
        self.read(|session| {
            Box::pin(async move {
                match user {
                    Some(user) => user_page(session, page, user).await,
                    None => {
                        let Query { sql, values } = page.query();
                        session.rows(&sql, values, read).await
                    }
                }
            })
        })
        .await
    }
}
