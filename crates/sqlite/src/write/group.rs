//! Groups of requests: one transaction and one commit for all that has queued up.
//!
//! A request that fails is not undone alone: the whole group is rolled back and each request runs again in a transaction
//! of its own. So every request stays all-or-nothing without the price of a savepoint, which copies each page that the
//! request touches. Requests are written so that they can run again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use goodpon_application::ports::{Clock, Random, StoreError, StoreResult};
use goodpon_domain::business_time::BusinessZone;
use goodpon_trace::TraceContext;
use jiff::Timestamp;
use metrics::Histogram;
use rusqlite::Connection;
use tokio::runtime::Handle;

use super::{
    checkpoint,
    connection::connect,
    disk::Disk,
    group_memory::GroupMemory,
    published::Published,
    pulse::Pulse,
    tx::{LastId, Tools, Tx},
    walk,
    watch::{Moment, Watch},
};
use crate::error::store_error;

/// A clock that steps back by no more than this is waited out, so that entries keep their order.
const CLOCK_TOLERANCE_MICROS: i64 = 60_000_000;

/// One request.
pub(crate) trait Request: Send {
    /// Returns the trace in whose context it was made.
    fn trace(&self) -> Option<TraceContext>;
    /// Runs it, possibly not for the first time.
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()>;
    /// Sends its caller the result.
    fn answer(self: Box<Self>, committed: StoreResult<()>);
}

pub(crate) type Group = Vec<Box<dyn Request>>;

/// The surroundings of a database.
pub(crate) struct Surroundings {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) zone: BusinessZone,
    pub(crate) disk: Arc<Disk>,
}

/// The writer without its thread: runs groups on its connection.
pub(crate) struct Groups {
    pub(super) connection: Connection,
    pub(super) memory: GroupMemory,
    pub(super) tools: Tools,
    pub(super) disk: Arc<Disk>,
    pub(super) pulse: Arc<Pulse>,
    /// Where the store's callers run, if that is known.
    runtime: Option<Handle>,
    path: PathBuf,
    clock: Arc<dyn Clock>,
    last_stamp: i64,
    /// True if the clock was set back for good and the sweeps' walks do not begin anew yet.
    is_set_back: bool,
    last_id: LastId,
    commit_seconds: Histogram,
    pub(crate) watch: Watch,
}

/// Why a group was not committed.
enum Failed {
    /// It failed before its commit, so nothing of it will ever be seen.
    Before(StoreError),
    /// The commit failed. The group may or may not be on the disk.
    Commit(rusqlite::Error),
    /// The disk failed, and the process ends.
    Disk,
}

impl Failed {
    /// True if the machine is the reason, rather than a request.
    fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Commit(_) | Self::Before(StoreError::Unavailable { .. })
        )
    }
}

impl Groups {
    /// Takes over a database that is open for writing: reads what waits for its deferred indexes, each of which may have a
    /// backlog of that weight.
    pub(crate) fn open(
        path: PathBuf,
        connection: Connection,
        backlog: usize,
        from: Surroundings,
    ) -> rusqlite::Result<Self> {
        let memory = GroupMemory::open(&connection, backlog)?;
        let Surroundings {
            clock,
            random,
            zone,
            disk,
        } = from;
        let tools = Tools {
            random,
            zone,
            published: Arc::new(Published::at_start(&memory)),
        };
        Ok(Self {
            last_stamp: behind_last_entry(&connection)?,
            connection,
            memory,
            tools,
            disk,
            pulse: Arc::default(),
            runtime: Handle::try_current().ok(),
            path,
            clock,
            is_set_back: false,
            last_id: LastId::default(),
            commit_seconds: metrics::histogram!("goodpon_writer_commit_seconds"),
            watch: Watch::default(),
        })
    }

