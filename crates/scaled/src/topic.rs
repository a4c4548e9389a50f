//! Checks the topic: events are published only if its settings are right and it has not lost any.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use goodpon_kafka::{
    Cluster,
    topic::{self, Finding},
};
use tokio::sync::Notify;

use crate::progress::LogProgress;

/// The interval between two checks while the topic cannot be used or no broker has answered yet.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// The interval between two checks of a topic that can be used.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The state of the topic, each but the good one with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicState {
    /// No broker has answered yet.
    Unknown(String),
    /// The topic can be used.
    Good,
    /// The topic cannot be used, or only at a risk that the operator has not accepted.
    Bad(String),
}

/// The topic, and its state at the latest check.
pub(crate) struct Topic {
    cluster: Cluster,
    accept_risks: bool,
    state: Mutex<TopicState>,
    /// Held during a check, so that an older check cannot overwrite the state that a newer one found.
    check_turn: tokio::sync::Mutex<()>,
    /// Notified when an acknowledgement shows that the log has lost events.
    alarm: Notify,
}

impl Topic {
    pub(crate) fn new(cluster: Cluster, accept_risks: bool) -> Self {
        Self {
            cluster,
            accept_risks,
            state: Mutex::new(TopicState::Unknown("Kafka was not asked yet".into())),
            check_turn: tokio::sync::Mutex::default(),
            alarm: Notify::new(),
        }
    }

    pub(crate) fn state(&self) -> TopicState {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    /// Records that the log appended an event at an offset that was already processed, where no issuer reads it: the log
    /// was made anew or lost events. The topic is bad until a check finds the log as long as it was processed. Returns the
    /// reason for people.
    pub(crate) fn went_back(&self, partition: i32, offset: i64, worked_through: i64) -> String {
        let why = self.lost_events(partition, offset, worked_through);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*state, TopicState::Bad(_)) {
            tracing::error!("{why}: no coupons are issued");
            *state = TopicState::Bad(why.clone());
            self.alarm.notify_one();
        }
        why
    }

    fn lost_events(&self, partition: i32, end: i64, worked_through: i64) -> String {
        let name = &self.cluster.topic;
        format!(
            "the Kafka topic {name} has lost events or was made anew: partition {partition} takes them in at {end}, and was worked through up to {worked_through} (`goodpon migrate --skip-lost` goes on without what is lost)"
        )
    }

    /// Waits until an acknowledgement shows that the log has lost events, for at most `pause`.
    pub(crate) async fn alarmed_within(&self, pause: Duration) {
        let _ = tokio::time::timeout(pause, self.alarm.notified()).await;
    }

    /// Checks the topic, one check at a time, and remembers its state. It must have at least the partitions of `progress`,
    /// and be as long as it was processed.
    pub(crate) async fn check(&self, progress: &LogProgress) -> TopicState {
        let _turn = self.check_turn.lock().await;
        // Progress is read before the log's ends: those only grow, so they are not compared with a later progress.
        let (partitions, progress) = (progress.partitions(), progress.all());
        self.remember(self.examine(partitions, progress).await)
    }

    /// Remembers the result of a check, and returns the topic's state.
    fn remember(&self, found: Result<TopicState, goodpon_kafka::Error>) -> TopicState {
        let state = match found {
            Ok(state) => state,
            Err(error) => match self.state() {
                // An earlier result stays true while the brokers do not answer.
                known @ (TopicState::Good | TopicState::Bad(_)) => known,
                TopicState::Unknown(_) => TopicState::Unknown(error.to_string()),
            },
        };
        let mut latest = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        latest.clone_from(&state);
        state
    }

    /// Asks the brokers for the topic's settings and ends, and compares them.
    async fn examine(
        &self,
        partitions: i32,
        progress: BTreeMap<i32, i64>,
    ) -> Result<TopicState, goodpon_kafka::Error> {
        let findings = topic::check(&self.cluster, partitions).await?;
        let state = self.rate(&findings);
        if state != TopicState::Good {
            return Ok(state);
        }
        let asked: Vec<i32> = progress.keys().copied().collect();
        let ends = topic::ends(&self.cluster, asked).await?;
        let lacking = progress.iter().find_map(|(partition, next)| {
            let end = ends.get(partition).copied().unwrap_or_default();
            (end < *next).then(|| self.lost_events(*partition, end, *next))
        });
        Ok(lacking.map_or(TopicState::Good, TopicState::Bad))
    }

    /// Returns the state that follows from the findings about the topic's settings.
    fn rate(&self, findings: &[Finding]) -> TopicState {
        let (mut risks, mut fatal) = (Vec::new(), Vec::new());
        for finding in findings {
            match finding {
                Finding::Risk(fault) => risks.push(fault.to_string()),
                Finding::Fatal(fault) => fatal.push(fault.to_string()),
            }
        }
        let name = &self.cluster.topic;
        if !fatal.is_empty() {
            let why = fatal.join("; ");
            return TopicState::Bad(format!("the Kafka topic {name} cannot be used: {why}"));
        }
        if risks.is_empty() {
            return TopicState::Good;
        }
        let why = risks.join("; ");
        if self.accept_risks {
            if self.state() != TopicState::Good {
                tracing::warn!(topic = name, "acknowledged events may be lost: {why}");
            }
            return TopicState::Good;
        }
        TopicState::Bad(format!(
            "the Kafka topic {name} may lose what it acknowledged: {why} (kafka-accept-risks serves all the same, for development)"
        ))
    }
}

/// Checks a topic's settings as a partner does before it publishes; the topic must have at least `partitions` partitions.
pub async fn look_at(cluster: &Cluster, partitions: i32, accept_risks: bool) -> TopicState {
    let topic = Topic::new(cluster.clone(), accept_risks);
    let found = topic.examine(partitions, BTreeMap::new()).await;
    topic.remember(found)
}
