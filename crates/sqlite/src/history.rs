//! The ledger, page by page.
//!
//! Entries are clustered by template, so a page is merged from one stream a template: each stream seeks to the
//! page's beginning by an index and is read only as far as the page needs it. Of a merchant's templates only those are
//! opened that recorded something in the seconds that the page is about (`activity.rs`), second by second. A user's
//! page is made from all entries of their coupons, each of which leads to the one before it.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use goodpon_application::ports::{Direction, Histories, HistoryFilter, StoreResult};
use goodpon_domain::{
    history::{HistoryEntry, HistoryPosition},
    id::{CouponId, MerchantId, TemplateId},
    ledger::{Amounts, HistoryAction},
};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, named_params, params};

use crate::{
    codec::{coupon_id, history_action, history_id, micros, row_limit, timestamp},
    late::coupon_state::Stored,
    position::LedgerPosition,
    store::Store,
    write::activity,
    write::published::Published,
};

/// So many entries of a stream are read at once, after its first one.
const CHUNK: usize = 16;

/// An entry without what stands in other tables.
struct Line {
    position: HistoryPosition,
    action: HistoryAction,
    coupon_id: CouponId,
    template_id: TemplateId,
    order_id: Option<String>,
    reason: Option<String>,
    amounts: Amounts,
}

/// The columns that [`read`] reads.
const COLUMNS: &str = "template_id, recorded_at, id, action, coupon_id, order_id, reason, order_amount, discount_amount";

fn read(row: &Row<'_>) -> rusqlite::Result<Line> {
    Ok(Line {
        template_id: TemplateId(row.get(0)?),
        position: HistoryPosition {
            recorded_at: timestamp(row, 1)?,
            id: history_id(row, 2)?,
        },
        action: history_action::read(row, 3)?,
        coupon_id: coupon_id(row, 4)?,
        order_id: row.get(5)?,
        reason: row.get(6)?,
        amounts: Amounts {
            order: row.get(7)?,
            discount: row.get(8)?,
        },
    })
}

/// The open interval of entries that a page may still show.
#[derive(Clone, Copy)]
struct Range {
    above: LedgerPosition,
    below: LedgerPosition,
}

impl Range {
    fn of(filter: &HistoryFilter, direction: Direction, after: Option<HistoryPosition>) -> Self {
        let from = filter.from.map(|at| LedgerPosition::behind(micros(at) - 1));
        let until = filter.until.map(|at| LedgerPosition::before(micros(at)));
        let range = Self {
            above: from.unwrap_or(LedgerPosition::BEGINNING),
            below: until.unwrap_or(LedgerPosition::END),
        };
        match after {
            Some(position) => range.behind(position, direction),
            None => range,
        }
    }

    /// The part up to a position.
    fn up_to(self, last: Option<LedgerPosition>) -> Self {
        let below = last.map_or(LedgerPosition::BEGINNING, LedgerPosition::next);
        Self {
            below: self.below.min(below),
            ..self
        }
    }

    /// The part within a second.
    fn within(self, second: i64) -> Self {
        let (from, to) = activity::span(second);
        Self {
            above: self
                .above
                .max(LedgerPosition::behind(from.saturating_sub(1))),
            below: self.below.min(LedgerPosition::before(to)),
        }
    }

    fn contains(self, position: HistoryPosition) -> bool {
        let position = LedgerPosition::new(position.recorded_at, position.id.to_bytes());
        self.above < position && position < self.below
    }

    /// The part behind an entry, as the page goes.
    fn behind(self, position: HistoryPosition, direction: Direction) -> Self {
        let position = LedgerPosition::new(position.recorded_at, position.id.to_bytes());
        match direction {
            Direction::Ascending => Self {
                above: self.above.max(position),
                ..self
            },
            Direction::Descending => Self {
                below: self.below.min(position),
                ..self
            },
        }
    }
}

/// Entries that stand in order: all of a template, or those of an order.
struct Source {
    template: TemplateId,
    order: Option<String>,
}

/// The query that reads on in a template, or in a template's entries of an order.
fn sql(is_of_order: bool, direction: Direction) -> String {
    let (index, condition) = match is_of_order {
        false => ("", ""),
        true => (
            "INDEXED BY coupon_histories_by_order",
            "AND merchant_id = :merchant AND order_id = :order",
        ),
    };
    let order = match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    };
    format!(
        "SELECT {COLUMNS} FROM coupon_histories {index}
         WHERE template_id = :template {condition}
         AND (recorded_at, id) > (:above_at, :above_id) AND (recorded_at, id) < (:below_at, :below_id)
         ORDER BY recorded_at {order}, id {order} LIMIT :limit"
    )
}

struct Reader<'a> {
    connection: &'a Connection,
    merchant: MerchantId,
    direction: Direction,
}

