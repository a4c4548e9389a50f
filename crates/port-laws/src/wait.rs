//! Waiting for what happens in the background without a sign of its own.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long is waited. Machines are loaded; who hears of a failure should not wait much longer.
const WITHIN: Duration = Duration::from_secs(60);

/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks again until the answer is yes.
///
/// # Panics
/// It is still no after a minute, or no answer came.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let deadline = Instant::now() + WITHIN;
    loop {
        let answer = timeout_at(deadline, ask()).await;
        match answer.unwrap_or_else(|_| panic!("no answer within {WITHIN:?}: {what}")) {
            true => return,
            false => assert!(Instant::now() < deadline, "never came true: {what}"),
        }
        sleep(PAUSE).await;
    }
}
