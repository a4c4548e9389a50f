//! The issuer: it reads the log and makes coupons of accepted issues (I1 to I5). It starts where the database says,
//! pauses while the database is away, and keeps the log's time moving.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use goodpon_application::{
    issue_log::{Content, Record, Unreadable},
    ports::StoreError,
};
use goodpon_kafka::{Cluster, Consumer, ConsumerSettings, Error, Polled, Publisher};
use goodpon_mysql::{Store, Tally, Written};
use goodpon_supervise::{Supervisor, Task};
use tokio::runtime::Handle;

use crate::{Scaled, batch::BatchSize, standstill::Standstill};

/// The group whose members share the partitions of a topic: the issuers of one installation.
fn group(topic: &str, installation: &str) -> String {
    format!("goodpon-issuer.{topic}.{installation}")
}

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

/// The issuer's task: without it accepted issues become no coupons, and nothing says so to whom they were promised. Its
/// state is the database's, so another process goes on with its partitions at once.
const TASK: Task = Task::exit("issuer");

/// An issuer at work, on a thread of its own.
#[must_use = "dropping it leaves the issuer alone, it does not stop it"]
pub struct Issuer {
    thread: goodpon_supervise::Thread,
}

impl Issuer {
    /// Joins the group of the installation's issuers of `cluster`'s topic. It ends soon after the supervisor's stop.
    ///
    /// # Errors
    /// A setting of Kafka is wrong.
    pub fn start(
        scaled: &Scaled,
        cluster: &Cluster,
        supervisor: &Supervisor,
    ) -> Result<Self, Error> {
        let (store, runtime) = (scaled.store.clone(), Handle::current());
        let installation = scaled.installation();
        let publisher = Arc::new(Publisher::start(cluster, installation)?);
        let settings = ConsumerSettings::new(
            cluster.clone(),
            installation,
            group(&cluster.topic, installation),
        );
        let starts = {
            let (store, runtime) = (store.clone(), runtime.clone());
            move |partition| {
                let progress = runtime.block_on(store.progress());
                let progress = progress.map_err(|error| error.to_string())?;
                let next = progress.get(&partition).copied();
                next.ok_or_else(|| {
                    format!("partition {partition} has no progress: run `goodpon migrate`")
                })
            }
        };
        let consumer = Consumer::join(&settings, Box::new(starts))?;
        let mut work = Work {
            store,
            runtime,
            publisher,
            consumer,
            sizes: HashMap::new(),
            standstill: Arc::clone(&scaled.standstill),
            metrics: Metrics::default(),
            ticked: None,
            warned: None,
            rests_until: None,
        };
        let stop = supervisor.stopping();
        let thread = supervisor
            .spawn_thread(TASK, move |report| {
                while !*stop.borrow() {
                    work.step();
                    report.ran();
                }
                work.standstill.keep_only(&[]);
                Ok(())
            })
            .map_err(|error| Error::Settings(format!("no thread to be had: {error}")))?;
        Ok(Self { thread })
    }

