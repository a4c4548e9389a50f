//! Reads the log with the client library, as a member of a group.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext},
    error::{KafkaError, KafkaResult},
    message::BorrowedMessage,
    statistics::Statistics,
    types::RDKafkaRespErr,
};

use crate::{
    Error,
    client::{create, lock, log},
};

/// The time within which a broker must answer where a partition begins and ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// A member of a group that reads nothing unasked: it takes partitions over, and reads each from the offset of
/// [`Self::read_from`] on.
pub(super) struct Log {
    consumer: BaseConsumer<Context>,
    topic: String,
    is_paused: bool,
}

impl Log {
    pub(super) fn join(config: &ClientConfig, topic: &str) -> Result<Self, Error> {
        let consumer: BaseConsumer<Context> = create(config, Context::default())?;
        consumer
            .subscribe(&[topic])
            .map_err(|error| Error::Settings(error.to_string()))?;
        Ok(Self {
            consumer,
            topic: topic.to_owned(),
            is_paused: false,
        })
    }

    /// Returns the next event of the library, for which it waits for `patience`, and the changes of partitions before it.
    pub(super) fn poll(&self, patience: Duration) -> (Vec<Change>, Next<'_>) {
        let context = self.consumer.context();
        let before = context.asides.load(Ordering::Relaxed);
        let next = match self.consumer.poll(patience) {
            Some(Ok(message)) => Next::Message(message),
            Some(Err(error)) => Next::Trouble(error),
            None if context.asides.load(Ordering::Relaxed) == before => Next::Nothing,
            None => Next::Aside,
        };
        (std::mem::take(&mut *lock(&context.changes)), next)
    }

    /// Asks for the first offset that a partition has, and the one behind the last.
    pub(super) fn bounds(&self, partition: i32) -> KafkaResult<(i64, i64)> {
        self.consumer
            .fetch_watermarks(&self.topic, partition, PATIENCE)
    }

    /// Returns the end of a partition as it was known some seconds ago.
    pub(super) fn latest_end(&self, partition: i32) -> Option<i64> {
        lock(&self.consumer.context().ends).get(&partition).copied()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Makes the library pause or go on with all partitions that are read.
    pub(super) fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        let set = |all: &TopicPartitionList| {
            if is_paused {
                self.consumer.pause(all)
            } else {
                self.consumer.resume(all)
            }
        };
        if let Err(error) = self.consumer.assignment().and_then(|all| set(&all)) {
            tracing::warn!("Kafka's consumer does not pause or resume: {error}");
        }
    }

    pub(super) fn commit(&self, partition: i32, next_offset: i64) {
        let offsets = self.at(partition, next_offset);
        if let Err(error) = self.consumer.commit(&offsets, CommitMode::Async) {
            tracing::debug!("Kafka's offset of partition {partition} is not noted: {error}");
        }
    }

    /// Makes the library read on at `offset`.
    pub(super) fn read_from(&self, partition: i32, offset: i64) -> KafkaResult<()> {
        let this = self.at(partition, offset);
        let read = self.consumer.assignment()?;
        if read.find_partition(&self.topic, partition).is_some() {
            let seek = Offset::Offset(offset);
            if self
                .consumer
                .seek(&self.topic, partition, seek, PATIENCE)
                .is_ok()
            {
                return Ok(());
            }
            // The library refuses if reading has stopped, as it does at an offset that the log lacked.
            self.consumer.incremental_unassign(&this)?;
        }
        // The library remembers pauses beyond an assignment.
        if !self.is_paused {
            self.consumer.resume(&this)?;
        }
        self.consumer.incremental_assign(&this)?;
        if self.is_paused {
            self.consumer.pause(&this)?;
        }
        Ok(())
    }

    fn at(&self, partition: i32, offset: i64) -> TopicPartitionList {
        std::iter::once((self.topic.clone(), partition, Offset::Offset(offset))).collect()
    }
}

/// The next event of the library.
pub(super) enum Next<'a> {
    /// A record.
    Message(BorrowedMessage<'a>),
    /// An error.
    Trouble(KafkaError),
    /// A call of the context: there may be another event at once.
    Aside,
    /// No further event.
    Nothing,
}

/// A change of the partitions of this member.
pub(super) enum Change {
    Assigned(Vec<i32>),
    Revoked(Vec<i32>),
}

/// Takes the library's calls, which come within polls, on the thread that polls.
#[derive(Default)]
pub(super) struct Context {
    changes: Mutex<Vec<Change>>,
    /// The number of calls.
    asides: AtomicU64,
    /// The end of each partition.
    ends: Mutex<BTreeMap<i32, i64>>,
}

impl Context {
    fn count(&self) {
        self.asides.fetch_add(1, Ordering::Relaxed);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.count();
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("Kafka client: {error}: {reason}");
    }

    fn stats(&self, statistics: Statistics) {
        self.count();
        let partitions = statistics
            .topics
            .into_values()
            .flat_map(|topic| topic.partitions);
        lock(&self.ends).extend(
            partitions
                .filter(|(_, known)| known.hi_offset >= 0)
                .map(|(partition, known)| (partition, known.hi_offset)),
        );
    }
}

impl ConsumerContext for Context {
    /// Takes partitions over without reading them, for their start is not known yet; gives them back at once.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        self.count();
        let elements = partitions.elements();
        let numbers = elements.iter().map(|element| element.partition()).collect();
        let (change, done) = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let done = consumer.incremental_assign(&TopicPartitionList::new());
            (Change::Assigned(numbers), done)
        } else {
            (Change::Revoked(numbers), stop_reading(consumer, partitions))
        };
        lock(&self.changes).push(change);
        if let Err(error) = done {
            tracing::error!("Kafka's consumer does not follow the group: {error}");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        self.count();
        if let Err(error) = result {
            tracing::debug!("Kafka's offsets are not noted: {error}");
        }
    }
}

/// Gives up partitions. Must not name those that were never started: the library would keep them all.
fn stop_reading(
    consumer: &BaseConsumer<Context>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    let read = consumer.assignment()?;
    let mut given_up = TopicPartitionList::new();
    for element in partitions.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        if read.find_partition(topic, partition).is_some() {
            given_up.add_partition(topic, partition);
        }
    }
    consumer.incremental_unassign(&given_up)
}
