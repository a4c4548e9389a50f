//! The coupon history, page by page.
//!
//! A page is read along an index in the order of time and id, beginning at its cursor. No index has the entries of a user
//! in that order, so a user's page is merged from the first entries of each of the user's coupons.

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
    /// Returns the query of a page that is not a user's. It reads along the index of the filter that leaves the fewest
    /// entries: the order, else the template, else all of the merchant.
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
            // Compares the owner once, so that another merchant's template is not read entry by entry.
            let values = [template.0.into(), self.merchant.0.into()];
            query.add(" AND h.template_id = ? AND t.merchant_id = ?", values);
        }
        self.add_range(&mut query);
        query
    }

    /// Adds the conditions on time and id, the order, and the limit.
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

    /// Returns the query of the user's coupons that may have entries on the page: those whose issue and last change
    /// enclose a part of the page's time.
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

    /// Returns the query of the first entries of each of these coupons.
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

/// A coupon of the user.
struct UserCoupon {
    id: CouponId,
    template: TemplateId,
    template_name: String,
}

/// The numbers of coupons whose entries one statement may ask for. There are only a few, so that few statements are
/// prepared; the last one is the most.
const COUPONS_PER_STATEMENT: [usize; 3] = [1, 8, 48];

async fn user_page(
    session: &mut Session<'_>,
    page: &Page<'_>,
    user: &str,
) -> Result<Vec<HistoryEntry>> {
    let Query { sql, values } = page.coupons_query(user);
    let read_coupon = |row: &mut Columns| {
        Ok(UserCoupon {
            id: row.coupon_id()?,
            template: TemplateId(row.read()?),
            template_name: row.read()?,
        })
    };
    let coupons = session.rows(&sql, values, read_coupon).await?;
    let mut entries: Vec<HistoryEntry> = Vec::new();
    let [.., max] = COUPONS_PER_STATEMENT;
    for some in coupons.chunks(max) {
        let mut ids: Vec<CouponId> = some.iter().map(|coupon| coupon.id).collect();
        let mut counts = COUPONS_PER_STATEMENT.into_iter();
        let count = counts.find(|count| *count >= ids.len());
        // Fills the list up with an id that no coupon has.
        ids.resize(count.unwrap_or(max), CouponId::from_bytes([0; 16]));
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
        // A page with an order is read by the order even if it has a user: an order has few entries.
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
