//! The partner's side: appends events to the log and tells what the log says of them.
//!
//! The producer is idempotent, so its own repetitions leave one copy of an event, and it waits for all replicas in
//! sync. A watch beside it asks the brokers each second how they are.

use std::{
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
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
    metadata::Metadata,
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
    statistics::Statistics,
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use tokio::sync::{oneshot, watch};

use crate::{
    Error,
    client::{Cluster, LastTrouble, create, log, reason},
    event, record,
};

/// How long the producer itself goes on trying: less than an event lives.
const MESSAGE_TIMEOUT_MILLIS: &str = "4000";
/// How often the brokers are asked how they are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long they may take to answer that.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// How a publish fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It was refused before it was sent: the log does not have it and will not.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The log may have it, or may still get it within four seconds.
    #[error("may have been written: {0}")]
    Open(String),
}

type Answer = Result<Appended, PublishError>;
/// How many partitions the topic has, or what is wrong.
type Health = Result<i32, String>;
type Producer = ThreadedProducer<Context>;

/// Appends to the log. Share one in a process: it batches what comes at the same time.
pub struct Publisher {
    shared: Arc<Shared>,
    installation: String,
    health: watch::Receiver<Health>,
    metrics: Metrics,
}

impl Publisher {
    /// Begins to connect and returns at once, also where no broker answers: [`Self::is_up`] tells. Events bear the
    /// installation's name.
    pub fn start(cluster: &Cluster, installation: impl Into<String>) -> Result<Self, Error> {
        let (tell, health) = watch::channel(Err("Kafka was not asked yet".to_owned()));
        let signs = Arc::new(Signs::default());
        let shared = Arc::new(Shared {
            producer: RwLock::new(Arc::new(new_producer(cluster, &signs)?)),
            cluster: cluster.clone(),
            signs,
        });
        let watched = Arc::downgrade(&shared);
        thread::Builder::new()
            .name("goodpon-kafka".into())
            .spawn(move || watch(&watched, &tell))
            .map_err(|error| Error::Settings(format!("no thread to be had: {error}")))?;
        Ok(Self {
            shared,
            installation: installation.into(),
            health,
            metrics: Metrics::default(),
        })
    }

    /// Appends a copy of an event and waits until all replicas in sync have it, for `deadline` at most. Whether the
    /// copy counts is for the caller to compare.
    ///
    /// Dropping the future changes nothing about what the log gets.
    pub async fn publish(
        &self,
        event: &IssueEvent,
        partition: i32,
        deadline: Duration,
    ) -> Result<Appended, PublishError> {
        let installation = Some(self.installation.as_str());
        let headers = record::headers(event, installation);
        let body = event::encode(event, installation);
        self.append(partition, &body, Some(headers), deadline).await
    }

    /// Appends a record that says nothing but moves the partition's log time.
    pub async fn tick(&self, partition: i32, deadline: Duration) -> Result<Appended, PublishError> {
        self.append(partition, &event::encode_tick(), None, deadline)
            .await
    }

    /// What is wrong, if anything was when the brokers were last asked, a second ago or so.
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

    /// Waits until all is well, for so long at most; then what is wrong.
    pub async fn wait_until_up(&self, patience: Duration) -> Result<(), String> {
        let mut health = self.health.clone();
        let up = health.wait_for(Result::is_ok);
        // In both other cases what was told last is the answer.
        let _ = tokio::time::timeout(patience, up).await;
        self.is_up()
    }

    /// How many partitions the topic had when the brokers were last asked.
    pub fn partitions(&self) -> Option<i32> {
        self.health.borrow().as_ref().ok().copied()
    }

    async fn append(
        &self,
        partition: i32,
        body: &[u8],
        headers: Option<OwnedHeaders>,
        deadline: Duration,
    ) -> Answer {
        let started = Instant::now();
        let answer = match self.send(partition, body, headers) {
            Ok(report) => await_report(report, deadline).await,
            Err(refusal) => Err(refusal),
        };
        match &answer {
            Ok(_) => self.metrics.seconds.record(started.elapsed()),
            Err(PublishError::Open(_)) => self.metrics.open.increment(1),
            Err(PublishError::NotSent(_)) => self.metrics.not_sent.increment(1),
        }
        answer
    }

