//! Appends events to the log, and returns the log's acknowledgements.
//!
//! The producer is idempotent, so its own repetitions leave one copy of an event, and it waits for all replicas in
//! sync. A watch beside it asks the brokers for their state once a second.

mod broker_watch;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use goodpon_domain::gate::{Appended, IssueEvent};
use metrics::{Counter, Histogram};
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::{Message, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
    statistics::Statistics,
};
use tokio::sync::{oneshot, watch};

pub use self::broker_watch::BrokerWatch;
use crate::{
    Error,
    client::{Cluster, LastTrouble, create, log, reason},
    event, record,
};

/// The time for which the producer itself repeats a message: less than an event's lifetime.
const MESSAGE_TIMEOUT_MILLIS: &str = "4000";

/// The reason why a record may not be in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The record was refused before it was sent: the log does not have it and will not get it.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The log may have the record, or may still get it within four seconds.
    #[error("may have been written: {0}")]
    Open(String),
}

type Acknowledgement = Result<Appended, PublishError>;
/// The topic's number of partitions, or the reason why it cannot be used.
type Health = Result<i32, String>;
type Producer = ThreadedProducer<Context>;

/// Appends records to the log. A process should share one, which batches concurrent records.
pub struct Publisher {
    shared: Arc<Shared>,
    installation: String,
    health: watch::Receiver<Health>,
    metrics: Metrics,
}

impl Publisher {
    /// Starts to connect and returns at once; [`Self::is_up`] reports whether the brokers answer. Events carry the
    /// installation's name.
    pub fn start(cluster: &Cluster, installation: impl Into<String>) -> Result<Self, Error> {
        let signs = Arc::new(Signs::default());
        let shared = Arc::new(Shared {
            producer: RwLock::new(Arc::new(new_producer(cluster, &signs)?)),
            cluster: cluster.clone(),
            signs,
            health: watch::Sender::new(Err("Kafka was not asked yet".to_owned())),
            watches: AtomicU64::new(0),
        });
        BrokerWatch::of(&shared)
            .spawn()
            .map_err(|error| Error::Settings(format!("no thread to be had: {error}")))?;
        Ok(Self {
            health: shared.health.subscribe(),
            shared,
            installation: installation.into(),
            metrics: Metrics::default(),
        })
    }

    /// Returns the publisher's watch, for a supervisor to run instead of the thread that [`Self::start`] started.
    pub fn watch(&self) -> BrokerWatch {
        BrokerWatch::of(&self.shared)
    }

    /// Appends a copy of an event and waits until all replicas in sync have it, for at most `deadline`. The caller compares
    /// whether the copy counts.
    ///
    /// In the context of a trace the record names it in a header, so that whatever works on it belongs to that trace.
    /// The event is sent at the first poll; dropping the future later does not call it back.
    pub async fn publish(
        &self,
        event: &IssueEvent,
        partition: i32,
        deadline: Duration,
    ) -> Result<Appended, PublishError> {
        let installation = Some(self.installation.as_str());
        let headers = record::headers(event, installation);
        let headers = match goodpon_trace::current() {
            None => headers,
            Some(trace) => record::with_trace(headers, trace),
        };
        let body = event::encode(event, installation);
        self.append(partition, &body, Some(headers), deadline).await
    }

    /// Appends a tick, a record without content that moves the partition's log time.
    pub async fn tick(&self, partition: i32, deadline: Duration) -> Result<Appended, PublishError> {
        self.append(partition, &event::encode_tick(), None, deadline)
            .await
    }

    /// Returns the problem that the latest check of the brokers found, about a second ago, if there was one.
    pub fn is_up(&self) -> Result<(), String> {
        self.health.borrow().as_ref().map_err(Clone::clone)?;
        if self.shared.signs.has_no_log_time.load(Ordering::Relaxed) {
            return Err(format!(
                "Kafka acknowledges without the log's time: message.timestamp.type of the topic {} must be LogAppendTime",
                self.shared.cluster.topic
            ));
        }
        Ok(())
    }

    /// Waits until the brokers answer and the topic can be used, for at most `patience`; then returns the problem.
    pub async fn wait_until_up(&self, patience: Duration) -> Result<(), String> {
        let mut health = self.health.clone();
        let up = health.wait_for(Result::is_ok);
        // After a timeout the latest problem is the answer.
        let _ = tokio::time::timeout(patience, up).await;
        self.is_up()
    }

    /// Returns the topic's number of partitions at the latest check of the brokers.
    pub fn partitions(&self) -> Option<i32> {
        self.health.borrow().as_ref().ok().copied()
    }

    async fn append(
        &self,
        partition: i32,
        body: &[u8],
        headers: Option<OwnedHeaders>,
        deadline: Duration,
    ) -> Acknowledgement {
        let started = Instant::now();
        let acknowledgement = match self.send(partition, body, headers) {
            Ok(receiver) => await_acknowledgement(receiver, deadline).await,
            Err(refusal) => Err(refusal),
        };
        match &acknowledgement {
            Ok(_) => self.metrics.seconds.record(started.elapsed()),
            Err(PublishError::Open(_)) => self.metrics.open.increment(1),
            Err(PublishError::NotSent(_)) => self.metrics.not_sent.increment(1),
        }
        acknowledgement
    }

