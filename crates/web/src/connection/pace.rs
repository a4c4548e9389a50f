//! Timers of one connection: a wait for its client, and the pace at which the client takes an answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A wait that begins anew with each request of a connection. Its timer is moved only when it fires too early, or would fire
/// too late: most waits end long before, and to move a timer costs more than to look at the clock.
#[derive(Debug, Default)]
pub(super) struct Pause {
    timer: Option<Pin<Box<Sleep>>>,
    /// The end of the wait, while it runs.
    until: Option<Instant>,
}

impl Pause {
    /// Is ready `limit` after the first call, or the first since the last [`Pause::end`].
    pub(super) fn poll(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let until = *self.until.get_or_insert_with(|| Instant::now() + limit);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }

    pub(super) fn runs(&self) -> bool {
        self.until.is_some()
    }

    pub(super) fn end(&mut self) {
        self.until = None;
    }
}

/// The time in which a client that is slower than we write has to take [`MIN_BYTES`], or loses the connection. The
/// system reports progress in steps of up to a third of its send buffer, so an honest reader needs some 8 kB/s.
const WINDOW: Duration = Duration::from_secs(10);
const MIN_BYTES: usize = 10_000;

/// The pace at which a client takes an answer that waits to be written.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pause: Pause,
    taken: usize,
}

impl Pace {
    /// Notes that the client's system took `count` bytes; `is_all` where nothing is left to be written.
    pub(super) fn moved(&mut self, count: usize, is_all: bool) {
        self.taken += count;
        if is_all {
            self.pause.end();
            self.taken = 0;
        }
    }

    /// Is ready once the client took too little in a whole window.
    pub(super) fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.pause.runs() {
                self.taken = 0;
            }
            ready!(self.pause.poll(WINDOW, cx));
            if self.taken < MIN_BYTES {
                return Poll::Ready(());
            }
            self.pause.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::timeout;

    use super::*;

    const A_LITTLE_LATER: Duration = Duration::from_millis(10_500);

    async fn is_too_slow(pace: &mut Pace) -> bool {
        let too_slow = poll_fn(|cx| pace.poll_too_slow(cx));
        timeout(A_LITTLE_LATER, too_slow).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_or_a_trickle_is_too_slow() {
        assert!(is_too_slow(&mut Pace::default()).await);
        let mut pace = Pace::default();
        let trickle = async {
            for _ in 0..9 {
                assert!(
                    timeout(Duration::from_secs(1), poll_fn(|cx| pace.poll_too_slow(cx)))
                        .await
                        .is_err()
                );
                pace.moved(999, false);
            }
            is_too_slow(&mut pace).await
        };
        assert!(trickle.await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_enough_goes_on() {
        let mut pace = Pace::default();
        for _ in 0..5 {
            let first = poll_fn(|cx| pace.poll_too_slow(cx));
            assert!(timeout(Duration::from_secs(7), first).await.is_err());
            pace.moved(MIN_BYTES, false);
            let rest = poll_fn(|cx| pace.poll_too_slow(cx));
            assert!(timeout(Duration::from_millis(3_500), rest).await.is_err());
        }
        // Nothing waits any more: the next answer has a window of its own.
        pace.moved(1, true);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let next = poll_fn(|cx| pace.poll_too_slow(cx));
        assert!(timeout(Duration::from_secs(9), next).await.is_err());
    }
}
