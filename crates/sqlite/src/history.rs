//! The ledger, page by page.
//!
//! Entries are clustered by template, so a page is merged from one stream a template: each stream seeks to the
//! page's beginning by an index and is read only as far as the page needs it.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use async_trait::async_trait;
use goodpon_application::{
    history::{Direction, HistoryFilter},
    ports::{Histories, StoreResult},
};
use goodpon_domain::{
    history::{HistoryAction, HistoryEntry, HistoryPosition},
    id::{CouponId, MerchantId, TemplateId},
};
use jiff::Timestamp;
use rusqlite::{Connection, Row, ToSql, named_params};

use crate::{
    Store,
    codec::{coupon_id, history_action, history_id, micros, row_limit, timestamp},
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
}

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
    })
}

/// A place between entries, as (microseconds, id).
type Bound = (i64, [u8; 16]);

/// The open interval in which entries are still to be told.
#[derive(Clone, Copy)]
struct Range {
    above: Bound,
    below: Bound,
}

const LAST_ID: [u8; 16] = [0xff; 16];

impl Range {
    fn of(filter: &HistoryFilter, direction: Direction, after: Option<HistoryPosition>) -> Self {
        // No id is all ones, so this is just before the first entry of `from`.
        let from = filter.from.map(|at| (micros(at) - 1, LAST_ID));
        let until = filter.until.map(|at| (micros(at), [0; 16]));
        let range = Self {
            above: from.unwrap_or((i64::MIN, [0; 16])),
            below: until.unwrap_or((i64::MAX, LAST_ID)),
        };
        match after {
            Some(position) => range.behind(position, direction),
            None => range,
        }
    }

    /// What is left of it behind an entry.
    fn behind(self, position: HistoryPosition, direction: Direction) -> Self {
        let place = (micros(position.recorded_at), position.id.to_bytes());
        match direction {
            Direction::Ascending => Self {
                above: self.above.max(place),
                ..self
            },
            Direction::Descending => Self {
                below: self.below.min(place),
                ..self
            },
        }
    }
}

/// Entries that one index holds in order.
enum Source {
    /// All of a template.
    Template(TemplateId),
    /// A template's entries of an order.
    Order(TemplateId, String),
    /// A coupon's ISSUE entry: it bears the coupon's own id.
    Issue(TemplateId, CouponId, Timestamp),
    /// A coupon's other entries, of an order if there is one.
    Coupon(TemplateId, CouponId, Option<String>),
}

impl Source {
    fn template(&self) -> TemplateId {
        match self {
            Self::Template(id)
            | Self::Order(id, _)
            | Self::Issue(id, ..)
            | Self::Coupon(id, ..) => *id,
        }
    }

    /// The query that reads on; the same text for all sources of a kind.
    fn sql(&self, direction: Direction) -> String {
        let (index, condition) = match self {
            Self::Template(_) => ("", ""),
            Self::Order(..) => (
                "INDEXED BY coupon_histories_by_order",
                "AND merchant_id = :merchant AND order_id = :order",
            ),
            Self::Issue(..) => (
                "",
                "AND recorded_at = :issued AND id = :coupon AND coupon_id = :coupon AND action = 0",
            ),
            Self::Coupon(_, _, None) => (
                "INDEXED BY coupon_histories_by_coupon",
                "AND coupon_id = :coupon AND action <> 0",
            ),
            Self::Coupon(_, _, Some(_)) => (
                "INDEXED BY coupon_histories_by_coupon",
                "AND coupon_id = :coupon AND action <> 0 AND order_id = :order",
            ),
        };
        let order = match direction {
            Direction::Ascending => "ASC",
            Direction::Descending => "DESC",
        };
        format!(
            "SELECT template_id, recorded_at, id, action, coupon_id, order_id, reason FROM coupon_histories {index}
             WHERE template_id = :template {condition}
             AND (recorded_at, id) > (:above_at, :above_id) AND (recorded_at, id) < (:below_at, :below_id)
             ORDER BY recorded_at {order}, id {order} LIMIT :limit"
        )
    }
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
        let sql = source.sql(self.direction);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let (template, limit) = (source.template().0, row_limit(limit));
        let mut parameters: Vec<(&str, &dyn ToSql)> = named_params! {
            ":template": template,
            ":above_at": range.above.0, ":above_id": range.above.1,
            ":below_at": range.below.0, ":below_id": range.below.1,
            ":limit": limit,
        }
        .to_vec();
        let (coupon_bytes, issued);
        match source {
            Source::Template(_) => {}
            Source::Order(_, order) => {
                parameters.push((":merchant", &self.merchant.0));
                parameters.push((":order", order));
            }
            Source::Issue(_, coupon, issued_at) => {
                (coupon_bytes, issued) = (coupon.to_bytes(), micros(*issued_at));
                parameters.push((":coupon", &coupon_bytes));
                parameters.push((":issued", &issued));
            }
            Source::Coupon(_, coupon, order) => {
                coupon_bytes = coupon.to_bytes();
                parameters.push((":coupon", &coupon_bytes));
                if let Some(order) = order {
                    parameters.push((":order", order));
                }
            }
        }
        statement.query_map(&*parameters, read)?.collect()
    }
}

