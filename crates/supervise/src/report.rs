//! Reports of a running task on itself, and its state.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge};

use crate::task::Task;

/// Longer texts of errors are cut off.
const MAX_ERROR_BYTES: usize = 500;

/// The state of a task at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It failed and is run anew soon.
    Resting,
    /// It failed, and the process ends because of it.
    Failed,
    /// It ended as it should.
    Ended,
}

impl State {
    /// In lower case, for `/readyz`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Resting => "resting",
            Self::Failed => "failed",
            Self::Ended => "ended",
        }
    }
}

/// A task as `/readyz` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskStatus {
    /// Its name.
    pub name: &'static str,
    /// Its state at the moment.
    pub state: State,
    /// The number of times that it was run anew.
    pub restarts: u64,
    /// The last error: the failure that ended a run, or trouble that it got over.
    pub last_error: Option<String>,
    /// The time since it last finished a round of its work, if it reports rounds.
    pub last_run: Option<Duration>,
}

/// Takes the reports of a task; handed to each run. Cheap to clone and to call.
#[derive(Clone)]
pub struct Report(Arc<Reported>);

struct Reported {
    task: Task,
    up: Gauge,
    restarted: Counter,
    progress: Mutex<Progress>,
}

struct Progress {
    state: State,
    restarts: u64,
    last_error: Option<String>,
    last_run: Option<Instant>,
}

impl Report {
    /// Makes the report of a task without supervisor: for tests of a run alone.
    #[must_use]
    pub fn new(task: Task) -> Self {
        let up = metrics::gauge!("goodpon_task_up", "task" => task.name);
        let restarted = metrics::counter!("goodpon_task_restarts_total", "task" => task.name);
        up.set(1.0);
        Self(Arc::new(Reported {
            task,
            up,
            restarted,
            progress: Mutex::new(Progress {
                state: State::Running,
                restarts: 0,
                last_error: None,
                last_run: None,
            }),
        }))
    }

    /// Reports that a round of the task's work is done, whether there was anything to do or not.
    pub fn ran(&self) {
        self.progress().last_run = Some(Instant::now());
    }

    /// Reports that a round went wrong and that the task tries again by itself. The task logs it where that helps.
    pub fn trouble(&self, error: &dyn Display) {
        self.progress().last_error = Some(shortened(error.to_string()));
    }

    pub(crate) fn task(&self) -> Task {
        self.0.task
    }

    pub(crate) fn set_state(&self, state: State) {
        self.0.up.set(match state {
            State::Running => 1.0,
            State::Resting | State::Failed | State::Ended => 0.0,
        });
        self.progress().state = state;
    }

    pub(crate) fn restarted(&self) {
        self.0.restarted.increment(1);
        self.progress().restarts += 1;
        self.set_state(State::Running);
    }

    pub(crate) fn status(&self) -> TaskStatus {
        let progress = self.progress();
        TaskStatus {
            name: self.0.task.name,
            state: progress.state,
            restarts: progress.restarts,
            last_error: progress.last_error.clone(),
            last_run: progress.last_run.map(|at| at.elapsed()),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > MAX_ERROR_BYTES {
        text.truncate(text.floor_char_boundary(MAX_ERROR_BYTES));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_shortened_between_characters() {
        let report = Report::new(Task::restart("test"));
        report.trouble(&"ü".repeat(400));
        let kept = report.status().last_error.unwrap_or_default();
        assert_eq!(kept.chars().count(), 251);
    }
}
