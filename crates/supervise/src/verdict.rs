//! The verdict on each end of a run: over, anew after a rest, or the end of the process.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use tokio::sync::watch;

use crate::report::{Report, State};
use crate::task::{OnFailure, OnStop, Rests};
use crate::{Ended, end_at_once};

/// The failure that ends the process. As text it is one line with the task and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The task that failed.
    pub task: &'static str,
    /// The reason that the run gave, or the text of its panic.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broke down: {}", self.task, self.reason)
    }
}

/// The stop and the first final failure, on which each verdict depends; the supervisor and all its runs share one.
pub(crate) struct Verdicts {
    stop: watch::Sender<bool>,
    failed: watch::Sender<Option<Failure>>,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self {
            stop: watch::channel(false).0,
            failed: watch::channel(None).0,
        }
    }
}

impl Verdicts {
    /// Returns a channel that turns true with the stop.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Turns the stop true: no run begins anew from now on.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the first failure that ends the process.
    pub(crate) async fn failed(&self) -> Failure {
        let mut failed = self.failed.subscribe();
        loop {
            if let Some(failure) = self.failure() {
                return failure;
            }
            if failed.changed().await.is_err() {
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns the first failure that ends the process, if there was one.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failed.borrow().clone()
    }

    /// Reports and logs the end of a run, and returns what follows from it.
    pub(crate) fn judge(
        &self,
        report: &Report,
        ended: Ended,
        ran: Duration,
        rests: &mut Rests,
    ) -> Next {
        let task = report.task();
        let may_return = self.is_stopping() || task.on_stop == OnStop::LeaveAlone;
        let reason = match ended {
            Ok(()) if may_return => {
                report.set_state(State::Ended);
                return Next::Over;
            }
            Ok(()) => "it ended although nobody asked it to".to_owned(),
            Err(reason) => reason,
        };
        report.trouble(&reason);
        match task.on_failure {
            OnFailure::Restart if self.is_stopping() => {
                tracing::error!(
                    task = task.name,
                    reason,
                    "background task failed at the stop"
                );
                report.set_state(State::Failed);
                Next::Over
            }
            OnFailure::Restart => {
                let rest = rests.after(ran);
                let rest_s = rest.as_secs();
                tracing::error!(
                    task = task.name,
                    reason,
                    rest_s,
                    "background task failed and is run anew after a rest"
                );
                report.set_state(State::Resting);
                Next::AnewAfter(rest)
            }
            OnFailure::Exit => {
                tracing::error!(
                    task = task.name,
                    reason,
                    "background task failed: goodpon ends"
                );
                report.set_state(State::Failed);
                self.failed.send_if_modified(|failed| {
                    let first = failed.is_none();
                    failed.get_or_insert(Failure {
                        task: task.name,
                        reason,
                    });
                    first
                });
                Next::Over
            }
            OnFailure::ExitAtOnce => end_at_once(&format!("{} broke down: {reason}", task.name)),
        }
    }
}

/// The consequence of the end of a run.
pub(crate) enum Next {
    Over,
    AnewAfter(Duration),
}

/// The text of a panic. The panic hook has logged it with its line already.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without a text"))
}
