//! What is known of a running task.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge};

use crate::task::Task;

/// The longest text of an error that is kept, in bytes.
const LONGEST_ERROR: usize = 500;

/// What a task does at the moment.
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

/// How a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskStatus {
    /// Its name.
    pub name: &'static str,
    /// What it does at the moment.
    pub state: State,
    /// How often it was run anew.
    pub restarts: u64,
    /// What went wrong last: the failure that ended a run, or trouble that it got over.
    pub last_error: Option<String>,
    /// How long ago it last finished a round of its work, if it says so.
    pub last_run: Option<Duration>,
}

/// How a task tells how it goes; handed to each run. Cheap to clone and to call.
#[derive(Clone)]
pub struct Report(Arc<Known>);

struct Known {
    task: Task,
    up: Gauge,
    restarted: Counter,
    state: Mutex<Noted>,
}

struct Noted {
    state: State,
    restarts: u64,
    last_error: Option<String>,
    last_run: Option<Instant>,
}

impl Report {
    /// Of a task that nobody supervises: for tests of a run alone.
    #[must_use]
    pub fn new(task: Task) -> Self {
        let up = metrics::gauge!("goodpon_task_up", "task" => task.name);
        let restarted = metrics::counter!("goodpon_task_restarts_total", "task" => task.name);
        up.set(1.0);
        Self(Arc::new(Known {
            task,
            up,
            restarted,
            state: Mutex::new(Noted {
                state: State::Running,
                restarts: 0,
                last_error: None,
                last_run: None,
            }),
        }))
    }

    /// A round of the task's work is done, whether there was anything to do or not.
    pub fn ran(&self) {
        self.noted().last_run = Some(Instant::now());
    }

    /// A round went wrong, and the task goes on by itself: it tries again. The task logs it where that helps.
    pub fn trouble(&self, error: &dyn Display) {
        self.noted().last_error = Some(shortened(error.to_string()));
    }

    pub(crate) fn task(&self) -> Task {
        self.0.task
    }

    pub(crate) fn set_state(&self, state: State) {
        self.0.up.set(match state {
            State::Running => 1.0,
            State::Resting | State::Failed | State::Ended => 0.0,
        });
        self.noted().state = state;
    }

    pub(crate) fn restarted(&self) {
        self.0.restarted.increment(1);
        self.noted().restarts += 1;
        self.set_state(State::Running);
    }

    pub(crate) fn status(&self) -> TaskStatus {
        let noted = self.noted();
        TaskStatus {
            name: self.0.task.name,
            state: noted.state,
            restarts: noted.restarts,
            last_error: noted.last_error.clone(),
            last_run: noted.last_run.map(|at| at.elapsed()),
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_ERROR {
        text.truncate(text.floor_char_boundary(LONGEST_ERROR));
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
