//! The issuer's side: reads its share of the partitions, each from where the database stands in it.
//!
//! Kafka says which partitions are this process's, and nothing else: where to start is the caller's to say, and
//! Kafka's committed offsets are for lag metrics only. A partition is read only once its start is known and the log
//! has that very record, or ends there.

mod log;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use goodpon_domain::gate::Polled;
use rdkafka::{ClientConfig, Message, types::RDKafkaErrorCode};

use self::log::{Change, Heard, Log};
use crate::{
    Error,
    client::{Cluster, reason},
    place::{Need, Place},
    record,
};

/// How soon it is asked again where to start.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// How long a partition waits whose broker did not tell its bounds.
const PUT_OFF: Duration = Duration::from_secs(2);
/// How often it is told again that the log lacks what is wanted.
const TELL_AGAIN: Duration = Duration::from_secs(3);
/// How long the client library is waited for at once.
const SLICE: Duration = Duration::from_millis(100);
/// The largest batch.
const MAX_BATCH: usize = 500;

/// Says at which offset a partition's reading starts. It may block, though not for longer than
/// [`ConsumerSettings::longest_pause`] less some seconds; where it fails it is asked again.
pub type StartOffset = Box<dyn FnMut(i32) -> Result<i64, String> + Send>;

/// How to read the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// Where it is.
    pub cluster: Cluster,
    /// The installation that reads: what another one says is foreign to it.
    pub installation: String,
    /// The group whose members share the partitions.
    pub group: String,
    /// The largest batch, 1 to 500 records.
    pub max: usize,
    /// After this time without a sign of life a member's partitions go to others. Brokers take 6 s or more; with what
    /// the others need to take over, an issuer that was killed delays history entries by less than the 10 s of contract
    /// §2.2.
    pub session: Duration,
    /// The longest time between two polls; who takes longer loses its partitions. `session` or more.
    pub longest_pause: Duration,
}