    /// Hands a record to the producer.
    fn send(
        &self,
        partition: i32,
        body: &[u8],
        headers: Option<OwnedHeaders>,
    ) -> Result<oneshot::Receiver<Acknowledgement>, PublishError> {
        if partition < 0 {
            // The library would choose any partition.
            return Err(PublishError::NotSent(format!(
                "there is no partition {partition}"
            )));
        }
        let (sender, receiver) = oneshot::channel();
        let topic = &self.shared.cluster.topic;
        let mut record = BaseRecord::<(), [u8], _>::with_opaque_to(topic, Box::new(sender))
            .partition(partition)
            .payload(body);
        record.headers = headers;
        let producer = self.shared.producer();
        let refused = match producer.send(record) {
            Ok(()) => return Ok(receiver),
            Err(refused) => refused,
        };
        let refused = if self.shared.replace_if_dead(&producer) {
            match self.shared.producer().send(refused.1) {
                Ok(()) => return Ok(receiver),
                Err(refused) => refused,
            }
        } else {
            refused
        };
        Err(PublishError::NotSent(reason(&refused.0)))
    }
}

async fn await_acknowledgement(
    receiver: oneshot::Receiver<Acknowledgement>,
    deadline: Duration,
) -> Acknowledgement {
    match tokio::time::timeout(deadline, receiver).await {
        Ok(Ok(acknowledgement)) => acknowledgement,
        Ok(Err(_)) => Err(PublishError::Open("the producer has ended".into())),
        Err(_) => Err(PublishError::Open(format!(
            "no acknowledgement within {} ms",
            deadline.as_millis()
        ))),
    }
}

struct Metrics {
    seconds: Histogram,
    open: Counter,
    not_sent: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let failures = |how| metrics::counter!("goodpon_queue_append_failures_total", "how" => how);
        Self {
            seconds: metrics::histogram!("goodpon_queue_append_seconds"),
            open: failures("open"),
            not_sent: failures("not_sent"),
        }
    }
}

/// The state that a publisher shares with its watch.
struct Shared {
    producer: RwLock<Arc<Producer>>,
    cluster: Cluster,
    signs: Arc<Signs>,
    health: watch::Sender<Health>,
    /// The number of runs of the watch that were begun: only the latest goes on.
    watches: AtomicU64,
}

impl Shared {
    fn producer(&self) -> Arc<Producer> {
        Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces a producer that an error has ended for good. Returns whether it was replaced, by this call or by another.
    /// An idempotent producer ends if it can no longer know which of its records the log has.
    fn replace_if_dead(&self, dead: &Arc<Producer>) -> bool {
        let Some((code, why)) = dead.client().fatal_error() else {
            return false;
        };
        let mut place = self
            .producer
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&place, dead) {
            return true;
        }
        tracing::warn!("the Kafka producer ended ({code:?}: {why}) and is made anew");
        match new_producer(&self.cluster, &self.signs) {
            Ok(producer) => {
                let dead = std::mem::replace(&mut *place, Arc::new(producer));
                // Dropping it fails the records that still wait for an acknowledgement, which takes a while.
                thread::spawn(move || drop(dead));
                true
            }
            Err(error) => {
                tracing::error!("no new Kafka producer: {error}");
                false
            }
        }
    }
}

fn new_producer(cluster: &Cluster, signs: &Arc<Signs>) -> Result<Producer, Error> {
    let config = cluster.config(
        // The producer has at most five requests in flight, during which the next batch gathers without a delay. With
        // a delay of 1 ms one publish at a time took ten times as long, 64 at a time were slower, and 256 not faster.
        &[("linger.ms", "0"), ("queue.buffering.max.kbytes", "131072")],
        &[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("message.timeout.ms", MESSAGE_TIMEOUT_MILLIS),
        ],
    );
    create(&config, Context(Arc::clone(signs)))
}

/// Problems that the client library reports in its callbacks.
#[derive(Default)]
struct Signs {
    trouble: LastTrouble,
    /// The latest acknowledgement had no log-append time.
    has_no_log_time: AtomicBool,
}

struct Context(Arc<Signs>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.trouble.note(&error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<oneshot::Sender<Acknowledgement>>;

    fn delivery(&self, result: &DeliveryResult<'_>, caller: Self::DeliveryOpaque) {
        let acknowledgement = match result {
            Ok(message) => {
                let appended_at = record::appended_at(message.timestamp());
                self.0
                    .has_no_log_time
                    .store(appended_at.is_none(), Ordering::Relaxed);
                appended_at
                    .map(|appended_at| Appended {
                        appended_at,
                        partition: message.partition(),
                        offset: message.offset(),
                    })
                    .ok_or_else(|| PublishError::Open("no log-append time".into()))
            }
            // The broker's error may be about a repetition of a record that it has.
            Err((error, _)) => Err(PublishError::Open(reason(error))),
        };
        // It fails if the caller has stopped waiting.
        let _ = caller.send(acknowledgement);
    }
}
