//! The issuer's transaction: a batch of one partition of the log becomes coupons, as one with how far the partition
//! was worked through (steps I2 to I4 of the issue path).

use std::collections::BTreeMap;

use goodpon_application::ports::StoreResult;
use goodpon_domain::gate::{Content, IssueEvent, Record, Tally, ToPark, Written, judge_batch};

use crate::{
    Store,
    codec::micros,
    fault::{Fault, Result},
    gate, new_coupon, park,
    session::Session,
};

impl Store {
    /// Sees to it that the partitions 0 to `partitions` - 1 have their progress. Partners use only these.
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

    /// The next offset of each partition, in the order of the partitions.
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

    /// Goes on with a partition elsewhere than after what was worked through: the log does not have what is between.
    /// All gates are given up, for they count on it. Whether it was still to go on with `from`.
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
                // Other events come to the places of those that were parked before.
                let sql = "UPDATE parked_events SET log_offset = -1 - log_offset
                           WHERE partition_id = ? AND log_offset >= ?";
                session.run(sql, (partition, to)).await?;
                gate::bump_all(session).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Writes a batch of one partition: `records` follow each other without a gap. `keep` writes an event that is to be
    /// parked, in the form that a record has which is parked because nobody could read it.
    ///
    /// # Errors
    /// The database cannot be written; it may have happened all the same, which the next try finds out.
    pub async fn write_issues(
        &self,
        partition: i32,
        records: &[Record],
        keep: fn(&IssueEvent) -> Vec<u8>,
    ) -> StoreResult<Written> {
        let Some(first) = records.first() else {
            return Ok(Written::Done(Tally::default()));
        };
        self.transact(|session| {
            Box::pin(async move {
                if let Some(elsewhere) = lock_progress(session, partition, first.offset).await? {
                    return Ok(elsewhere);
                }
                let tally = write(session, partition, records, self, keep).await?;
                advance(session, partition, records).await?;
                Ok(Written::Done(tally))
            })
        })
        .await
    }
}

impl Store {
    /// Parks a record of a partition whatever it says, for it cannot be worked on.
    ///
    /// # Errors
    /// The database cannot be written; it may have happened all the same, which the next try finds out.
    pub async fn park_unread(
        &self,
        partition: i32,
        record: &Record,
        reason: &'static str,
        keep: fn(&IssueEvent) -> Vec<u8>,
    ) -> StoreResult<Written> {
        self.transact(|session| {
            Box::pin(async move {
                if let Some(elsewhere) = lock_progress(session, partition, record.offset).await? {
                    return Ok(elsewhere);
                }
                let mut tally = Tally::default();
                match &record.content {
                    Content::Tick | Content::Foreign(_) => {}
                    Content::Unreadable(unreadable) => {
                        park::unreadable(session, partition, record, unreadable).await?;
                        tally.parked = 1;
                    }
                    Content::Event(event) => {
                        let raw = keep(event);
                        park::event(session, partition, record, event, reason, &raw).await?;
                        tally.parked = 1;
                    }
                }
                advance(session, partition, std::slice::from_ref(record)).await?;
                Ok(Written::Done(tally))
            })
        })
        .await
    }
}

/// Locks how far a partition was worked through. Tells where, if that is not up to `offset`.
async fn lock_progress(
    session: &mut Session<'_>,
    partition: i32,
    offset: i64,
) -> Result<Option<Written>> {
    let sql = "SELECT next_offset FROM issue_progress WHERE partition_id = ? FOR UPDATE";
    let next_offset: Option<i64> = session.first(sql, (partition,), |row| row.read()).await?;
    let next_offset = next_offset.ok_or(Fault::Corrupt("a partition without progress"))?;
    Ok((next_offset != offset).then_some(Written::Elsewhere { next_offset }))
}

async fn advance(session: &mut Session<'_>, partition: i32, records: &[Record]) -> Result<u64> {
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

async fn write(
    session: &mut Session<'_>,
    partition: i32,
    records: &[Record],
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
