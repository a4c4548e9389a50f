//! The log as the client library reads it for a member of a group.

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

/// How long a broker may take to tell where a partition begins and ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// A member of a group that reads nothing unasked: partitions are taken over, and each is read once
/// [`Self::read_from`] says from where.
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

    /// The next of what the library has, waiting so long for it; and what became of partitions before it came.
    pub(super) fn poll(&self, patience: Duration) -> (Vec<Change>, Heard<'_>) {
        let context = self.consumer.context();
        let before = context.asides.load(Ordering::Relaxed);
        let heard = match self.consumer.poll(patience) {
            Some(Ok(message)) => Heard::Message(message),
            Some(Err(error)) => Heard::Trouble(error),
            None if context.asides.load(Ordering::Relaxed) == before => Heard::Nothing,
            None => Heard::Aside,
        };
        (std::mem::take(&mut *lock(&context.changes)), heard)
    }

    /// The first offset that a partition has, and the one behind the last.
    pub(super) fn bounds(&self, partition: i32) -> KafkaResult<(i64, i64)> {
        self.consumer
            .fetch_watermarks(&self.topic, partition, PATIENCE)
    }

    /// The end of a partition as it was known some seconds ago.
    pub(super) fn latest_end(&self, partition: i32) -> Option<i64> {
        lock(&self.consumer.context().ends).get(&partition).copied()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Has the library pause or go on with all that is read.
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

    /// Has the library read on at `offset`.
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
            // It refuses to where reading has stopped, as it does at an offset that the log lacked.
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

/// What the library has to say.
pub(super) enum Heard<'a> {
    /// A record.
    Message(BorrowedMessage<'a>),
    /// Something went wrong.
    Trouble(KafkaError),
    /// Something that the context was told: there may be more at once.
    Aside,
    /// Nothing; it has no more.
    Nothing,
}

/// What became of partitions.
pub(super) enum Change {
    Assigned(Vec<i32>),
    Revoked(Vec<i32>),
}

/// What the library tells on its own. It does so within polls, on the thread that polls.
#[derive(Default)]
pub(super) struct Context {
    changes: Mutex<Vec<Change>>,
    /// How often it told something.
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
                .filter(|(_, told)| told.hi_offset >= 0)
                .map(|(partition, told)| (partition, told.hi_offset)),
        );
    }
}

impl ConsumerContext for Context {
    /// Takes partitions over without reading them, for it is not known yet from where; gives them back at once.
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

/// Gives up partitions. Those that were never started must not be named: the library would keep them all.
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
