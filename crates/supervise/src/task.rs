//! Statements about a task before it runs: its name, and the meaning of its failure and of a stop.

use std::time::Duration;

/// The rest after the first failure; it doubles with each further one.
const FIRST_REST: Duration = Duration::from_secs(1);

const MAX_REST: Duration = Duration::from_secs(60);

/// A task that ran for this long before it failed begins anew with the first rest.
const GOOD_RUN: Duration = Duration::from_secs(300);

/// The meaning of a task's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It is run anew after a rest of 1 s, which doubles with each failure up to 60 s, without end.
    /// For what can begin anew from what is stored, and whose absence for a while harms nobody.
    Restart,
    /// [`Supervisor::failed`](crate::Supervisor::failed) resolves: the process stops accepting, finishes what runs, and
    /// ends with an error. For what the process cannot do without.
    Exit,
    /// The process ends in the same moment, without finishing anything. For what leaves requests open that nobody would
    /// answer any more, or whose state in memory can no longer be trusted. What was answered is durable.
    ExitAtOnce,
}

/// The effect of a stop on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    /// It sees the stop and returns; it is waited for until the deadline, then cut off.
    Wait,
    /// It does not look for the stop: it is dropped when all that is waited for has ended. A thread cannot be dropped, so
    /// it is left alone.
    Abort,
    /// Its owner ends it, or it ends when it is done: it is neither waited for nor dropped, and may return at any time.
    LeaveAlone,
}

/// A task's name, and the meaning of its failure and of a stop.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    /// In snake case: the label `task` of its metrics, its name in `/readyz` and the log.
    pub name: &'static str,
    /// The meaning of its failure.
    pub on_failure: OnFailure,
    /// The effect of a stop on it.
    pub on_stop: OnStop,
}

impl Task {
    /// Makes a task that is run anew after a failure.
    #[must_use]
    pub const fn restart(name: &'static str) -> Self {
        Self::new(name, OnFailure::Restart)
    }

    /// Makes a task whose failure ends the process in an orderly way.
    #[must_use]
    pub const fn exit(name: &'static str) -> Self {
        Self::new(name, OnFailure::Exit)
    }

    /// Makes a task whose failure ends the process in the same moment.
    #[must_use]
    pub const fn exit_at_once(name: &'static str) -> Self {
        Self::new(name, OnFailure::ExitAtOnce)
    }

    const fn new(name: &'static str, on_failure: OnFailure) -> Self {
        Self {
            name,
            on_failure,
            on_stop: OnStop::Wait,
        }
    }

    /// Makes its end no failure and not the supervisor's matter ([`OnStop::LeaveAlone`]).
    #[must_use]
    pub const fn ends_by_itself(self) -> Self {
        Self {
            on_stop: OnStop::LeaveAlone,
            ..self
        }
    }

    /// Has it dropped at the stop, after all that is waited for ([`OnStop::Abort`]).
    #[must_use]
    pub const fn dropped_at_stop(self) -> Self {
        Self {
            on_stop: OnStop::Abort,
            ..self
        }
    }
}

/// The failures in a row of a task, from which the rest after the next one follows.
#[derive(Default)]
pub(crate) struct Rests(u32);

impl Rests {
    /// Returns the rest after a failure of a run that took `ran`.
    pub(crate) fn after(&mut self, ran: Duration) -> Duration {
        if ran >= GOOD_RUN {
            self.0 = 0;
        }
        let rest = FIRST_REST.saturating_mul(1 << self.0.min(16));
        self.0 = self.0.saturating_add(1);
        rest.min(MAX_REST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_up_to_a_minute_and_begin_anew_after_a_good_run() {
        let mut rests = Rests::default();
        let mut seconds = |ran| rests.after(Duration::from_secs(ran)).as_secs();
        let after_short_runs: Vec<_> = (0..8).map(|_| seconds(2)).collect();
        assert_eq!(after_short_runs, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(seconds(300), 1);
        assert_eq!(seconds(299), 2);
    }

    #[test]
    fn any_number_of_failures_is_counted() {
        let mut rests = Rests(u32::MAX);
        assert_eq!(rests.after(Duration::ZERO), MAX_REST);
    }
}
