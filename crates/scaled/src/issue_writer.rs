//! The issuer's work (I1 to I5): it makes coupons of what the log has, pauses while the database is away, and keeps the
//! log's time moving.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use goodpon_application::ports::StoreError;
use goodpon_domain::gate::{Content, Polled, Record, Tally, Written};
use tokio::time::Instant;

use crate::{
    batch_size::BatchSize,
    ports::{GateRecords, LogReader, LogTime},
    standstill::Standstill,
};

/// How long a poll waits for records.
const POLL: Duration = Duration::from_millis(100);

/// How long to leave a database alone that failed.
const REST: Duration = Duration::from_millis(500);

/// How often each partition is told that time goes on.
const TICK_EVERY: Duration = Duration::from_secs(1);

/// How often it is told at most that another installation uses the topic.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How long a tick may take to be acknowledged.
const TICK_WITHIN: Duration = Duration::from_secs(4);

/// Reads the log and writes coupons.
pub struct IssueWriter {
    records: Arc<dyn GateRecords>,
    time: Arc<dyn LogTime>,
    reader: Box<dyn LogReader>,
    /// By partition: a slow record of one does not concern another.
    sizes: HashMap<i32, BatchSize>,
    standstill: Arc<Standstill>,
    metrics: Metrics,
    ticked: Option<Instant>,
    warned: Option<Instant>,
    /// Until when the database is left alone, after a failure.
    rests_until: Option<Instant>,
}

impl IssueWriter {
    /// A writer at the beginning of its work.
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
            ticked: None,
            warned: None,
            rests_until: None,
        }
    }

    /// Does what is due by time, and waits a moment for records. Must be called within a tokio runtime's context, on a
    /// thread that may block.
    pub fn poll(&mut self) -> Polled {
        self.tick();
        if self
            .rests_until
            .is_some_and(|until| until <= Instant::now())
        {
            self.rests_until = None;
            self.reader.resume_all();
        }
        self.reader.poll(POLL)
    }

    /// Works on what a poll returned.
    pub async fn work_on(&mut self, polled: Polled) {
        match polled {
            Polled::Batch { partition, records } => self.write(partition, &records).await,
            Polled::Truncated {
                partition,
                wanted,
                first_there,
                end,
            } => {
                self.truncated(partition, wanted, first_there..=end).await;
            }
            Polled::Idle => {}
        }
    }

    /// Gives up all partitions.
    pub(crate) fn stop(&self) {
        self.standstill.keep_only(&[]);
    }

    /// The log does not have what a partition should go on with.
    async fn truncated(&mut self, partition: i32, wanted: i64, there: RangeInclusive<i64>) {
        // An operator may have said where to go on, or the log has come to be so long again: what was taken in
        // meanwhile was refused.
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

    async fn write(&mut self, partition: i32, records: &[Record]) {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return;
        };
        let (first, next) = (first.offset, last.offset.saturating_add(1));
        let began = Instant::now();
        match self.written(partition, records).await {
            Ok(Written::Done(tally)) => {
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
            Ok(Written::Elsewhere { next_offset }) => {
                tracing::info!(
                    partition,
                    read = first,
                    next_offset,
                    "another issuer was here: going on from there"
                );
                self.standstill.goes_on(partition);
                self.reader.seek(partition, next_offset);
            }
            Err(trouble) => {
                self.metrics.failures.increment(1);
                self.resize(partition, |size| size.failed(records.len()));
                self.reader.seek(partition, first);
                self.hold_back(partition, records.len(), trouble);
            }
        }
    }

    fn resize(&mut self, partition: i32, change: impl FnOnce(&mut BatchSize)) {
        let size = self.sizes.entry(partition).or_default();
        change(size);
        self.reader.limit_batches(partition, size.get());
    }

    /// Writes a batch. A record at which a batch of its own panics is parked.
    async fn written(&self, partition: i32, records: &[Record]) -> Result<Written, Trouble> {
        match caught(self.records.write_issues(partition, records)).await {
            Some(written) => return written.map_err(Trouble::Store),
            None if records.len() > 1 => return Err(Trouble::Panic),
            None => {}
        }
        let Some(record) = records.first() else {
            return Err(Trouble::Panic);
        };
        let offset = record.offset;
        tracing::error!(
            partition,
            offset,
            "goodpon panics at this record, which is parked: report this"
        );
        let reason = "goodpon panicked while it wrote it: report this";
        let park = self.records.park_unread(partition, record, reason);
        let parked = caught(park).await.ok_or(Trouble::Panic)?;
        parked.map_err(Trouble::Store)
    }

    /// Tells why a batch was not written, and how the issuer goes on.
    fn hold_back(&mut self, partition: i32, records: usize, trouble: Trouble) {
        match trouble {
            // It was logged where it happened. A smaller batch is tried at once.
            Trouble::Panic if records > 1 => {
                tracing::error!(
                    partition,
                    records,
                    "a panic while coupons were written: looking for the record at fault"
                );
                return;
            }
            Trouble::Panic => self
                .standstill
                .stands(partition, "goodpon panics at its next record".to_owned()),
            Trouble::Store(error @ StoreError::Unavailable { .. }) => tracing::warn!(
                partition, %error,
                "coupons cannot be written: waiting for the database"
            ),
            Trouble::Store(error @ StoreError::Unexpected(_)) => {
                tracing::error!(
                    partition, %error,
                    "coupons cannot be written, and waiting hardly helps: this partition stands still"
                );
                self.standstill.stands(partition, error.to_string());
            }
        }
        self.reader.pause_all();
        self.rests_until = Some(Instant::now() + REST);
    }

    /// Tells that another installation uses the topic: not of each of its events.
    fn warn_of_foreign(&mut self, partition: i32, foreign: &Foreign) {
        self.metrics.foreign.increment(foreign.count as u64);
        if self.warned.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            return;
        }
        self.warned = Some(Instant::now());
        tracing::warn!(
            partition,
            installation = foreign.installation,
            "another installation publishes to this topic: its events are left to it; give each installation a kafka-topic of its own"
        );
    }

    /// Lets the log's time move where nobody issues: without it no gate could be sealed.
    fn tick(&mut self) {
        if self.ticked.is_some_and(|at| at.elapsed() < TICK_EVERY) {
            return;
        }
        self.ticked = Some(Instant::now());
        let assigned = self.reader.assigned();
        self.standstill.keep_only(&assigned);
        self.sizes
            .retain(|partition, _| assigned.contains(partition));
        for partition in assigned {
            let time = Arc::clone(&self.time);
            tokio::spawn(async move {
                if let Err(error) = time.tick(partition, TICK_WITHIN).await {
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

/// Why a batch was not written.
enum Trouble {
    Store(StoreError),
    Panic,
}

/// What `run` returns, unless it panics. A session that is dropped in the middle closes its connection, and nothing else
/// is shared.
async fn caught<T>(run: impl Future<Output = T>) -> Option<T> {
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

/// What another installation has in a batch.
struct Foreign {
    count: usize,
    /// One that is named.
    installation: String,
}

impl Foreign {
    fn among(records: &[Record]) -> Option<Self> {
        let mut names = records.iter().filter_map(|record| match &record.content {
            Content::Foreign(name) => Some(name),
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
