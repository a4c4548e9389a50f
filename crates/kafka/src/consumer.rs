//! Reads an issuer's share of the partitions, each from the offset up to which the database has worked it through.
//!
//! Kafka assigns partitions to this process, and no more: the caller gives the start of each, and Kafka's committed
//! offsets are for metrics of lag only. A partition is read only once its start is known and the log has that very
//! record, or ends there.

mod log;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use goodpon_domain::gate::PollResult;
use rdkafka::{ClientConfig, Message, types::RDKafkaErrorCode};

use self::log::{Change, Log, Next};
use crate::{
    Error,
    client::{Cluster, reason},
    reader::{Need, Reader},
    record,
};

/// The pause before the caller is asked again for a start.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// The pause of a partition whose broker did not answer with its bounds.
const PUT_OFF: Duration = Duration::from_secs(2);
/// The interval at which a record that the log lacks is reported again.
const REPORT_AGAIN: Duration = Duration::from_secs(3);
/// The time of one wait for the client library.
const SLICE: Duration = Duration::from_millis(100);
/// Records of a batch.
const MAX_BATCH: usize = 500;

/// Returns the offset at which a partition's reading starts. It may block, though not for longer than
/// [`ConsumerSettings::longest_pause`] less some seconds; it is called again if it fails.
pub type StartOffset = Box<dyn FnMut(i32) -> Result<i64, String> + Send>;

/// The settings of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// The brokers and the topic.
    pub cluster: Cluster,
    /// The installation that reads: records of another one are foreign to it.
    pub installation: String,
    /// The group whose members share the partitions.
    pub group: String,
    /// Records of a batch at most, 1 to 500.
    pub max: usize,
    /// The time without a heartbeat after which a member's partitions go to others. Brokers allow 6 s or more; with the
    /// time that others need to take over, an issuer that was killed delays history entries by less than the 10 s of
    /// contract §2.2.
    pub session: Duration,
    /// The longest time between two polls, `session` or more; a member that takes longer loses its partitions.
    pub longest_pause: Duration,
}

impl ConsumerSettings {
    /// Returns the usual settings: 500 records, 10 s, 30 s.
    #[must_use]
    pub fn new(
        cluster: Cluster,
        installation: impl Into<String>,
        group: impl Into<String>,
    ) -> Self {
        Self {
            cluster,
            installation: installation.into(),
            group: group.into(),
            max: MAX_BATCH,
            session: Duration::from_secs(6),
            longest_pause: Duration::from_secs(30),
        }
    }

    fn config(&self) -> Result<ClientConfig, Error> {
        let fixed = "group.instance.id";
        if self.cluster.extra.iter().any(|(key, _)| key == fixed) {
            return Err(Error::Settings(format!("{fixed} is not supported")));
        }
        let millis = |time: Duration| time.as_millis().to_string();
        Ok(self.cluster.config(
            &[
                // The library waits a second whenever it holds enough.
                ("fetch.queue.backoff.ms", "10"),
                ("queued.min.messages", "2000"),
                ("queued.max.messages.kbytes", "16384"),
                ("statistics.interval.ms", "1000"),
                ("check.crcs", "true"),
            ],
            &[
                ("group.id", &self.group),
                ("partition.assignment.strategy", "cooperative-sticky"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "error"),
                ("session.timeout.ms", &millis(self.session)),
                ("heartbeat.interval.ms", &millis(self.session / 4)),
                ("max.poll.interval.ms", &millis(self.longest_pause)),
            ],
        ))
    }
}

/// A member of the group. It works only within its calls: it must be polled, and more often than
/// [`ConsumerSettings::longest_pause`].
pub struct Consumer {
    log: Log,
    installation: String,
    max: usize,
    start: StartOffset,
    readers: BTreeMap<i32, Reader>,
    /// The partition of the latest batch: others come first.
    latest: i32,
    try_again: Instant,
    /// The reason for which partitions cannot be read, as it was logged.
    trouble: Option<String>,
}

impl Consumer {
    /// Begins to join the group; the first polls bring the first partitions.
    pub fn join(settings: &ConsumerSettings, start: StartOffset) -> Result<Self, Error> {
        Ok(Self {
            log: Log::join(&settings.config()?, &settings.cluster.topic)?,
            installation: settings.installation.clone(),
            max: settings.max.clamp(1, MAX_BATCH),
            start,
            readers: BTreeMap::new(),
            latest: -1,
            try_again: Instant::now(),
            trouble: None,
        })
    }

    /// Returns the next batch, or another outcome, within `timeout`; it may take some seconds more if the start offset or
    /// a broker does.
    ///
    /// A member that was taken for dead may, for a moment, get batches that another member gets as well: the caller
    /// compares the first offset of each batch with the progress in the database.
    pub fn poll(&mut self, timeout: Duration) -> PollResult {
        let deadline = Instant::now() + timeout;
        let mut patience = Duration::ZERO;
        loop {
            self.fetch(patience);
            if let Some(truncated) = self.tend() {
                return truncated;
            }
            if let Some(batch) = self.next_batch() {
                return batch;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return PollResult::Idle;
            }
            patience = left.min(SLICE);
        }
    }

    /// Goes on with `offset` in that partition; drops records of it that wait for a batch. Does nothing if the partition is
    /// not this member's.
    pub fn seek(&mut self, partition: i32, offset: i64) {
        if let Some(reader) = self.readers.get_mut(&partition) {
            reader.go_to(offset, Instant::now());
        }
    }

    /// Bounds the batches of a partition, in records, for as long as it is assigned.
    pub fn limit_batches(&mut self, partition: i32, max: usize) {
        if let Some(reader) = self.readers.get_mut(&partition) {
            reader.limit_batches(max);
        }
    }