impl Reader<'_> {
    fn read(
        &self,
        source: &Source,
        range: Range,
        limit: usize,
    ) -> rusqlite::Result<VecDeque<Line>> {
        let sql = sql(source.order.is_some(), self.direction);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let limit = row_limit(limit);
        let mut parameters: Vec<(&str, &dyn ToSql)> = named_params! {
            ":template": source.template.0,
            ":above_at": range.above.micros, ":above_id": range.above.id,
            ":below_at": range.below.micros, ":below_id": range.below.id,
            ":limit": limit,
        }
        .to_vec();
        if let Some(order) = &source.order {
            parameters.push((":merchant", &self.merchant.0));
            parameters.push((":order", order));
        }
        statement.query_map(&*parameters, read)?.collect()
    }
}

/// The sources in which entries that pass the filter stand, but for its user, where it names a template or an order.
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
        // Whatever a damaged database says, this comes to an end.
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

/// The query for the templates that recorded something in a span of seconds, second by second.
fn active_sql(direction: Direction) -> String {
    let order = match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    };
    format!(
        "SELECT second, template_id FROM template_activity
         WHERE merchant_id = :merchant AND second BETWEEN :from AND :to ORDER BY second {order}"
    )
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

/// A source that is being read. Orders by what comes next, the next to be told on top of a heap.
struct Stream {
    source: Source,
    next: Line,
    buffered: VecDeque<Line>,
    /// What the last read may have left.
    rest: Option<Range>,
    direction: Direction,
}

impl Ord for Stream {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.next.position.cmp(&other.next.position);
        match self.direction {
            Direction::Ascending => order.reverse(),
            Direction::Descending => order,
        }
    }
}

impl PartialOrd for Stream {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Stream {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Stream {}

impl Reader<'_> {
    fn open(&self, source: Source, range: Range) -> rusqlite::Result<Option<Stream>> {
        let mut buffered = self.read(&source, range, 1)?;
        Ok(buffered.pop_front().map(|next| Stream {
            rest: Some(range.behind(next.position, self.direction)),
            source,
            next,
            buffered,
            direction: self.direction,
        }))
    }

    /// The stream's next entry, and the stream without it if it has more.
    fn advance(&self, mut stream: Stream) -> rusqlite::Result<(Line, Option<Stream>)> {
        if stream.buffered.is_empty()
            && let Some(rest) = stream.rest.take()
        {
            stream.buffered = self.read(&stream.source, rest, CHUNK)?;
            if stream.buffered.len() == CHUNK {
                let last = stream.buffered.back();
                stream.rest = last.map(|line| rest.behind(line.position, self.direction));
            }
        }
        match stream.buffered.pop_front() {
            Some(next) => {
                let told = std::mem::replace(&mut stream.next, next);
                Ok((told, Some(stream)))
            }
            None => Ok((stream.next, None)),
        }
    }

    /// Entries of all templates of the merchant, second by second: each is read before the next one is looked for.
    fn merge_active(&self, range: Range, limit: usize) -> rusqlite::Result<Vec<Line>> {
        let mut active = self
            .connection
            .prepare_cached(&active_sql(self.direction))?;
        let mut rows = active.query(named_params! {
            ":merchant": self.merchant.0,
            ":from": activity::second(range.above.micros),
            ":to": activity::second(range.below.micros),
        })?;
        let mut lines: Vec<Line> = Vec::new();
        let mut of_second: Option<(i64, Vec<Source>)> = None;
        loop {
            let next = match rows.next()? {
                Some(row) => Some((row.get::<_, i64>(0)?, TemplateId(row.get(1)?))),
                None => None,
            };
            if let Some((second, sources)) =
                of_second.take_if(|(second, _)| next.is_none_or(|(other, _)| other != *second))
            {
                let left = limit - lines.len();
                lines.extend(self.merge(sources, range.within(second), left)?);
            }
            match next {
                Some((second, template)) if lines.len() < limit => {
                    let (_, sources) = of_second.get_or_insert_with(|| (second, Vec::new()));
                    sources.push(Source {
                        template,
                        order: None,
                    });
                }
                _ => return Ok(lines),
            }
        }
    }

    fn merge(
        &self,
        sources: Vec<Source>,
        range: Range,
        limit: usize,
    ) -> rusqlite::Result<Vec<Line>> {
        let mut streams = BinaryHeap::with_capacity(sources.len());
        for source in sources {
            streams.extend(self.open(source, range)?);
        }
        let mut lines = Vec::new();
        while lines.len() < limit
            && let Some(stream) = streams.pop()
        {
            let (line, rest) = self.advance(stream)?;
            lines.push(line);
            streams.extend(rest);
        }
        Ok(lines)
    }
}

/// Adds whose coupon it is and what its template is called.
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
    // A user's coupons are looked up one by one, so one may be seen with a later change than another: what is
    // behind this position is left to another page. The snapshot comes last, and thus has all that they tell of.
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
