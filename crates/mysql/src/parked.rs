//! Parked events, which could not become coupons. Each keeps its place for its user until an operator retries or discards
//! it.

use goodpon_application::ports::StoreResult;
use goodpon_domain::{
    gate::{IssueEvent, LogContent, LogRecord, ToPark, judge_batch},
    id::TemplateId,
};
use jiff::Timestamp;

use crate::{
    Store,
    codec::{micros, row_limit},
    columns::Columns,
    fault::Result,
    new_coupon, park,
    session::Session,
};

/// An event that waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The partition of the log that has it.
    pub partition: i32,
    /// Its offset in the partition; negative if the log was made anew since.
    pub offset: i64,
    /// The template of the issue, if it is known.
    pub template_id: Option<TemplateId>,
    /// The user of the issue, if known.
    pub user_id: Option<String>,
    /// The reason why it was parked.
    pub reason: String,
    /// When the log appended it.
    pub appended_at: Timestamp,
    /// When it was parked.
    pub parked_at: Timestamp,
}

/// The way in which a parked event was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The event became a coupon.
    Written,
    /// The user had a coupon already.
    Held,
    /// The event never becomes a coupon; its place is free for the template's next gate.
    Discarded,
}

impl Settled {
    fn code(self) -> i64 {
        match self {
            Self::Written => 0,
            Self::Held => 1,
            Self::Discarded => 2,
        }
    }
}

/// The reason why a parked event stays parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StaysParked {
    /// There is no such event, or it is settled already.
    NotFound,
    /// This program cannot write it either, for this reason.
    Because(String),
}

impl Store {
    /// Reads up to `limit` parked events, the longest parked first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn parked(&self, limit: usize) -> StoreResult<Vec<Parked>> {
        let sql = "SELECT partition_id, log_offset, template_id, user_id, reason, appended_at, parked_at
                   FROM parked_events WHERE settled_at IS NULL ORDER BY parked_at, partition_id, log_offset LIMIT ?";
        self.read(|session| {
            Box::pin(async move { session.rows(sql, (row_limit(limit),), read).await })
        })
        .await
    }

    /// Reads the parked event at an offset; `None` if there is none or it is settled.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn parked_at(&self, partition: i32, offset: i64) -> StoreResult<Option<Parked>> {
        let sql = "SELECT partition_id, log_offset, template_id, user_id, reason, appended_at, parked_at
                   FROM parked_events WHERE partition_id = ? AND log_offset = ? AND settled_at IS NULL";
        self.read(|session| {
            Box::pin(async move { session.first(sql, (partition, offset), read).await })
        })
        .await
    }

    /// Reads the whole record of a parked event, about a mebibyte at most; `None` if there is none or it is settled.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn parked_raw(&self, partition: i32, offset: i64) -> StoreResult<Option<Vec<u8>>> {
        let sql = "SELECT raw FROM parked_events
                   WHERE partition_id = ? AND log_offset = ? AND settled_at IS NULL";
        self.read(|session| {
            Box::pin(async move {
                session
                    .first(sql, (partition, offset), |row| row.read())
                    .await
            })
        })
        .await
    }

    /// Counts the places that parked events of a template keep.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn parked_places(&self, template: TemplateId) -> StoreResult<i64> {
        self.read(|session| Box::pin(park::places(session, template)))
            .await
    }

    /// Reads the users for whom parked events of a template keep a place: a new gate must know them as holders.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn parked_users(&self, template: TemplateId) -> StoreResult<Vec<String>> {
        let sql = "SELECT DISTINCT user_id FROM parked_events
                   WHERE template_id = ? AND settled_at IS NULL AND user_id IS NOT NULL";
        self.read(|session| {
            Box::pin(async move { session.rows(sql, (template.0,), |row| row.read()).await })
        })
        .await
    }

    /// Writes the parked event `event`, which this program has read, and settles it.
    ///
    /// # Errors
    /// The database cannot be written. It may have happened all the same.
    pub async fn retry_parked(
        &self,
        partition: i32,
        offset: i64,
        event: &IssueEvent,
    ) -> StoreResult<std::result::Result<Settled, StaysParked>> {
        self.transact(|session| {
            Box::pin(async move {
                let Some(appended_at) = lock(session, partition, offset).await? else {
                    return Ok(Err(StaysParked::NotFound));
                };
                let record = LogRecord {
                    offset,
                    // A parked event counted, or could not be read. It is made to count, since an operator asks for it.
                    appended_at: appended_at.min(event.valid_until),
                    content: LogContent::Event(event.clone()),
                };
                let settled = match make_coupon(session, &record, self).await? {
                    Ok(settled) => settled,
                    Err(reason) => return Ok(Err(StaysParked::Because(reason.to_owned()))),
                };
                settle(session, partition, offset, settled).await?;
                Ok(Ok(settled))
            })
        })
        .await
    }

    /// Settles a parked event without a coupon. Returns false if there is none or it was settled before.
    ///
    /// # Errors
    /// The database cannot be written. It may have happened all the same.
    pub async fn discard_parked(&self, partition: i32, offset: i64) -> StoreResult<bool> {
        self.transact(|session| {
            Box::pin(async move {
                if lock(session, partition, offset).await?.is_none() {
                    return Ok(false);
                }
                settle(session, partition, offset, Settled::Discarded).await?;
                Ok(true)
            })
        })
        .await
    }
}

fn read(row: &mut Columns) -> Result<Parked> {
    Ok(Parked {
        partition: row.read()?,
        offset: row.read()?,
        template_id: row.read::<Option<i64>>()?.map(TemplateId),
        user_id: row.read()?,
        reason: row.read()?,
        appended_at: row.timestamp()?,
        parked_at: row.timestamp()?,
    })
}

/// Locks a parked event that is not settled, and returns the time at which the log appended it.
async fn lock(session: &mut Session<'_>, partition: i32, offset: i64) -> Result<Option<Timestamp>> {
    let sql = "SELECT appended_at FROM parked_events
               WHERE partition_id = ? AND log_offset = ? AND settled_at IS NULL FOR UPDATE";
    session
        .first(sql, (partition, offset), Columns::timestamp)
        .await
}

async fn settle(
    session: &mut Session<'_>,
    partition: i32,
    offset: i64,
    settled: Settled,
) -> Result<u64> {
    let sql = "UPDATE parked_events SET settled_at = ?, settled_as = ?
               WHERE partition_id = ? AND log_offset = ?";
    let values = (micros(session.now), settled.code(), partition, offset);
    session.run(sql, values).await
}

/// Makes a coupon of a parked event. Returns how the event is settled by that, or the reason why it stays parked.
async fn make_coupon(
    session: &mut Session<'_>,
    record: &LogRecord,
    store: &Store,
) -> Result<std::result::Result<Settled, &'static str>> {
    let records = std::slice::from_ref(record);
    let known = new_coupon::known(session, store, records).await?;
    let judged = judge_batch(records, known, &store.inner.zone);
    if let Some(ToPark::Event(_, _, reason)) = judged.parked.first() {
        return Ok(Err(reason));
    }
    if judged.coupons.is_empty() {
        return Ok(match judged.tally.duplicates {
            0 => Err("it does not count"),
            _ => Ok(Settled::Held),
        });
    }
    let refused = new_coupon::write_coupons(session, &judged.coupons).await?;
    Ok(match refused.first() {
        Some((_, reason)) => Err(*reason),
        None => Ok(Settled::Written),
    })
}
