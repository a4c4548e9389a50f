//! The shortest reads, on the thread that asks.
//!
//! Handing a read of a few microseconds to another thread and back costs as much as the read. So reads that look a few rows
//! up by their keys run on the caller's thread, as long as they are quick. A read that takes longer than [`QUICK`], because
//! its pages come from the disk, sends those that follow to the threads for look-ups, for a hundred times as long as it
//! took. So glances stop a thread of the runtime for at most a hundredth of its time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

/// The time that a read may stop a thread of the runtime.
const QUICK: Duration = Duration::from_micros(500);
/// After a slow glance there are none for this many times as long as it took.
const REST: u32 = 100;
/// The longest of these times.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// Connections that wait for no lock, and the time until which glances rest.
pub(crate) struct Glances {
    idle: Mutex<Vec<Connection>>,
    began: Instant,
    /// Microseconds behind the beginning.
    rests_until: AtomicU64,
}

impl Default for Glances {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
            began: Instant::now(),
            rests_until: AtomicU64::new(0),
        }
    }
}

/// The end of a glance.
pub(crate) enum Glance<T> {
    /// With a result.
    Done(T),
    /// It was not begun: glances are slow at present, or all connections are in use.
    NotNow,
    /// Its connection was closed.
    Failed,
}

impl Glances {
    /// Keeps a connection for glances.
    pub(crate) fn keep(&self, connection: Connection) -> rusqlite::Result<()> {
        connection.busy_timeout(Duration::ZERO)?;
        self.idle().push(connection);
        Ok(())
    }

    /// Runs a read, if this is the time for it.
    pub(crate) fn run<T>(&self, run: &impl Fn(&Connection) -> rusqlite::Result<T>) -> Glance<T> {
        let begun = self.began.elapsed();
        if as_micros(begun) < self.rests_until.load(Ordering::Relaxed) {
            return Glance::NotNow;
        }
        let Some(connection) = self.idle().pop() else {
            return Glance::NotNow;
        };
        let result = run(&connection);
        let ended = self.began.elapsed();
        let took = ended.saturating_sub(begun);
        if took > QUICK {
            let rest = took.saturating_mul(REST).min(LONGEST_REST);
            self.rests_until
                .fetch_max(as_micros(ended + rest), Ordering::Relaxed);
        }
        match result {
            Ok(result) => {
                self.idle().push(connection);
                Glance::Done(result)
            }
            // It may be stuck, or have met a lock that a look-up waits for.
            Err(_) => Glance::Failed,
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn glances() -> Glances {
        let glances = Glances::default();
        let connection = Connection::open_in_memory().unwrap();
        glances.keep(connection).unwrap();
        glances
    }

    #[test]
    fn a_slow_one_sends_those_that_follow_elsewhere_for_a_hundred_times_as_long() {
        let glances = glances();
        assert!(matches!(glances.run(&|_| Ok(1)), Glance::Done(1)));
        let slow = |_: &Connection| {
            let until = Instant::now() + QUICK * 4;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            Ok(2)
        };
        assert!(
            matches!(glances.run(&slow), Glance::Done(2)),
            "its result counts nevertheless"
        );
        assert!(matches!(glances.run(&|_| Ok(3)), Glance::NotNow));
        let rests =
            glances.rests_until.load(Ordering::Relaxed) - as_micros(glances.began.elapsed());
        assert!(rests > 100_000, "{rests} µs of more than 200,000 are left");
        glances.rests_until.store(0, Ordering::Relaxed);
        assert!(matches!(glances.run(&|_| Ok(4)), Glance::Done(4)));
    }

    #[test]
    fn one_that_fails_has_no_result_and_takes_its_connection_along() {
        let glances = glances();
        let fail = |connection: &Connection| connection.query_row("SELECT x", [], |_| Ok(()));
        assert!(matches!(glances.run(&fail), Glance::Failed));
        assert!(
            matches!(glances.run(&|_| Ok(1)), Glance::NotNow),
            "none is idle"
        );
    }
}
