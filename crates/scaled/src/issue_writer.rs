//! The issuer's work (I1 to I5): it makes coupons of the log's events, pauses while the database is unavailable, and keeps
//! the log's time moving.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use goodpon_application::ports::StoreError;
use goodpon_domain::gate::{LogContent, LogRecord, PollResult, Tally, WriteResult};
use tokio::time::Instant;

use crate::{
    batch_size::BatchSize,
    ports::{GateRecords, LogReader, LogTime},
    standstill::Standstill,
};

/// The time for which a poll waits for records.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// The pause after a failed write, before the database is tried again.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);

/// The interval at which a tick is appended to each partition.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest interval between two warnings that another installation uses the topic.
const FOREIGN_WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The time limit for the acknowledgement of a tick.
const TICK_TIMEOUT: Duration = Duration::from_secs(4);

/// Reads the log and writes coupons.
pub struct IssueWriter {
    records: Arc<dyn GateRecords>,
    time: Arc<dyn LogTime>,
    reader: Box<dyn LogReader>,
    /// The batch size of each partition: a bad record of one must not make the batches of others small.
    sizes: HashMap<i32, BatchSize>,
    standstill: Arc<Standstill>,
    metrics: Metrics,
    ticked_at: Option<Instant>,
    warned_of_foreign_at: Option<Instant>,
    /// The end of the pause after a failure.
    paused_until: Option<Instant>,
}

impl IssueWriter {
    /// Makes a writer that has not begun yet.
    #[must_use]
    pub fn new(
        records: Arc<dyn GateRecords>,
        time: Arc<dyn LogTime>,
        reader: Box<dyn LogReader>,
    ) -> Self {
        Self::reporting_to(records, time, reader, Arc::default())
    }

    pub(crate) fn reporting_to(
        records: Arc<dyn GateRecords>,
        time: Arc<dyn LogTime>,
        reader: Box<dyn LogReader>,
        standstill: Arc<Standstill>,
    ) -> Self {
        Self {
            records,
            time,
            reader,
            sizes: HashMap::new(),
            standstill,
            metrics: Metrics::default(),
            ticked_at: None,
            warned_of_foreign_at: None,
            paused_until: None,
        }
    }

    /// Appends ticks and ends a pause if either is due, and waits up to 100 ms for records. Must be called within a tokio
    /// runtime's context, on a thread that may block.
    pub fn poll(&mut self) -> PollResult {
        self.tick();
        if self
            .paused_until
            .is_some_and(|until| until <= Instant::now())
        {
            self.paused_until = None;
            self.reader.resume_all();
        }
        self.reader.poll(POLL_TIMEOUT)
    }

    /// Processes the result of a poll.
    pub async fn work_on(&mut self, polled: PollResult) {
        match polled {
            PollResult::Batch { partition, records } => self.write(partition, &records).await,
            PollResult::Truncated {
                partition,
                wanted,
                first_there,
                end,
            } => {
                self.handle_truncation(partition, wanted, first_there..=end)
                    .await;
            }
            PollResult::Idle => {}
        }
    }

    /// Gives up all partitions.
    pub(crate) fn stop(&self) {
        self.standstill.keep_only(&[]);
    }

    /// Continues a partition whose next record is missing, if its progress is at an offset that the log has; else reports
    /// that it stands still. `there` are the offsets that the log has.
    async fn handle_truncation(&mut self, partition: i32, wanted: i64, there: RangeInclusive<i64>) {
        // Progress is there if an operator has set it (`goodpon migrate --skip-lost`), or if a log that was made anew has
        // grown to the offset; the events that it got meanwhile were answered with an error.
        let progress = self.records.progress().await;
        let next = progress.ok().and_then(|all| all.get(&partition).copied());
        if let Some(next) = next.filter(|next| there.contains(next)) {
            self.standstill.goes_on(partition);
            self.reader.seek(partition, next);
            return;
        }
        self.metrics.truncated.increment(1);
        let (first_there, end) = there.into_inner();
        tracing::error!(
            partition,
            wanted,
            first_there,
            end,
            "the log has lost what was not worked through, or was made anew: this partition stands still \
             (`goodpon migrate --skip-lost` goes on without it)"
        );
        let why = format!("the log has {first_there} to {end} and lacks {wanted}");
        self.standstill.stands(partition, why);
    }