    /// Gives out no batches until [`Self::resume_all`]. Polls must go on: they keep the membership.
    pub fn pause_all(&mut self) {
        self.log.set_paused(true);
    }

    /// Gives out batches again.
    pub fn resume_all(&mut self) {
        self.log.set_paused(false);
    }

    /// Stores this group's progress in Kafka, for those who look at its lag there. It is sent later, and may get lost.
    pub fn commit(&self, partition: i32, next_offset: i64) {
        self.log.commit(partition, next_offset);
    }

    /// Returns the partitions of this member, also those whose start is not known yet.
    pub fn assigned(&self) -> Vec<i32> {
        self.readers.keys().copied().collect()
    }

    /// Counts the records of each partition of this member that no batch had yet. Leaves out partitions whose position or
    /// end is not known. The end is some seconds old.
    pub fn lag(&self) -> Vec<(i32, i64)> {
        self.readers
            .iter()
            .filter_map(|(partition, reader)| {
                let lag = self.log.latest_end(*partition)? - reader.position()?;
                Some((*partition, lag.max(0)))
            })
            .collect()
    }

    /// Takes the records that the library has, and waits for the first of them for `patience`.
    fn fetch(&mut self, patience: Duration) {
        let mut patience = patience;
        let ready: usize = self.readers.values().map(Reader::len).sum();
        // With enough records waiting, one poll more, for changes of partitions.
        let mut more = if ready < 2 * MAX_BATCH { MAX_BATCH } else { 1 };
        while more > 0 {
            let (changes, next) = self.log.poll(patience);
            patience = Duration::ZERO;
            for change in changes {
                apply(change, &mut self.readers);
            }
            match next {
                Next::Nothing => return,
                Next::Aside => {}
                Next::Message(message) => {
                    more -= 1;
                    let reader = self.readers.get_mut(&message.partition());
                    if let Some(reader) = reader
                        && reader.expects(message.offset(), Instant::now())
                    {
                        reader.take(record::read(&message, &self.installation));
                    }
                }
                Next::Trouble(error) => match error.rdkafka_error_code() {
                    // The next record of a partition is out of the log's range; the library does not name the partition.
                    Some(RDKafkaErrorCode::AutoOffsetReset) => {
                        let now = Instant::now();
                        self.readers
                            .values_mut()
                            .for_each(|reader| reader.look_again(now));
                    }
                    Some(RDKafkaErrorCode::PollExceeded) => {
                        tracing::warn!("this issuer took too long and loses its partitions");
                        // Other members go on with the partitions, also with those that this one may get back.
                        self.readers
                            .values_mut()
                            .for_each(|reader| *reader = Reader::new());
                    }
                    _ => tracing::debug!("Kafka consumer: {error}"),
                },
            }
        }
    }

    /// Does what the partitions need, until there is an outcome to return.
    fn tend(&mut self) -> Option<PollResult> {
        if Instant::now() < self.try_again {
            return None;
        }
        for partition in self.assigned() {
            match self.tend_to(partition) {
                Ok(None) => {}
                Ok(truncated) => return truncated,
                Err(trouble) => {
                    // Logged once, and not again before it is over.
                    if self.trouble.replace(trouble.clone()).is_none() {
                        tracing::warn!("partition {partition} cannot be read yet: {trouble}");
                    }
                    self.try_again = Instant::now() + TRY_AGAIN;
                    return None;
                }
            }
        }
        if self.readers.values().all(Reader::is_reading) {
            self.trouble = None;
        }
        None
    }

    fn tend_to(&mut self, partition: i32) -> Result<Option<PollResult>, String> {
        let Some(reader) = self.readers.get_mut(&partition) else {
            return Ok(None);
        };
        if reader.need(Instant::now()) == Some(Need::Start) {
            reader.go_to((self.start)(partition)?, Instant::now());
        }
        let Some(need) = reader.need(Instant::now()) else {
            return Ok(None);
        };
        let (low, end) = self.log.bounds(partition).map_err(|error| {
            // The broker may be slow or away, and other partitions can be read meanwhile.
            reader.put_off(Instant::now() + PUT_OFF);
            reason(&error)
        })?;
        let (wanted, first_there) = match need {
            Need::Start => return Ok(None),
            Need::Begin(wanted) | Need::BeginAgain(wanted) => {
                if (low..=end).contains(&wanted) {
                    self.log
                        .read_from(partition, wanted)
                        .map_err(|error| error.to_string())?;
                    reader.reads_from(wanted);
                    return Ok(None);
                }
                (wanted, low)
            }
            Need::Report(wanted) => (wanted, low),
            Need::ReportGap(wanted, first) => (wanted, first),
        };
        reader.stick(wanted, Instant::now() + REPORT_AGAIN);
        Ok(Some(PollResult::Truncated {
            partition,
            wanted,
            first_there,
            end,
        }))
    }

    fn next_batch(&mut self) -> Option<PollResult> {
        if self.log.is_paused() {
            return None;
        }
        let behind = self.readers.range(self.latest.saturating_add(1)..);
        let before = self.readers.range(..=self.latest);
        let mut ready = behind
            .chain(before)
            .filter(|(_, reader)| !reader.is_empty());
        let partition = *ready.next()?.0;
        self.latest = partition;
        let records = self.readers.get_mut(&partition)?.give(self.max);
        Some(PollResult::Batch { partition, records })
    }
}

fn apply(change: Change, readers: &mut BTreeMap<i32, Reader>) {
    match change {
        Change::Assigned(partitions) => {
            readers.extend(
                partitions
                    .into_iter()
                    .map(|partition| (partition, Reader::new())),
            );
        }
        Change::Revoked(partitions) => {
            for partition in partitions {
                readers.remove(&partition);
            }
        }
    }
}
