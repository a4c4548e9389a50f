//! How a background loop goes round: once a second, with each trouble counted and now and then told.

use std::fmt::Display;
use std::time::{Duration, Instant};

use goodpon_supervise::Report;
use tokio::sync::watch;

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// How long a loop keeps quiet about its troubles after it told of one.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// The rounds of one loop.
pub(crate) struct Rounds {
    task: &'static str,
    report: Report,
    stop: watch::Receiver<bool>,
    told_at: Option<Instant>,
}

impl Rounds {
    pub(crate) fn new(task: &'static str, report: Report, stop: watch::Receiver<bool>) -> Self {
        Self {
            task,
            report,
            stop,
            told_at: None,
        }
    }

    /// Notes how a part of a round ended: what failed of it concerns that part alone.
    pub(crate) fn note<E: Display>(&mut self, ended: Result<(), E>) {
        let Err(error) = ended else {
            return;
        };
        self.report.trouble(&error);
        metrics::counter!("goodpon_gate_work_failures_total", "task" => self.task).increment(1);
        if self.told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            self.told_at = Some(Instant::now());
            tracing::warn!(task = self.task, %error, "background work failed and is tried again");
        } else {
            tracing::debug!(task = self.task, %error, "background work failed and is tried again");
        }
    }

    /// Waits for the next round. `false`: there is none, for the process ends.
    pub(crate) async fn next(&mut self) -> bool {
        self.next_when(tokio::time::sleep(EVERY)).await
    }

    /// As [`Self::next`], when that comes.
    pub(crate) async fn next_when(&mut self, comes: impl Future<Output = ()>) -> bool {
        self.report.ran();
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => false,
            () = comes => true,
        }
    }
}
