//! Checks a publisher's brokers once a second, and replaces its producer if that is dead.

use std::{
    io,
    sync::{Arc, Weak, atomic::Ordering},
    thread,
    time::Duration,
};

use rdkafka::{
    metadata::Metadata,
    producer::{BaseRecord, Producer as _},
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use tokio::sync::oneshot;

use super::{Health, Producer, Shared};
use crate::{client::reason, event};

/// The pause between two checks of the brokers.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The time limit for the brokers' answer to a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The watch over a publisher's brokers.
#[derive(Clone)]
pub struct BrokerWatch(Weak<Shared>);

impl BrokerWatch {
    pub(super) fn of(publisher: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(publisher))
    }

    /// Runs the watch on a thread of its own.
    pub(super) fn spawn(self) -> io::Result<()> {
        // Begun here and not on the thread, so that a later run takes over from this one and not the other way round.
        let run = self.begin();
        thread::Builder::new()
            .name("goodpon-kafka".into())
            .spawn(move || self.go_on(run, || ()))?;
        Ok(())
    }

    /// Checks the brokers once a second until the publisher is dropped, or until the watch is run again elsewhere. Calls
    /// `checked` after each check. An earlier run ends within a few seconds.
    pub fn run(&self, checked: impl Fn()) {
        self.go_on(self.begin(), checked);
    }

    /// Begins a run, which ends the one before. Returns its number; `None` without a publisher.
    fn begin(&self) -> Option<u64> {
        let shared = self.0.upgrade()?;
        Some(shared.watches.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn go_on(&self, run: Option<u64>, checked: impl Fn()) {
        while let Some(shared) = self.0.upgrade() {
            let is_latest = || run == Some(shared.watches.load(Ordering::Relaxed));
            if !is_latest() {
                return;
            }
            shared.check(is_latest);
            checked();
            drop(shared);
            thread::sleep(CHECK_INTERVAL);
        }
    }
}

impl Shared {
    /// Checks the brokers and the topic, and logs a change. The result of a run that is no longer the latest is dropped: it
    /// may be older than that of the run which took over.
    fn check(&self, is_latest: impl Fn() -> bool) {
        let producer = self.producer();
        self.replace_if_dead(&producer);
        let topic = &self.cluster.topic;
        let health = match producer.client().fetch_metadata(Some(topic), CHECK_TIMEOUT) {
            Ok(metadata) => {
                self.signs.trouble.clear();
                if self.signs.has_no_log_time.load(Ordering::Relaxed) {
                    probe_log_time(&producer, topic);
                }
                health_of(topic, &metadata)
            }
            Err(error) => {
                let trouble = self.signs.trouble.text();
                let trouble = trouble.unwrap_or_else(|| reason(&error));
                Err(self.cluster.unreachable(trouble).to_string())
            }
        };
        if !is_latest() {
            return;
        }
        let was_up = self.health.send_replace(health.clone()).is_ok();
        if health.is_ok() != was_up {
            match &health {
                Ok(partitions) => {
                    tracing::info!("Kafka's topic {topic} is up, {partitions} partitions")
                }
                Err(problem) => tracing::warn!("{problem}"),
            }
        }
    }
}

/// Sends a tick to find out from its acknowledgement whether the log gives its time by now. While the publisher is not up,
/// nothing else is published from which this could be seen.
fn probe_log_time(producer: &Producer, topic: &str) {
    let tick = event::encode_tick();
    let record = BaseRecord::<(), _, _>::with_opaque_to(topic, Box::new(oneshot::channel().0));
    // If it is refused, the next round tries again.
    let _ = producer.send(record.partition(0).payload(&tick));
}

fn health_of(topic: &str, metadata: &Metadata) -> Health {
    let Some(found) = metadata.topics().first() else {
        return Err(format!("Kafka does not describe the topic {topic}"));
    };
    match found.error() {
        None => {}
        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => {
            return Err(format!("the topic {topic} does not exist"));
        }
        Some(error) => {
            let error = RDKafkaErrorCode::from(error);
            return Err(format!("the topic {topic} cannot be used: {error}"));
        }
    }
    if let Some(headless) = found
        .partitions()
        .iter()
        .find(|partition| partition.leader() < 0)
    {
        return Err(format!(
            "partition {} of the topic {topic} has no leader",
            headless.id()
        ));
    }
    Ok(i32::try_from(found.partitions().len()).unwrap_or(i32::MAX))
}
