//! The state of the writer, for readers on other threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// After a failed group the store counts as unwell for this time, even if a small write succeeds: on a full disk the log
/// still has room for some.
const FAILURE_COUNTS_FOR: Duration = Duration::from_secs(10);
/// A group that takes longer than this counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(3);

/// Times are milliseconds since `origin`, plus one; 0 is never.
pub(crate) struct Pulse {
    origin: Instant,
    failed: AtomicU64,
    working_since: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            failed: AtomicU64::new(0),
            working_since: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn age(&self, mark: &AtomicU64) -> Option<Duration> {
        let at = mark.load(Ordering::Relaxed);
        (at != 0).then(|| Duration::from_millis(self.now().saturating_sub(at)))
    }

    /// A group begins.
    pub(crate) fn begin(&self) {
        self.working_since.store(self.now(), Ordering::Relaxed);
    }

    /// A group ended; `outage` if it could not be written for a reason that lies in the machine.
    pub(crate) fn end(&self, outage: bool) {
        self.working_since.store(0, Ordering::Relaxed);
        if outage {
            self.failed.store(self.now(), Ordering::Relaxed);
        } else if !self.failed_lately() {
            self.failed.store(0, Ordering::Relaxed);
        }
    }

    /// True if a group failed and none was committed since that failure ceased to count.
    pub(crate) fn is_failing(&self) -> bool {
        self.failed.load(Ordering::Relaxed) != 0
    }

    fn failed_lately(&self) -> bool {
        self.age(&self.failed)
            .is_some_and(|age| age < FAILURE_COUNTS_FOR)
    }

    /// True if a group takes longer than [`STUCK_AFTER`].
    pub(crate) fn is_stuck(&self) -> bool {
        let working = self.age(&self.working_since);
        working.is_some_and(|age| age > STUCK_AFTER)
    }

    /// The trouble that can be seen without a write.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.is_stuck() {
            return Some("writes are stuck");
        }
        self.failed_lately().then_some("writes fail")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_for_a_while_whatever_follows() {
        let pulse = Pulse::default();
        assert_eq!(pulse.problem(), None);
        pulse.begin();
        pulse.end(true);
        assert_eq!(pulse.problem(), Some("writes fail"));
        pulse.begin();
        pulse.end(false);
        assert_eq!(pulse.problem(), Some("writes fail"));
        assert!(pulse.is_failing());
    }

    #[test]
    fn an_old_failure_ends_with_the_next_success() {
        let pulse = Pulse {
            origin: Instant::now() - FAILURE_COUNTS_FOR - Duration::from_secs(1),
            ..Pulse::default()
        };
        pulse.failed.store(1, Ordering::Relaxed);
        assert_eq!(pulse.problem(), None);
        assert!(pulse.is_failing());
        pulse.end(false);
        assert!(!pulse.is_failing());
    }

    #[test]
    fn a_group_that_does_not_end_is_stuck() {
        let pulse = Pulse {
            origin: Instant::now() - STUCK_AFTER - Duration::from_secs(1),
            ..Pulse::default()
        };
        pulse.working_since.store(1, Ordering::Relaxed);
        assert_eq!(pulse.problem(), Some("writes are stuck"));
    }
}
