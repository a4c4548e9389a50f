//! Waits of tests, each with a deadline: a test whose guard is broken fails instead of hanging.
//!
//! Every wait panics after [`DEADLINE`] and names what did not happen. `cargo xtask check` finds waits in tests that
//! have no deadline. It knows nothing of coupons, so that tests of every crate can use it.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

/// The time after which a wait fails: machines that run tests are loaded, and a failure should still be seen soon.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The first pause between two questions; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);

const MAX_PAUSE: Duration = Duration::from_millis(40);

/// Asks again until the answer is yes, for what happens in the background without a sign of its own.
///
/// # Panics
/// It is still no at the deadline, or no answer came.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let deadline = Instant::now() + DEADLINE;
    let mut pause = FIRST_PAUSE;
    loop {
        let answer = timeout_at(deadline, ask()).await;
        match answer.unwrap_or_else(|_| panic!("no answer within {DEADLINE:?}: {what}")) {
            true => return,
            false => assert!(Instant::now() < deadline, "never came true: {what}"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Waits for a future.
///
/// # Panics
/// It has not resolved at the deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = timeout(DEADLINE, future).await;
    waited.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_yes_ends_the_wait() {
        let mut asked = 0;
        eventually("the third question", || {
            asked += 1;
            let answer = asked == 3;
            async move { answer }
        })
        .await;
        assert_eq!(within("a value", async { asked }).await, 3);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "never came true: a yes")]
    async fn a_no_fails_at_the_deadline() {
        eventually("a yes", async || false).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "no answer within 120s: a yes")]
    async fn no_answer_fails_at_the_deadline() {
        eventually("a yes", pending).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "not within 120s: a value")]
    async fn a_future_that_never_resolves_fails_at_the_deadline() {
        within("a value", pending::<()>()).await;
    }
}
