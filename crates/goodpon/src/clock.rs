//! The machine's clock.

use std::time::SystemTime;

use goodpon_application::ports::Clock;
use jiff::Timestamp;

/// The operating system's wall clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the implementation of the clock port"
    )]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        // Cut to microseconds, which is all that stores keep, so that answers and rows have the same time.
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

/// Returns the operating system's time for log lines and metrics.
#[allow(
    clippy::disallowed_methods,
    reason = "passed to telemetry, which has no ports"
)]
pub fn system_time() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_finer_than_a_microsecond() {
        assert_eq!(SystemClock.now().subsec_nanosecond() % 1000, 0);
    }
}