    /// The committed state, for readers.
    pub(crate) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.tools.published)
    }

    /// Runs a group and answers it.
    pub(crate) fn run(&mut self, group: &mut Group) {
        self.pulse.begin();
        let ran = self.transact(group);
        self.pulse.end(ran.as_ref().is_err_and(Failed::is_outage));
        match ran {
            Ok(()) => self.answer(std::mem::take(group)),
            // The process ends, and nobody knows how the group ended.
            Err(Failed::Disk) => group.clear(),
            Err(Failed::Commit(error)) => {
                tracing::error!(%error, requests = group.len(), "group commit failed");
                let error = StoreError::Unavailable {
                    reason: error.to_string(),
                    may_have_happened: true,
                };
                refuse(group, &error);
            }
            Err(Failed::Before(error)) if group.len() == 1 => {
                tracing::error!(%error, "write failed");
                refuse(group, &error);
            }
            Err(Failed::Before(error @ StoreError::Unavailable { .. })) => {
                tracing::error!(%error, requests = group.len(), "writes failed");
                refuse(group, &error);
            }
            Err(Failed::Before(error)) => {
                tracing::warn!(%error, requests = group.len(), "a write failed: each of its group runs alone");
                for request in group.drain(..) {
                    self.run(&mut vec![request]);
                }
            }
        }
    }

    /// Answers a group that is durable. Waking its callers is left to the runtime, so that the next group need not wait
    /// for it; in two halves, so that two of its threads share the work.
    fn answer(&self, mut group: Group) {
        let answer = |group: Group| group.into_iter().for_each(|request| request.answer(Ok(())));
        let Some(runtime) = &self.runtime else {
            return answer(group);
        };
        let half = group.split_off(group.len() / 2);
        for half in [group, half] {
            drop(runtime.spawn(async move { answer(half) }));
        }
    }

    /// Runs and commits a group, or leaves nothing of it.
    fn transact(&mut self, group: &mut Group) -> Result<(), Failed> {
        let begun = self.connection.execute_batch("BEGIN IMMEDIATE");
        begun.map_err(|error| self.failed_before(error))?;
        self.watch.pass(Moment::Begun, &self.connection);
        if let Err(failed) = self.run_all(group) {
            self.roll_back_after(&failed);
            return Err(failed);
        }
        self.watch.pass(Moment::Flushed, &self.connection);
        let started = Instant::now();
        if let Err(error) = self.connection.execute_batch("COMMIT") {
            let failed = match self.disk.ends_with(&error) {
                true => Failed::Disk,
                false => Failed::Commit(error),
            };
            self.roll_back_after(&failed);
            return Err(failed);
        }
        self.commit_seconds.record(started.elapsed());
        self.is_set_back = false;
        self.watch.pass(Moment::Committed, &self.connection);
        let (watch, connection) = (&mut self.watch, &self.connection);
        self.tools
            .published
            .publish_in_order(&mut self.memory, |step| {
                watch.pass(Moment::Published(step), connection);
            });
        Ok(())
    }

    fn run_all(&mut self, group: &mut Group) -> Result<(), Failed> {
        for request in group.iter_mut() {
            let last_stamp = self.last_stamp;
            let now = stamp(&mut self.last_stamp, self.clock.now());
            self.is_set_back |= self.last_stamp < last_stamp;
            let mut tx = Tx {
                now,
                trace: request.trace(),
                connection: &self.connection,
                memory: &mut self.memory,
                tools: &self.tools,
                last_id: &self.last_id,
            };
            let ran = catch_unwind(AssertUnwindSafe(|| request.run(&mut tx)));
            match ran {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(self.failed_before(error)),
                Err(_) => {
                    let error = StoreError::Unexpected("a write panicked".into());
                    return Err(Failed::Before(error));
                }
            }
            self.watch.pass(Moment::Ran, &self.connection);
        }
        let flushed = self.memory.flush(&self.connection);
        let flushed = flushed.and_then(|()| match self.is_set_back {
            true => walk::begin_anew(&self.connection),
            false => Ok(()),
        });
        flushed.map_err(|error| self.failed_before(error))
    }

    /// The failure that an error before the commit means.
    fn failed_before(&self, error: rusqlite::Error) -> Failed {
        match self.disk.ends_with(&error) {
            true => Failed::Disk,
            false => Failed::Before(store_error(error)),
        }
    }

    /// Rolls back, unless the process ends.
    fn roll_back_after(&mut self, failed: &Failed) {
        if !matches!(failed, Failed::Disk) {
            self.roll_back();
        }
    }

    fn roll_back(&mut self) {
        self.memory.forget();
        let rolled_back =
            self.connection.is_autocommit() || self.connection.execute_batch("ROLLBACK").is_ok();
        if rolled_back && self.connection.is_autocommit() {
            return;
        }
        // A connection that cannot even roll back is of no use any more.
        match connect(&self.path) {
            Ok(connection) => self.connection = connection,
            Err(error) => tracing::error!(%error, "the database cannot be opened again"),
        }
    }

    /// The writer's part of a checkpoint, between two groups.
    pub(crate) fn finish_checkpoint(&self) {
        checkpoint::finish(&self.connection, &self.disk);
    }

    /// Leaves the indexes whole and the log empty.
    pub(crate) fn close(&mut self) {
        self.enter_all();
        if !self.disk.has_failed() {
            checkpoint::close(&self.connection, &self.disk);
        }
    }

    /// Enters all that waits for the deferred indexes, so that the next start has nothing to read.
    fn enter_all(&mut self) {
        if let Err(error) = self.try_enter_all()
            && !self.disk.ends_with(&error)
        {
            self.roll_back();
            tracing::warn!(%error, "late indexes are not whole; the next start reads what they lack");
        }
    }

    fn try_enter_all(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        self.memory.enter_all(&self.connection)?;
        self.connection.execute_batch("COMMIT")
    }
}

/// A microsecond behind the newest entry, for a clock that stepped back while the store was closed.
fn behind_last_entry(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row(
        "SELECT coalesce(max((SELECT max(recorded_at) FROM coupon_histories WHERE template_id = t.id)) + 1, 0)
         FROM coupon_templates t",
        [],
        |row| row.get(0),
    )
}

fn refuse(group: &mut Group, error: &StoreError) {
    for request in group.drain(..) {
        request.answer(Err(error.clone()));
    }
}

/// The time of a request: never before that of an earlier request, unless the clock was set back for good.
fn stamp(last: &mut i64, now: Timestamp) -> Timestamp {
    let now_micros = now.as_microsecond();
    if now_micros < *last && *last - now_micros <= CLOCK_TOLERANCE_MICROS {
        return Timestamp::from_microsecond(*last).unwrap_or(now);
    }
    *last = now_micros;
    Timestamp::from_microsecond(now_micros).unwrap_or(now)
}
