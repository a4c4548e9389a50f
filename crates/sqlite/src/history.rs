//! The ledger, page by page.
//!
//! Entries are clustered by template, so a page is merged from one stream per template: each stream seeks to the page's
//! beginning by an index and is read only as far as the page needs it. Of a merchant's templates only those are opened that
//! recorded something in the seconds of the page (`write/activity.rs`), second by second. A user's page is made from all
//! entries of their coupons, each of which leads to the one before it.

mod range;
mod streams;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use goodpon_application::ports::{Direction, Histories, HistoryFilter, StoreResult};
use goodpon_domain::{
    history::{HistoryEntry, HistoryPosition},
    id::{MerchantId, TemplateId},
};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use self::range::Range;
use self::streams::{Line, Reader, Source, read};
use crate::{
    late::coupon_state::Stored, position::LedgerPosition, store::Store, write::published::Published,
};

/// The sources of entries that pass the filter (but for its user), if it names a template or an order.
fn sources(
    connection: &Connection,
    merchant: MerchantId,
    filter: &HistoryFilter,
) -> rusqlite::Result<Option<Vec<Source>>> {
    let order = filter.order_id.as_ref();
    let templates = match (filter.template_id, order) {
        (Some(id), _) => own_template(connection, merchant, id)?,
        (None, Some(order)) => templates_of_order(connection, merchant, order)?,
        (None, None) => return Ok(None),
    };
    let source = |template| Source {
        template,
        order: order.cloned(),
    };
    Ok(Some(templates.into_iter().map(source).collect()))
}

/// The entry at a position of a coupon, its number, and the position of the one before it.
const ENTRY: &str =
    "SELECT template_id, recorded_at, id, action, coupon_id, order_id, reason, order_amount, discount_amount,
         number, previous_at, previous_id
     FROM coupon_histories WHERE template_id = ?1 AND recorded_at = ?2 AND id = ?3 AND coupon_id = ?4";

/// All entries of a coupon, its ISSUE at last.
fn entries_of(connection: &Connection, stored: &Stored) -> rusqlite::Result<Vec<Line>> {
    let coupon = &stored.coupon;
    let mut statement = connection.prepare_cached(ENTRY)?;
    let mut look_up = |position: LedgerPosition| {
        let key = params![
            coupon.template_id.0,
            position.micros,
            position.id,
            coupon.id.to_bytes()
        ];
        let found = |row: &Row<'_>| {
            Ok((
                read(row)?,
                row.get(9)?,
                LedgerPosition::read_optional(row, 10, 11)?,
            ))
        };
        statement.query_row(key, found).optional()
    };
    let mut lines = Vec::new();
    let mut next = stored.change.map(|change| change.position);
    let mut last = i64::MAX;
    while let Some(position) = next
        && let Some((line, number, previous)) = look_up(position)?
        // The numbers fall, so the loop ends even in a damaged database.
        && number < last
    {
        lines.push(line);
        (last, next) = (number, previous);
    }
    let issue = look_up(LedgerPosition::new(coupon.issued_at, coupon.id.to_bytes()))?;
    lines.extend(issue.map(|(line, ..)| line));
    Ok(lines)
}

const OWN_TEMPLATE: &str =
    "SELECT id FROM coupon_templates WHERE id = :template AND merchant_id = :merchant";

fn own_template(
    connection: &Connection,
    merchant: MerchantId,
    id: TemplateId,
) -> rusqlite::Result<Vec<TemplateId>> {
    connection
        .prepare_cached(OWN_TEMPLATE)?
        .query_map(
            named_params! { ":template": id.0, ":merchant": merchant.0 },
            |row| row.get(0).map(TemplateId),
        )?
        .collect()
}

/// Hops along the index from template to template: an order may have very many entries of few templates.
const NEXT_TEMPLATE_OF_ORDER: &str = "SELECT template_id FROM coupon_histories INDEXED BY coupon_histories_by_order
     WHERE merchant_id = :merchant AND order_id = :order AND template_id > :template ORDER BY template_id LIMIT 1";

