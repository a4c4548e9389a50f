//! Whether events may be published: the topic is as it must be, and its brokers answer.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use goodpon_kafka::{
    Cluster,
    topic::{self, Finding},
};
use tokio::sync::Notify;

use crate::progress::LogProgress;

/// How often the topic is looked at while something is wrong with it, or nobody answers.
pub(crate) const LOOK_SOON: Duration = Duration::from_secs(2);

/// How often otherwise.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What was found of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicState {
    /// Nobody has answered yet.
    Unknown(String),
    /// It can be used.
    Good,
    /// It cannot be used, or only at a risk that nobody has accepted.
    Bad(String),
}

/// The topic, and what was found of it last.
pub(crate) struct Topic {
    cluster: Cluster,
    accept_risks: bool,
    state: Mutex<TopicState>,
    /// Held during a look: the latest look has the last word.
    looking: tokio::sync::Mutex<()>,
    /// Called when an acknowledgement shows that something is wrong.
    alarm: Notify,
}

impl Topic {
    pub(crate) fn new(cluster: Cluster, accept_risks: bool) -> Self {
        Self {
            cluster,
            accept_risks,
            state: Mutex::new(TopicState::Unknown("Kafka was not asked yet".into())),
            looking: tokio::sync::Mutex::default(),
            alarm: Notify::new(),
        }
    }

    pub(crate) fn state(&self) -> TopicState {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    /// Notes that the log took an event in where events were worked through already: it was made anew, or went back.
    /// No issuer would come by there. It stays so until a look finds the log to be as long again.
    pub(crate) fn went_back(&self, partition: i32, offset: i64, worked_through: i64) -> String {
        let why = self.lacks(partition, offset, worked_through);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*state, TopicState::Bad(_)) {
            tracing::error!("{why}: no coupons are issued");
            *state = TopicState::Bad(why.clone());
            self.alarm.notify_one();
        }
        why
    }

    fn lacks(&self, partition: i32, end: i64, worked_through: i64) -> String {
        let name = &self.cluster.topic;
        format!(
            "the Kafka topic {name} has lost events or was made anew: partition {partition} takes them in at {end}, and was worked through up to {worked_through} (`goodpon migrate --skip-lost` goes on without what is lost)"
        )
    }

    /// Waits until an acknowledgement shows that something is wrong, `pause` at most.
    pub(crate) async fn alarmed_within(&self, pause: Duration) {
        let _ = tokio::time::timeout(pause, self.alarm.notified()).await;
    }

    /// Looks at the topic, one look at a time. It must have the partitions of `progress` at least, and be as long as it
    /// was worked through.
    pub(crate) async fn look(&self, progress: &LogProgress) -> TopicState {
        let _turn = self.looking.lock().await;
        // Read before the log's ends are: those only grow.
        let (partitions, progress) = (progress.partitions(), progress.all());
        self.judge_by(self.found(partitions, progress).await)
    }

    fn judge_by(&self, found: Result<TopicState, goodpon_kafka::Error>) -> TopicState {
        let state = match found {
            Ok(state) => state,
            Err(error) => match self.state() {
                // What is known of it does not change by its brokers going away.
                known @ (TopicState::Good | TopicState::Bad(_)) => known,
                TopicState::Unknown(_) => TopicState::Unknown(error.to_string()),
            },
        };
        let mut latest = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        latest.clone_from(&state);
        state
    }

    async fn found(
        &self,
        partitions: i32,
        progress: BTreeMap<i32, i64>,
    ) -> Result<TopicState, goodpon_kafka::Error> {
        let findings = topic::check(&self.cluster, partitions).await?;
        let state = self.judge(&findings);
        if state != TopicState::Good {
            return Ok(state);
        }
        let asked: Vec<i32> = progress.keys().copied().collect();
        let ends = topic::ends(&self.cluster, asked).await?;
        let lacking = progress.iter().find_map(|(partition, next)| {
            let end = ends.get(partition).copied().unwrap_or_default();
            (end < *next).then(|| self.lacks(*partition, end, *next))
        });
        Ok(lacking.map_or(TopicState::Good, TopicState::Bad))
    }

    fn judge(&self, findings: &[Finding]) -> TopicState {
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

/// Looks at a topic as a partner does before it publishes there; at least `partitions` are needed.
pub async fn look_at(cluster: &Cluster, partitions: i32, accept_risks: bool) -> TopicState {
    let topic = Topic::new(cluster.clone(), accept_risks);
    let found = topic.found(partitions, BTreeMap::new()).await;
    topic.judge_by(found)
}
