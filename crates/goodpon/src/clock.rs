//! The machine's clock.

use std::time::SystemTime;

use goodpon_application::ports::Clock;
use jiff::Timestamp;

/// The time of day as the operating system has it.
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the clock that all others are told by"
    )]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        // To the microsecond: what is stored and what is answered must be the same.
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

/// The same for log lines and metrics, which are of the process rather than of its data.
#[allow(
    clippy::disallowed_methods,
    reason = "handed in to telemetry, which has no ports"
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