    /// Hands a record to the producer.
    fn send(
        &self,
        partition: i32,
        body: &[u8],
        headers: Option<OwnedHeaders>,
    ) -> Result<oneshot::Receiver<Answer>, PublishError> {
        if partition < 0 {
            // To the library that means any partition.
            return Err(PublishError::NotSent(format!(
                "there is no partition {partition}"
            )));
        }
        let (tell, report) = oneshot::channel();
        let topic = &self.shared.cluster.topic;
        let mut record = BaseRecord::<(), [u8], _>::with_opaque_to(topic, Box::new(tell))
            .partition(partition)
            .payload(body);
        record.headers = headers;
        let producer = self.shared.producer();
        let refused = match producer.send(record) {
            Ok(()) => return Ok(report),
            Err(refused) => refused,
        };
        let refused = if self.shared.replace_if_dead(&producer) {
            match self.shared.producer().send(refused.1) {
                Ok(()) => return Ok(report),
                Err(refused) => refused,
            }
        } else {
            refused
        };
        Err(PublishError::NotSent(reason(&refused.0)))
    }
}

async fn await_report(report: oneshot::Receiver<Answer>, deadline: Duration) -> Answer {
    match tokio::time::timeout(deadline, report).await {
        Ok(Ok(answer)) => answer,
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

/// What publishers and the watch share.
struct Shared {
    producer: RwLock<Arc<Producer>>,
    cluster: Cluster,
    signs: Arc<Signs>,
}

impl Shared {
    fn producer(&self) -> Arc<Producer> {
        Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a new producer in the place of one that an error has ended for good; tells whether it did, or somebody
    /// else had. An idempotent one ends when it can no longer tell what the log has of it.
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
                // It tells those who still wait, which takes a while.
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
        // Five requests at most are under way, and meanwhile the next batch comes together by itself: with a delay of
        // 1 ms one publish at a time took ten times as long, 64 were slower, and 256 gained nothing.
        &[("linger.ms", "0"), ("queue.buffering.max.kbytes", "131072")],
        &[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("message.timeout.ms", MESSAGE_TIMEOUT_MILLIS),
        ],
    );
    create(&config, Context(Arc::clone(signs)))
}

/// What the client library tells on its own.
#[derive(Default)]
struct Signs {
    trouble: LastTrouble,
    /// Whether the latest acknowledgement bore no log-append time.
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
    type DeliveryOpaque = Box<oneshot::Sender<Answer>>;

    fn delivery(&self, result: &DeliveryResult<'_>, caller: Self::DeliveryOpaque) {
        let answer = match result {
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
            // Even an error of the broker's may be that of a repetition.
            Err((error, _)) => Err(PublishError::Open(reason(error))),
        };
        // Who has stopped waiting needs no answer.
        let _ = caller.send(answer);
    }
}

/// Asks the brokers each second how they are, as long as there is a publisher.
fn watch(shared: &Weak<Shared>, tell: &watch::Sender<Health>) {
    while let Some(shared) = shared.upgrade() {
        let producer = shared.producer();
        shared.replace_if_dead(&producer);
        let topic = &shared.cluster.topic;
        let health = match producer.client().fetch_metadata(Some(topic), LOOK_PATIENCE) {
            Ok(metadata) => {
                shared.signs.trouble.clear();
                if shared.signs.has_no_log_time.load(Ordering::Relaxed) {
                    probe(&producer, topic);
                }
                health_of(topic, &metadata)
            }
            Err(error) => {
                let trouble = shared.signs.trouble.text();
                let trouble = trouble.unwrap_or_else(|| reason(&error));
                Err(shared.cluster.unreachable(trouble).to_string())
            }
        };
        let was_up = tell.send_replace(health.clone()).is_ok();
        if health.is_ok() != was_up {
            match &health {
                Ok(partitions) => {
                    tracing::info!("Kafka's topic {topic} is up, {partitions} partitions")
                }
                Err(problem) => tracing::warn!("{problem}"),
            }
        }
        drop((producer, shared));
        thread::sleep(LOOK_EVERY);
    }
}

/// Sends a tick, whose acknowledgement tells whether the log tells its time by now. Who is not ready publishes nothing
/// else that would tell.
fn probe(producer: &Producer, topic: &str) {
    let tick = event::encode_tick();
    let record = BaseRecord::<(), _, _>::with_opaque_to(topic, Box::new(oneshot::channel().0));
    // Where it is refused, the next round tries again.
    let _ = producer.send(record.partition(0).payload(&tick));
}

fn health_of(topic: &str, metadata: &Metadata) -> Health {
    let Some(told) = metadata.topics().first() else {
        return Err(format!("Kafka tells nothing of the topic {topic}"));
    };
    match told.error() {
        None => {}
        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => {
            return Err(format!("the topic {topic} does not exist"));
        }
        Some(error) => {
            let error = RDKafkaErrorCode::from(error);
            return Err(format!("the topic {topic} cannot be used: {error}"));
        }
    }
    if let Some(headless) = told
        .partitions()
        .iter()
        .find(|partition| partition.leader() < 0)
    {
        return Err(format!(
            "partition {} of the topic {topic} has no leader",
            headless.id()
        ));
    }
    Ok(i32::try_from(told.partitions().len()).unwrap_or(i32::MAX))
}