/// The sources in which entries that pass the filter stand.
fn sources(
    connection: &Connection,
    merchant: MerchantId,
    filter: &HistoryFilter,
) -> rusqlite::Result<Vec<Source>> {
    if let Some(user_id) = &filter.user_id {
        return coupon_sources(connection, merchant, user_id, filter);
    }
    let order = filter.order_id.as_ref();
    let of_template = |id| match order {
        Some(order) => Source::Order(id, order.clone()),
        None => Source::Template(id),
    };
    let templates = match (filter.template_id, order) {
        (Some(id), _) => own_template(connection, merchant, id)?,
        (None, Some(order)) => templates_of_order(connection, merchant, order)?,
        (None, None) => templates_of_merchant(connection, merchant)?,
    };
    Ok(templates.into_iter().map(of_template).collect())
}

/// A user's coupons, each of which has its ISSUE entry and, apart from it, all others.
fn coupon_sources(
    connection: &Connection,
    merchant: MerchantId,
    user_id: &str,
    filter: &HistoryFilter,
) -> rusqlite::Result<Vec<Source>> {
    let mut statement = connection.prepare_cached(USER_COUPONS)?;
    let mut rows = statement.query(named_params! {
        ":merchant": merchant.0,
        ":user": user_id,
    })?;
    let mut sources = Vec::new();
    while let Some(row) = rows.next()? {
        let (template, coupon) = (TemplateId(row.get(0)?), coupon_id(row, 1)?);
        if filter.template_id.is_some_and(|id| id != template) {
            continue;
        }
        if filter.order_id.is_none() {
            sources.push(Source::Issue(template, coupon, timestamp(row, 2)?));
        }
        sources.push(Source::Coupon(template, coupon, filter.order_id.clone()));
    }
    Ok(sources)
}

const USER_COUPONS: &str =
    "SELECT template_id, id, issued_at FROM coupons INDEXED BY coupons_one_per_user
     WHERE merchant_id = :merchant AND user_id = :user";

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

const MERCHANT_TEMPLATES: &str = "SELECT id FROM coupon_templates WHERE merchant_id = :merchant";

fn templates_of_merchant(
    connection: &Connection,
    merchant: MerchantId,
) -> rusqlite::Result<Vec<TemplateId>> {
    connection
        .prepare_cached(MERCHANT_TEMPLATES)?
        .query_map(named_params! { ":merchant": merchant.0 }, |row| {
            row.get(0).map(TemplateId)
        })?
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
        let mut lines = Vec::with_capacity(limit);
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
            coupon_id: line.coupon_id,
            user_id: user.query_row([line.coupon_id.to_bytes()], |row| row.get(0))?,
            template_id: line.template_id,
            template_name,
        });
    }
    Ok(entries)
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
        let filter = filter.clone();
        self.scan(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let reader = Reader {
                connection: &snapshot,
                merchant,
                direction,
            };
            let range = Range::of(&filter, direction, after);
            let sources = sources(&snapshot, merchant, &filter)?;
            let lines = reader.merge(sources, range, limit)?;
            complete(&snapshot, lines)
        })
        .await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_query_seeks_and_none_sorts() {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&mut connection).unwrap();
        let at = Timestamp::UNIX_EPOCH;
        let (template, coupon) = (TemplateId(1), CouponId::new(at, 1));
        let sources = [
            Source::Template(template),
            Source::Order(template, "o".into()),
            Source::Issue(template, coupon, at),
            Source::Coupon(template, coupon, None),
            Source::Coupon(template, coupon, Some("o".into())),
        ];
        let mut queries: Vec<String> = [
            USER_COUPONS,
            OWN_TEMPLATE,
            MERCHANT_TEMPLATES,
            NEXT_TEMPLATE_OF_ORDER,
        ]
        .map(str::to_owned)
        .to_vec();
        for source in &sources {
            queries.push(source.sql(Direction::Ascending));
            queries.push(source.sql(Direction::Descending));
        }
        for sql in queries {
            let plan = crate::schema::query_plan(&connection, &sql);
            assert!(!plan.contains("SCAN"), "{sql}\n{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
        }
        let plan = crate::schema::query_plan(&connection, &sources[0].sql(Direction::Ascending));
        let seek = "(template_id=? AND (recorded_at,id)>(?,?) AND (recorded_at,id)<(?,?))";
        assert!(plan.contains(seek), "{plan}");
    }
}
