//! Streams of entries, one for each template, and their merging in the order of the ledger.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use goodpon_application::ports::Direction;
use goodpon_domain::{
    history::HistoryPosition,
    id::{CouponId, MerchantId, TemplateId},
    ledger::{Amounts, HistoryAction},
};
use rusqlite::{Connection, Row, ToSql, named_params};

use super::range::Range;
use crate::{
    codec::{coupon_id, history_action, history_id, row_limit, timestamp},
    write::activity,
};

/// Entries of a stream that are read in one query, after its first entry.
pub(super) const CHUNK: usize = 16;

/// An entry without its parts in other tables.
pub(super) struct Line {
    pub(super) position: HistoryPosition,
    pub(super) action: HistoryAction,
    pub(super) coupon_id: CouponId,
    pub(super) template_id: TemplateId,
    pub(super) order_id: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) amounts: Amounts,
}

/// The columns that [`read`] reads.
pub(super) const COLUMNS: &str = "template_id, recorded_at, id, action, coupon_id, order_id, reason, order_amount, discount_amount";

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Line> {
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

/// Entries that stand in order: all of a template, or those of an order.
pub(super) struct Source {
    pub(super) template: TemplateId,
    pub(super) order: Option<String>,
}

/// The query that goes on in a template, or in a template's entries of an order.
pub(super) fn sql(is_of_order: bool, direction: Direction) -> String {
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

pub(super) struct Reader<'a> {
    pub(super) connection: &'a Connection,
    pub(super) merchant: MerchantId,
    pub(super) direction: Direction,
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

/// The query for the templates that recorded something in a span of seconds, second by second.
pub(super) fn active_sql(direction: Direction) -> String {
    let order = match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    };
    format!(
        "SELECT second, template_id FROM template_activity
         WHERE merchant_id = :merchant AND second BETWEEN :from AND :to ORDER BY second {order}"
    )
}

/// A source that is being read. Streams are ordered by their next entry: the one that the page shows next is on top of a heap.
struct Stream {
    source: Source,
    next: Line,
    buffered: VecDeque<Line>,
    /// The range that the last read may have left.
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
                let shown = std::mem::replace(&mut stream.next, next);
                Ok((shown, Some(stream)))
            }
            None => Ok((stream.next, None)),
        }
    }

    /// Entries of all templates of the merchant, second by second: each is read before the next one is looked for.
    pub(super) fn merge_active(&self, range: Range, limit: usize) -> rusqlite::Result<Vec<Line>> {
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

    pub(super) fn merge(
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
