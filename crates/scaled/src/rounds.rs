//! The rounds of a background loop: one a second, with failures counted, and logged as a warning every half minute.

use std::fmt::Display;
use std::time::{Duration, Instant};

use goodpon_supervise::Report;
use tokio::sync::watch;

/// The pause between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);

/// The shortest interval between two warnings of one loop.
const WARNING_INTERVAL: Duration = Duration::from_secs(30);

/// The rounds of one loop.
pub(crate) struct Rounds {
    task: &'static str,
    report: Report,
    stop: watch::Receiver<bool>,
    warned_at: Option<Instant>,
}

impl Rounds {
    pub(crate) fn new(task: &'static str, report: Report, stop: watch::Receiver<bool>) -> Self {
        Self {
            task,
            report,
            stop,
            warned_at: None,
        }
    }

    /// Takes note of the result of a part of a round: counts and logs an error. The other parts go on.
    pub(crate) fn note<E: Display>(&mut self, ended: Result<(), E>) {
        let Err(error) = ended else {
            return;
        };
        self.report.trouble(&error);
        metrics::counter!("goodpon_gate_work_failures_total", "task" => self.task).increment(1);
        if self
            .warned_at
            .is_none_or(|at| at.elapsed() >= WARNING_INTERVAL)
        {
            self.warned_at = Some(Instant::now());
            tracing::warn!(task = self.task, %error, "background work failed and is tried again");
        } else {
            tracing::debug!(task = self.task, %error, "background work failed and is tried again");
        }
    }

    /// Waits for the next round. Returns false if there is none because the process stops.
    pub(crate) async fn next(&mut self) -> bool {
        self.next_when(tokio::time::sleep(INTERVAL)).await
    }

    /// Waits for `is_due` instead of a second; else like [`Self::next`].
    pub(crate) async fn next_when(&mut self, is_due: impl Future<Output = ()>) -> bool {
        self.report.ran();
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => false,
            () = is_due => true,
        }
    }
}