    async fn write(&mut self, partition: i32, records: &[LogRecord]) {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return;
        };
        let (first, next) = (first.offset, last.offset.saturating_add(1));
        let began = Instant::now();
        match self.try_write(partition, records).await {
            Ok(WriteResult::Done(tally)) => {
                self.resize(partition, |size| size.written(began.elapsed()));
                self.standstill.goes_on(partition);
                self.metrics.batch_seconds.record(began.elapsed());
                self.metrics.count(&tally);
                log_tally(partition, &tally);
                if let Some(foreign) = Foreign::among(records) {
                    self.warn_of_foreign(partition, &foreign);
                }
                self.reader.commit(partition, next);
            }
            Ok(WriteResult::Elsewhere { next_offset }) => {
                tracing::info!(
                    partition,
                    read = first,
                    next_offset,
                    "another issuer was here: going on from there"
                );
                self.standstill.goes_on(partition);
                self.reader.seek(partition, next_offset);
            }
            Err(error) => {
                self.metrics.failures.increment(1);
                self.resize(partition, |size| size.failed(records.len()));
                self.reader.seek(partition, first);
                self.handle_failure(partition, records.len(), error);
            }
        }
    }

    fn resize(&mut self, partition: i32, change: impl FnOnce(&mut BatchSize)) {
        let size = self.sizes.entry(partition).or_default();
        change(size);
        self.reader.limit_batches(partition, size.get());
    }

    /// Writes a batch. Parks the record of a batch of one if writing it panics.
    async fn try_write(
        &self,
        partition: i32,
        records: &[LogRecord],
    ) -> Result<WriteResult, WriteError> {
        match catch_panic(self.records.write_issues(partition, records)).await {
            Some(written) => return written.map_err(WriteError::Store),
            None if records.len() > 1 => return Err(WriteError::Panic),
            None => {}
        }
        let Some(record) = records.first() else {
            return Err(WriteError::Panic);
        };
        let offset = record.offset;
        tracing::error!(
            partition,
            offset,
            "goodpon panics at this record, which is parked: report this"
        );
        let reason = "goodpon panicked while it wrote it: report this";
        let park = self.records.park_unread(partition, record, reason);
        let parked = catch_panic(park).await.ok_or(WriteError::Panic)?;
        parked.map_err(WriteError::Store)
    }

    /// Logs why a batch was not written, and pauses, unless a smaller batch can be tried at once.
    fn handle_failure(&mut self, partition: i32, records: usize, error: WriteError) {
        match error {
            WriteError::Panic if records > 1 => {
                tracing::error!(
                    partition,
                    records,
                    "a panic while coupons were written: looking for the record at fault"
                );
                return;
            }
            WriteError::Panic => self
                .standstill
                .stands(partition, "goodpon panics at its next record".to_owned()),
            WriteError::Store(error @ StoreError::Unavailable { .. }) => tracing::warn!(
                partition, %error,
                "coupons cannot be written: waiting for the database"
            ),
            WriteError::Store(error @ StoreError::Unexpected(_)) => {
                tracing::error!(
                    partition, %error,
                    "coupons cannot be written, and waiting hardly helps: this partition stands still"
                );
                self.standstill.stands(partition, error.to_string());
            }
        }
        self.reader.pause_all();
        self.paused_until = Some(Instant::now() + FAILURE_PAUSE);
    }

    /// Counts records of another installation, and warns of them at most once a minute.
    fn warn_of_foreign(&mut self, partition: i32, foreign: &Foreign) {
        self.metrics.foreign.increment(foreign.count as u64);
        if self
            .warned_of_foreign_at
            .is_some_and(|at| at.elapsed() < FOREIGN_WARNING_INTERVAL)
        {
            return;
        }
        self.warned_of_foreign_at = Some(Instant::now());
        tracing::warn!(
            partition,
            installation = foreign.installation,
            "another installation publishes to this topic: its events are left to it; give each installation a kafka-topic of its own"
        );
    }

    /// Appends a tick to each assigned partition, once a second. Without ticks the time of a partition without issues
    /// would not move, and no gate could be sealed.
    fn tick(&mut self) {
        if self
            .ticked_at
            .is_some_and(|at| at.elapsed() < TICK_INTERVAL)
        {
            return;
        }
        self.ticked_at = Some(Instant::now());
        let assigned = self.reader.assigned();
        self.standstill.keep_only(&assigned);
        self.sizes
            .retain(|partition, _| assigned.contains(partition));
        for partition in assigned {
            let time = Arc::clone(&self.time);
            tokio::spawn(async move {
                if let Err(error) = time.tick(partition, TICK_TIMEOUT).await {
                    tracing::debug!(partition, %error, "a tick was not taken in");
                }
            });
        }
        for (partition, lag) in self.reader.lag() {
            let gauge = metrics::gauge!("goodpon_issuer_lag", "partition" => partition.to_string());
            gauge.set(lag as f64);
        }
    }
}

/// The reason why a batch was not written.
enum WriteError {
    Store(StoreError),
    Panic,
}

/// Returns the result of `run`; `None` if it panics. Going on is safe: a database session that is dropped in the middle
/// closes its connection, and no other state is shared.
async fn catch_panic<T>(run: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(run).catch_unwind().await.ok()
}

fn log_tally(partition: i32, tally: &Tally) {
    if tally.over_limit > 0 {
        let count = tally.over_limit;
        tracing::error!(
            partition,
            count,
            "accepted issues beyond their template's limit are parked: report this"
        );
    }
    if tally.parked > 0 {
        let count = tally.parked;
        tracing::warn!(
            partition,
            count,
            "events are parked: see `goodpon parked list`"
        );
    }
}

/// The records of other installations in a batch.
struct Foreign {
    count: usize,
    /// The installation of the first of them.
    installation: String,
}

impl Foreign {
    fn among(records: &[LogRecord]) -> Option<Self> {
        let mut names = records.iter().filter_map(|record| match &record.content {
            LogContent::Foreign(name) => Some(name),
            _ => None,
        });
        let installation = names.next()?.clone();
        Some(Self {
            count: 1 + names.count(),
            installation,
        })
    }
}

struct Metrics {
    batch_seconds: metrics::Histogram,
    failures: metrics::Counter,
    truncated: metrics::Counter,
    written: metrics::Counter,
    duplicates: metrics::Counter,
    void: metrics::Counter,
    parked: metrics::Counter,
    foreign: metrics::Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let records =
            |outcome| metrics::counter!("goodpon_issuer_records_total", "outcome" => outcome);
        Self {
            batch_seconds: metrics::histogram!("goodpon_issuer_batch_seconds"),
            failures: metrics::counter!("goodpon_issuer_failures_total"),
            truncated: metrics::counter!("goodpon_issuer_truncated_total"),
            written: records("written"),
            duplicates: records("held"),
            void: records("void"),
            parked: records("parked"),
            foreign: records("foreign"),
        }
    }
}

impl Metrics {
    fn count(&self, tally: &Tally) {
        self.written.increment(tally.written as u64);
        self.duplicates.increment(tally.duplicates as u64);
        self.void.increment(tally.void as u64);
        self.parked.increment(tally.parked as u64);
    }
}