impl ConsumerSettings {
    /// The usual ones: 500 records, 10 s, 30 s.
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

/// A member of the group. All of it happens in its calls: it must be polled, and more often than
/// [`ConsumerSettings::longest_pause`].
pub struct Consumer {
    log: Log,
    installation: String,
    max: usize,
    start: StartOffset,
    places: BTreeMap<i32, Place>,
    /// Where the latest batch was from: others come first.
    latest: i32,
    try_again: Instant,
    /// What keeps partitions from being read, as it was said.
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
            places: BTreeMap::new(),
            latest: -1,
            try_again: Instant::now(),
            trouble: None,
        })
    }

    /// The next batch, or what else there is to tell, within `timeout`; it may take some seconds more where the
    /// start offset or a broker does.
    ///
    /// Who was taken for dead may, for a moment, get batches that another member gets as well: of each batch the
    /// caller holds the first offset against where the database stands.
    pub fn poll(&mut self, timeout: Duration) -> Polled {
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
                return Polled::Idle;
            }
            patience = left.min(SLICE);
        }
    }

    /// Goes on with `offset` in that partition; what it had ready of it is dropped. Nothing happens where the
    /// partition is not this member's.
    pub fn seek(&mut self, partition: i32, offset: i64) {
        if let Some(place) = self.places.get_mut(&partition) {
            place.go_to(offset, Instant::now());
        }
    }

    /// Bounds the batches of a partition, in records, for as long as it is assigned.
    pub fn limit_batches(&mut self, partition: i32, max: usize) {
        if let Some(place) = self.places.get_mut(&partition) {
            place.limit_batches(max);
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

    /// Notes in Kafka how far this group is, for those who look at its lag there. It is sent later, and may get lost.
    pub fn commit(&self, partition: i32, next_offset: i64) {
        self.log.commit(partition, next_offset);
    }

    /// The partitions that are this member's, whether or not it is known where to start.
    pub fn assigned(&self) -> Vec<i32> {
        self.places.keys().copied().collect()
    }

    /// For each partition of this member's: how many records it has that no batch had yet. Partitions of which that
    /// is not known are left out. The end is some seconds old.
    pub fn lag(&self) -> Vec<(i32, i64)> {
        self.places
            .iter()
            .filter_map(|(partition, place)| {
                let lag = self.log.latest_end(*partition)? - place.position()?;
                Some((*partition, lag.max(0)))
            })
            .collect()
    }

    /// Takes what the library has, waiting so long for the first.
    fn fetch(&mut self, patience: Duration) {
        let mut patience = patience;
        let ready: usize = self.places.values().map(Place::len).sum();
        // With enough in hand, only to hear of changes.
        let mut more = if ready < 2 * MAX_BATCH { MAX_BATCH } else { 1 };
        while more > 0 {
            let (changes, heard) = self.log.poll(patience);
            patience = Duration::ZERO;
            for change in changes {
                apply(change, &mut self.places);
            }
            match heard {
                Heard::Nothing => return,
                Heard::Aside => {}
                Heard::Message(message) => {
                    more -= 1;
                    let place = self.places.get_mut(&message.partition());
                    if let Some(place) = place
                        && place.expects(message.offset(), Instant::now())
                    {
                        place.take(record::read(&message, &self.installation));
                    }
                }
                Heard::Trouble(error) => match error.rdkafka_error_code() {
                    // A partition's next record is out of the log's range; of which, is not said.
                    Some(RDKafkaErrorCode::AutoOffsetReset) => {
                        let now = Instant::now();
                        self.places
                            .values_mut()
                            .for_each(|place| place.look_again(now));
                    }
                    Some(RDKafkaErrorCode::PollExceeded) => {
                        tracing::warn!("this issuer took too long and loses its partitions");
                        // Others go on with them, also with those that it may get back.
                        self.places
                            .values_mut()
                            .for_each(|place| *place = Place::new());
                    }
                    _ => tracing::debug!("Kafka consumer: {error}"),
                },
            }
        }
    }

    /// Does what the places need, until there is something to tell.
    fn tend(&mut self) -> Option<Polled> {
        if Instant::now() < self.try_again {
            return None;
        }
        for partition in self.assigned() {
            match self.tend_to(partition) {
                Ok(None) => {}
                Ok(truncated) => return truncated,
                Err(trouble) => {
                    // Said once, and not again before it is over.
                    if self.trouble.replace(trouble.clone()).is_none() {
                        tracing::warn!("partition {partition} cannot be read yet: {trouble}");
                    }
                    self.try_again = Instant::now() + TRY_AGAIN;
                    return None;
                }
            }
        }
        if self.places.values().all(Place::is_reading) {
            self.trouble = None;
        }
        None
    }

    fn tend_to(&mut self, partition: i32) -> Result<Option<Polled>, String> {
        let Some(place) = self.places.get_mut(&partition) else {
            return Ok(None);
        };
        if place.need(Instant::now()) == Some(Need::Start) {
            place.go_to((self.start)(partition)?, Instant::now());
        }
        let Some(need) = place.need(Instant::now()) else {
            return Ok(None);
        };
        let (low, end) = self.log.bounds(partition).map_err(|error| {
            // It took its time, and others can be read meanwhile.
            place.put_off(Instant::now() + PUT_OFF);
            reason(&error)
        })?;
        let (wanted, first_there) = match need {
            Need::Start => return Ok(None),
            Need::Begin(wanted) | Need::BeginAgain(wanted) => {
                if (low..=end).contains(&wanted) {
                    self.log
                        .read_from(partition, wanted)
                        .map_err(|error| error.to_string())?;
                    place.reads_from(wanted);
                    return Ok(None);
                }
                (wanted, low)
            }
            Need::Tell(wanted) => (wanted, low),
            Need::TellGap(wanted, first) => (wanted, first),
        };
        place.stick(wanted, Instant::now() + TELL_AGAIN);
        Ok(Some(Polled::Truncated {
            partition,
            wanted,
            first_there,
            end,
        }))
    }

    fn next_batch(&mut self) -> Option<Polled> {
        if self.log.is_paused() {
            return None;
        }
        let behind = self.places.range(self.latest.saturating_add(1)..);
        let before = self.places.range(..=self.latest);
        let mut ready = behind.chain(before).filter(|(_, place)| !place.is_empty());
        let partition = *ready.next()?.0;
        self.latest = partition;
        let records = self.places.get_mut(&partition)?.give(self.max);
        Some(Polled::Batch { partition, records })
    }
}

fn apply(change: Change, places: &mut BTreeMap<i32, Place>) {
    match change {
        Change::Assigned(partitions) => {
            places.extend(
                partitions
                    .into_iter()
                    .map(|partition| (partition, Place::new())),
            );
        }
        Change::Revoked(partitions) => {
            for partition in partitions {
                places.remove(&partition);
            }
        }
    }
}
