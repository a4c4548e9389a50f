//! The log of accepted issues on Kafka.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goodpon_application::ports::{StoreError, StoreResult};
use goodpon_domain::gate::{Appended, IssueEvent, PollResult};
use goodpon_kafka::{Consumer, PublishError, Publisher};
use goodpon_supervise::{Ended, Report, Supervisor, Task};
use tokio::sync::watch;

use crate::{
    ports::{GateRecords, IssueLog, LogReader, LogTime},
    progress::LogProgress,
    rounds::Rounds,
    topic::{CHECK_INTERVAL, RETRY_INTERVAL, Topic, TopicState},
};

/// The pause between checks of the topic while the start waits for it.
const CHECK_WHILE_WAITING: Duration = Duration::from_millis(200);

/// The topic that accepted issues are published to.
pub(crate) struct KafkaLog {
    pub(crate) publisher: Publisher,
    pub(crate) topic: Topic,
    progress: Arc<LogProgress>,
}

impl KafkaLog {
    pub(crate) fn new(publisher: Publisher, topic: Topic, progress: Arc<LogProgress>) -> Self {
        Self {
            publisher,
            topic,
            progress,
        }
    }

    /// Checks the topic now, and returns its state.
    pub(crate) async fn check_topic(&self) -> TopicState {
        self.topic.check(&self.progress).await
    }

    /// Waits until Kafka answers and the topic can be used, for at most `within`.
    pub(crate) async fn ready_within(&self, within: Duration) -> Result<(), String> {
        let mut missing = "Kafka does not answer in time".to_owned();
        let usable = async {
            self.publisher.wait_until_up(within).await?;
            loop {
                match self.check_topic().await {
                    TopicState::Good => return Ok(()),
                    TopicState::Bad(why) => return Err(why),
                    // A topic that was just made has no leaders for a moment.
                    TopicState::Unknown(why) => missing = why,
                }
                tokio::time::sleep(CHECK_WHILE_WAITING).await;
            }
        };
        let usable = tokio::time::timeout(within, usable).await;
        usable.unwrap_or(Err(missing))
    }
}

/// Checks the topic every minute, or every two seconds while it cannot be used, until `stop` is true.
pub(crate) async fn watch_topic(
    log: Arc<KafkaLog>,
    records: Arc<dyn GateRecords>,
    report: Report,
    stop: watch::Receiver<bool>,
) -> Ended {
    let mut rounds = Rounds::new("topic_watcher", report, stop);
    loop {
        let progress = records.progress().await;
        rounds.note(progress.map(|latest| log.progress.set(latest)));
        let before = log.topic.state();
        let found = log.check_topic().await;
        if found != before
            && let TopicState::Bad(why) = &found
        {
            tracing::error!("{why}: no coupons are issued");
        }
        let pause = match found {
            TopicState::Good => CHECK_INTERVAL,
            _ => RETRY_INTERVAL,
        };
        if !rounds.next_when(log.topic.alarmed_within(pause)).await {
            return Ok(());
        }
    }
}

/// Has the supervisor run a publisher's watch, in place of the thread that the publisher started. The watch ends with the
/// publisher.
pub(crate) fn supervise_watch(publisher: &Publisher, task: &'static str, supervisor: &Supervisor) {
    let watch = publisher.watch();
    let thread = supervisor.spawn_thread(Task::restart(task).ends_by_itself(), move |report| {
        watch.run(|| report.ran());
        Ok(())
    });
    if let Err(error) = thread {
        tracing::warn!(task, %error, "no thread to be had: the watch goes on without a supervisor");
    }
}

fn unacknowledged(error: &PublishError) -> StoreError {
    StoreError::Unavailable {
        reason: error.to_string(),
        may_have_happened: true,
    }
}

#[async_trait]
impl IssueLog for KafkaLog {
    fn problem(&self) -> Option<String> {
        let unreachable = self.publisher.is_up().err();
        unreachable.or_else(|| match self.topic.state() {
            TopicState::Good => None,
            TopicState::Unknown(why) | TopicState::Bad(why) => Some(why),
        })
    }

    async fn append(
        &self,
        event: &IssueEvent,
        partition: i32,
        within: Duration,
    ) -> StoreResult<Appended> {
        let appended = self.publisher.publish(event, partition, within).await;
        appended.map_err(|error| unacknowledged(&error))
    }

    fn went_back(&self, partition: i32, offset: i64, worked_through: i64) -> String {
        self.topic.went_back(partition, offset, worked_through)
    }
}

#[async_trait]
impl LogTime for Publisher {
    async fn tick(&self, partition: i32, within: Duration) -> StoreResult<Appended> {
        let appended = Publisher::tick(self, partition, within).await;
        appended.map_err(|error| unacknowledged(&error))
    }
}

impl LogReader for Consumer {
    fn poll(&mut self, within: Duration) -> PollResult {
        Consumer::poll(self, within)
    }

    fn seek(&mut self, partition: i32, offset: i64) {
        Consumer::seek(self, partition, offset);
    }

    fn limit_batches(&mut self, partition: i32, most: usize) {
        Consumer::limit_batches(self, partition, most);
    }

    fn pause_all(&mut self) {
        Consumer::pause_all(self);
    }

    fn resume_all(&mut self) {
        Consumer::resume_all(self);
    }

    fn commit(&mut self, partition: i32, next_offset: i64) {
        Consumer::commit(self, partition, next_offset);
    }

    fn assigned(&self) -> Vec<i32> {
        Consumer::assigned(self)
    }

    fn lag(&self) -> Vec<(i32, i64)> {
        Consumer::lag(self)
    }
}
