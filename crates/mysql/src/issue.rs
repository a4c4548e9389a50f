//! The issuer's transaction: writes the coupons of a batch of one partition of the log, together with the partition's
//! progress (steps I2 to I4 of the issue path).

use std::collections::BTreeMap;

use goodpon_application::ports::StoreResult;
use goodpon_domain::gate::{
    IssueEvent, LogContent, LogRecord, Tally, ToPark, WriteResult, judge_batch,
};

use crate::{
    Store,
    codec::micros,
    fault::{Fault, Result},
    gate, new_coupon, park,
    session::Session,
};

impl Store {
    /// Inserts the progress rows of the partitions 0 to `partitions` - 1 that have none. Partners use only partitions with
    /// such a row.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn set_up_partitions(&self, partitions: i32) -> StoreResult<()> {
        let sql =
            "INSERT INTO issue_progress (partition_id, next_offset, log_time) VALUES (?, 0, 0)
                   ON DUPLICATE KEY UPDATE partition_id = VALUES(partition_id)";
        self.transact(|session| {
            Box::pin(async move {
                for partition in 0..partitions {
                    session.run(sql, (partition,)).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Reads the next offset to be processed of each partition.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn progress(&self) -> StoreResult<BTreeMap<i32, i64>> {
        let sql = "SELECT partition_id, next_offset FROM issue_progress";
        let rows = self
            .read(|session| {
                Box::pin(async move {
                    session
                        .rows(sql, (), |row| Ok((row.read()?, row.read()?)))
                        .await
                })
            })
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// Moves a partition's progress from `from` to `to`, because the log lacks the records between. All gates are given
    /// up, because they rely on these records becoming coupons. Returns false if the progress was not at `from`.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn skip_lost(&self, partition: i32, from: i64, to: i64) -> StoreResult<bool> {
        self.transact(|session| {
            Box::pin(async move {
                let sql = "UPDATE issue_progress SET next_offset = ? WHERE partition_id = ? AND next_offset = ?";
                if session.run(sql, (to, partition, from)).await? == 0 {
                    return Ok(false);
                }
                // New events get the offsets of parked ones, which are moved out of the way to negative offsets.
                let sql = "UPDATE parked_events SET log_offset = -1 - log_offset
                           WHERE partition_id = ? AND log_offset >= ?";
                session.run(sql, (partition, to)).await?;
                gate::bump_all(session).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Writes a batch of one partition, whose `records` follow each other without a gap. `keep` serializes an event that
    /// is to be parked, in the form of a parked record that cannot be read.
    ///
    /// # Errors
    /// The database cannot be written. It may have happened all the same, which the next attempt finds out.
    pub async fn write_issues(
        &self,
        partition: i32,
        records: &[LogRecord],
        keep: fn(&IssueEvent) -> Vec<u8>,
    ) -> StoreResult<WriteResult> {
        let Some(first) = records.first() else {
            return Ok(WriteResult::Done(Tally::default()));
        };
        self.transact(|session| {
            Box::pin(async move {
                if let Some(elsewhere) = lock_progress(session, partition, first.offset).await? {
                    return Ok(elsewhere);
                }
                let tally = write(session, partition, records, self, keep).await?;
                advance(session, partition, records).await?;
                Ok(WriteResult::Done(tally))
            })
        })
        .await
    }

    /// Parks a record of a partition without processing it: processing it panics.
    ///
    /// # Errors
    /// The database cannot be written. It may have happened all the same, which the next attempt finds out.
    pub async fn park_unread(
        &self,
        partition: i32,
        record: &LogRecord,
        reason: &'static str,
        keep: fn(&IssueEvent) -> Vec<u8>,
    ) -> StoreResult<WriteResult> {
        self.transact(|session| {
            Box::pin(async move {
                if let Some(elsewhere) = lock_progress(session, partition, record.offset).await? {
                    return Ok(elsewhere);
                }
                let mut tally = Tally::default();
                match &record.content {
                    LogContent::Tick | LogContent::Foreign(_) => {}
                    LogContent::Unreadable(unreadable) => {
                        park::unreadable(session, partition, record, unreadable).await?;
                        tally.parked = 1;
                    }
                    LogContent::Event(event) => {
                        let raw = keep(event);
                        park::event(session, partition, record, event, reason, &raw).await?;
                        tally.parked = 1;
                    }
                }
                advance(session, partition, std::slice::from_ref(record)).await?;
                Ok(WriteResult::Done(tally))
            })
        })
        .await
    }
}

/// Locks a partition's progress. Returns [`WriteResult::Elsewhere`] if it is not at `offset`.
async fn lock_progress(
    session: &mut Session<'_>,
    partition: i32,
    offset: i64,
) -> Result<Option<WriteResult>> {
    let sql = "SELECT next_offset FROM issue_progress WHERE partition_id = ? FOR UPDATE";
    let next_offset: Option<i64> = session.first(sql, (partition,), |row| row.read()).await?;
    let next_offset = next_offset.ok_or(Fault::Corrupt("a partition without progress"))?;
    Ok((next_offset != offset).then_some(WriteResult::Elsewhere { next_offset }))
}

/// Moves a partition's progress behind these records.
async fn advance(session: &mut Session<'_>, partition: i32, records: &[LogRecord]) -> Result<u64> {
    let next_offset = records
        .last()
        .map_or(0, |last| last.offset.saturating_add(1));
    let log_time = records
        .iter()
        .map(|record| micros(record.appended_at))
        .max();
    let sql = "UPDATE issue_progress SET next_offset = ?, log_time = GREATEST(log_time, ?) WHERE partition_id = ?";
    session.run(sql, (next_offset, log_time, partition)).await
}

/// Decides over a batch, and writes its coupons and parked events.
async fn write(
    session: &mut Session<'_>,
    partition: i32,
    records: &[LogRecord],
    store: &Store,
    keep: fn(&IssueEvent) -> Vec<u8>,
) -> Result<Tally> {
    let known = new_coupon::known(session, store, records).await?;
    let judged = judge_batch(records, known, &store.inner.zone);
    for one in &judged.parked {
        match one {
            ToPark::Unreadable(record, unreadable) => {
                park::unreadable(session, partition, record, unreadable).await?;
            }
            ToPark::Event(record, event, reason) => {
                park::event(session, partition, record, event, reason, &keep(event)).await?;
            }
        }
    }
    let (coupons, mut tally) = (judged.coupons, judged.tally);
    let refused = new_coupon::write_coupons(session, &coupons).await?;
    for (one, reason) in &refused {
        let raw = keep(one.event);
        park::event(session, partition, one.record, one.event, reason, &raw).await?;
    }
    tally.written = coupons.len() - refused.len();
    tally.parked += refused.len();
    Ok(tally)
}