fn templates_of_order(
    connection: &Connection,
    merchant: MerchantId,
    order: &str,
) -> rusqlite::Result<Vec<TemplateId>> {
    let mut statement = connection.prepare_cached(NEXT_TEMPLATE_OF_ORDER)?;
    let mut templates = Vec::new();
    let mut last = 0;
    loop {
        let mut rows = statement.query(named_params! {
            ":merchant": merchant.0, ":order": order, ":template": last,
        })?;
        match rows.next()? {
            Some(row) => last = row.get(0)?,
            None => return Ok(templates),
        }
        templates.push(TemplateId(last));
    }
}

/// Adds the coupon's user and the template's name to each entry.
fn complete(connection: &Connection, lines: Vec<Line>) -> rusqlite::Result<Vec<HistoryEntry>> {
    let mut user = connection.prepare_cached("SELECT user_id FROM coupons WHERE id = ?1")?;
    let mut name = connection.prepare_cached("SELECT name FROM coupon_templates WHERE id = ?1")?;
    let mut names: HashMap<TemplateId, String> = HashMap::new();
    let mut entries = Vec::with_capacity(lines.len());
    for line in lines {
        let template_name = match names.get(&line.template_id) {
            Some(known) => known.clone(),
            None => {
                let read: String = name.query_row([line.template_id.0], |row| row.get(0))?;
                names.insert(line.template_id, read.clone());
                read
            }
        };
        entries.push(HistoryEntry {
            id: line.position.id,
            action: line.action,
            recorded_at: line.position.recorded_at,
            order_id: line.order_id,
            reason: line.reason,
            amounts: line.amounts,
            coupon_id: line.coupon_id,
            user_id: user.query_row([line.coupon_id.to_bytes()], |row| row.get(0))?,
            template_id: line.template_id,
            template_name,
        });
    }
    Ok(entries)
}

/// A page of a user's entries, up to the last that was published before their coupons were looked up.
fn user_page(
    coupons: &[Stored],
    published: Option<LedgerPosition>,
    reader: &Reader<'_>,
    filter: &HistoryFilter,
    range: Range,
    limit: usize,
) -> rusqlite::Result<Vec<Line>> {
    let (range, mut lines) = (range.up_to(published), Vec::new());
    for stored in coupons {
        let of_template = |id| id == stored.coupon.template_id;
        if filter.template_id.is_none_or(of_template) {
            let of_order =
                |line: &Line| filter.order_id.is_none() || line.order_id == filter.order_id;
            let found = entries_of(reader.connection, stored)?.into_iter();
            lines.extend(found.filter(|line| range.contains(line.position) && of_order(line)));
        }
    }
    lines.sort_unstable_by(|one, other| match reader.direction {
        Direction::Ascending => one.position.cmp(&other.position),
        Direction::Descending => other.position.cmp(&one.position),
    });
    lines.truncate(limit);
    Ok(lines)
}

/// A page of the merchant's history. See [`Histories::page`].
pub(crate) fn page(
    published: &Published,
    connection: &Connection,
    merchant: MerchantId,
    filter: &HistoryFilter,
    direction: Direction,
    after: Option<HistoryPosition>,
    limit: usize,
) -> rusqlite::Result<Vec<HistoryEntry>> {
    // A user's coupons are looked up one by one, so one may be seen with a later change than another: entries behind this
    // position are left to another page. The snapshot comes last, so it has every entry that the coupons lead to.
    let last = published.states.published();
    let coupons = match &filter.user_id {
        Some(user) => Some(published.all_coupons(connection, merchant, user)?),
        None => None,
    };
    let snapshot = connection.unchecked_transaction()?;
    let reader = Reader {
        connection: &snapshot,
        merchant,
        direction,
    };
    let range = Range::of(filter, direction, after);
    let lines = match coupons {
        Some(coupons) => user_page(&coupons, last, &reader, filter, range, limit)?,
        None => match sources(&snapshot, merchant, filter)? {
            Some(sources) => reader.merge(sources, range, limit)?,
            None => reader.merge_active(range, limit)?,
        },
    };
    complete(&snapshot, lines)
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
        let (published, filter) = (Arc::clone(&self.inner.published), filter.clone());
        self.scan(move |connection| {
            page(
                &published, connection, merchant, &filter, direction, after, limit,
            )
        })
        .await
    }
}

#[cfg(test)]
mod tests;