    /// Waits until it has ended.
    pub async fn finished(self) {
        // Its end is told by its task.
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

struct Work {
    store: Store,
    runtime: Handle,
    publisher: Arc<Publisher>,
    consumer: Consumer,
    /// By partition: a slow record of one says nothing of another's.
    sizes: HashMap<i32, BatchSize>,
    standstill: Arc<Standstill>,
    metrics: Metrics,
    ticked: Option<Instant>,
    warned: Option<Instant>,
    /// Until when the database is left alone, after a failure.
    rests_until: Option<Instant>,
}

impl Work {
    fn step(&mut self) {
        self.tick();
        if self
            .rests_until
            .is_some_and(|until| until <= Instant::now())
        {
            self.rests_until = None;
            self.consumer.resume_all();
        }
        match self.consumer.poll(POLL) {
            Polled::Batch { partition, records } => self.write(partition, records),
            Polled::Truncated {
                partition,
                wanted,
                first_there,
                end,
            } => self.truncated(partition, wanted, first_there..=end),
            Polled::Idle => {}
        }
    }

    /// The log does not have what a partition should go on with.
    fn truncated(&mut self, partition: i32, wanted: i64, there: RangeInclusive<i64>) {
        // An operator may have said where to go on, or the log has come to be so long again: what was taken in
        // meanwhile was refused.
        let progress = self.runtime.block_on(self.store.progress());
        let next = progress.ok().and_then(|all| all.get(&partition).copied());
        if let Some(next) = next.filter(|next| there.contains(next)) {
            self.standstill.goes_on(partition);
            self.consumer.seek(partition, next);
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

    fn write(&mut self, partition: i32, records: Vec<goodpon_kafka::Record>) {
        let foreign = Foreign::among(&records);
        let records: Vec<Record> = records.into_iter().map(read).collect();
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return;
        };
        let (first, next) = (first.offset, last.offset.saturating_add(1));
        let began = Instant::now();
        match self.written(partition, &records) {
            Ok(Written::Done(tally)) => {
                self.resize(partition, |size| size.written(began.elapsed()));
                self.standstill.goes_on(partition);
                self.metrics.batch_seconds.record(began.elapsed());
                self.metrics.count(&tally);
                tell(partition, &tally);
                if let Some(foreign) = foreign {
                    self.tell_foreign(partition, &foreign);
                }
                self.consumer.commit(partition, next);
            }
            Ok(Written::Elsewhere { next_offset }) => {
                tracing::info!(
                    partition,
                    read = first,
                    next_offset,
                    "another issuer was here: going on from there"
                );
                self.standstill.goes_on(partition);
                self.consumer.seek(partition, next_offset);
            }
            Err(trouble) => {
                self.metrics.failures.increment(1);
                self.resize(partition, |size| size.failed(records.len()));
                self.consumer.seek(partition, first);
                self.hold_back(partition, records.len(), trouble);
            }
        }
    }

    fn resize(&mut self, partition: i32, change: impl FnOnce(&mut BatchSize)) {
        let size = self.sizes.entry(partition).or_default();
        change(size);
        self.consumer.limit_batches(partition, size.get());
    }

    /// Writes a batch. A record at which a batch of its own panics is parked.
    fn written(&self, partition: i32, records: &[Record]) -> Result<Written, Trouble> {
        let keep = goodpon_kafka::keep;
        let write = self.store.write_issues(partition, records, keep);
        match caught(|| self.runtime.block_on(write)) {
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
        let park = self.store.park_unread(partition, record, reason, keep);
        let parked = caught(|| self.runtime.block_on(park)).ok_or(Trouble::Panic)?;
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
        self.consumer.pause_all();
        self.rests_until = Some(Instant::now() + REST);
    }

    /// Tells that another installation uses the topic: not of each of its events.
    fn tell_foreign(&mut self, partition: i32, foreign: &Foreign) {
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
        let assigned = self.consumer.assigned();
        self.standstill.keep_only(&assigned);
        self.sizes
            .retain(|partition, _| assigned.contains(partition));
        for partition in assigned {
            let publisher = Arc::clone(&self.publisher);
            self.runtime.spawn(async move {
                if let Err(error) = publisher.tick(partition, TICK_WITHIN).await {
                    tracing::debug!(partition, %error, "a tick was not taken in");
                }
            });
        }
        for (partition, lag) in self.consumer.lag() {
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

/// What `run` gives, unless it panics. A session that is dropped in the middle closes its connection, and nothing else
/// is shared.
fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

fn tell(partition: i32, tally: &Tally) {
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
    fn among(records: &[goodpon_kafka::Record]) -> Option<Self> {
        let mut names = records.iter().filter_map(|record| match &record.content {
            goodpon_kafka::Content::Foreign(name) => Some(name),
            _ => None,
        });
        let installation = names.next()?.clone();
        Some(Self {
            count: 1 + names.count(),
            installation,
        })
    }
}

/// What Kafka gave, as the store takes it. To it, what another installation says only tells the time.
fn read(record: goodpon_kafka::Record) -> Record {
    Record {
        offset: record.offset,
        appended_at: record.appended_at,
        content: match record.content {
            goodpon_kafka::Content::Event(event) => Content::Event(event),
            goodpon_kafka::Content::Tick | goodpon_kafka::Content::Foreign(_) => Content::Tick,
            goodpon_kafka::Content::Unreadable {
                reason,
                template,
                user,
                valid_until,
                raw,
            } => Content::Unreadable(Unreadable {
                reason,
                template_id: template,
                user_id: user,
                valid_until,
                raw,
            }),
        },
    }
}

struct Metrics {
    batch_seconds: metrics::Histogram,
    failures: metrics::Counter,
    truncated: metrics::Counter,
    written: metrics::Counter,
    held: metrics::Counter,
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
            held: records("held"),
            void: records("void"),
            parked: records("parked"),
            foreign: records("foreign"),
        }
    }
}

impl Metrics {
    fn count(&self, tally: &Tally) {
        self.written.increment(tally.written as u64);
        self.held.increment(tally.held as u64);
        self.void.increment(tally.void as u64);
        self.parked.increment(tally.parked as u64);
    }
}
