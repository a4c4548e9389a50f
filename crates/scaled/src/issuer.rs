//! The issuer: a thread that reads its partitions of the log, from the offsets that the database has, and makes coupons of
//! their events.

use std::sync::Arc;

use goodpon_kafka::{Cluster, Consumer, ConsumerSettings, Error, Publisher};
use goodpon_supervise::{Supervisor, Task};
use tokio::runtime::Handle;

use crate::{issue_writer::IssueWriter, kafka::supervise_watch, scaled::Scaled};

/// Returns the name of the consumer group of an installation's issuers, which share the partitions of the topic.
fn group(topic: &str, installation: &str) -> String {
    format!("goodpon-issuer.{topic}.{installation}")
}

/// The issuer's task. Its failure ends the process: accepted issues would silently stay without coupons. All its state is
/// in the database, so another process continues with its partitions at once.
const TASK: Task = Task::exit("issuer");

/// An issuer at work, on a thread of its own.
#[must_use = "dropping it leaves the issuer alone, it does not stop it"]
pub struct Issuer {
    thread: goodpon_supervise::Thread,
}

impl Issuer {
    /// Starts an issuer, which joins the group of the installation's issuers. It ends soon after the supervisor's stop.
    ///
    /// # Errors
    /// A setting of Kafka is wrong.
    pub fn start(
        scaled: &Scaled,
        cluster: &Cluster,
        supervisor: &Supervisor,
    ) -> Result<Self, Error> {
        let (store, runtime) = (scaled.store.clone(), Handle::current());
        let installation = scaled.installation();
        let publisher = Arc::new(Publisher::start(cluster, installation)?);
        supervise_watch(&publisher, "issuer_kafka_watcher", supervisor);
        let settings = ConsumerSettings::new(
            cluster.clone(),
            installation,
            group(&cluster.topic, installation),
        );
        let starts = {
            let (store, runtime) = (store.clone(), runtime.clone());
            move |partition| {
                let progress = runtime.block_on(store.progress());
                let progress = progress.map_err(|error| error.to_string())?;
                let next = progress.get(&partition).copied();
                next.ok_or_else(|| {
                    format!("partition {partition} has no progress: run `goodpon migrate`")
                })
            }
        };
        let consumer = Consumer::join(&settings, Box::new(starts))?;
        let mut writer = IssueWriter::reporting_to(
            Arc::new(store),
            publisher,
            Box::new(consumer),
            Arc::clone(&scaled.standstill),
        );
        let stop = supervisor.stopping();
        let thread = supervisor
            .spawn_thread(TASK, move |report| {
                let _context = runtime.enter();
                while !*stop.borrow() {
                    let polled = writer.poll();
                    runtime.block_on(writer.work_on(polled));
                    report.ran();
                }
                writer.stop();
                Ok(())
            })
            .map_err(|error| Error::Settings(format!("no thread to be had: {error}")))?;
        Ok(Self { thread })
    }

    /// Waits until the issuer has ended.
    pub async fn finished(self) {
        // The supervisor reports how the thread ended.
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}
