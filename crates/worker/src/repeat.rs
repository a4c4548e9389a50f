//! The rhythm of all background work: batch after batch while there is something to do, then a rest.

use std::future::Future;
use std::time::Duration;

use goodpon_application::ports::{StoreError, StoreResult};
use goodpon_supervise::Report;
use tokio::sync::watch;
use tokio::time::Instant;

/// Bounds the pause between two batches.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Calls `batch` until it returns 0 (nothing more is due) or fails, rests for `every`, and begins again; ends as soon as
/// `stop` is true, between two batches. Calls `failed` with a failure, and tries again after the rest.
///
/// After each batch it pauses for as long as the batch took: live requests get at least half of the store.
pub(crate) async fn repeat<F>(
    every: Duration,
    report: &Report,
    mut stop: watch::Receiver<bool>,
    mut batch: impl FnMut() -> F,
    failed: impl Fn(StoreError),
) where
    F: Future<Output = StoreResult<usize>>,
{
    loop {
        loop {
            let began = Instant::now();
            match batch().await {
                Ok(0) => {
                    report.ran();
                    break;
                }
                Ok(_) => report.ran(),
                Err(error) => {
                    report.trouble(&error);
                    failed(error);
                    break;
                }
            }
            if stopped_within(began.elapsed().min(MAX_PAUSE), &mut stop).await {
                return;
            }
        }
        if stopped_within(every, &mut stop).await {
            return;
        }
    }
}

/// Waits for `time`. Returns true at once when `stop` is true or its sender gone.
pub(crate) async fn stopped_within(time: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => true,
        () = tokio::time::sleep(time) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::cell::{Cell, RefCell};

    use goodpon_supervise::Task;

    use super::*;

    const EVERY: Duration = Duration::from_secs(20);

    fn report() -> Report {
        Report::new(Task::restart("test"))
    }

    /// Runs batches with these answers, one after the other, and then stops. Returns when each began, and the failures.
    async fn moments(
        answers: Vec<StoreResult<usize>>,
        takes: Duration,
    ) -> (Vec<Duration>, Vec<String>) {
        let (sender, stop) = watch::channel(false);
        let began = Instant::now();
        let answers = RefCell::new(answers.into_iter());
        let (calls, failures) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let batch = || {
            calls.borrow_mut().push(began.elapsed());
            let answer = answers.borrow_mut().next().unwrap_or_else(|| {
                sender.send(true).unwrap();
                Ok(1)
            });
            async move {
                tokio::time::sleep(takes).await;
                answer
            }
        };
        repeat(EVERY, &report(), stop, batch, |error| {
            failures.borrow_mut().push(error.to_string());
        })
        .await;
        (calls.into_inner(), failures.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn batches_follow_each_other_with_pauses_as_long_as_they_took() {
        let ms = Duration::from_millis;
        let (calls, failures) = moments(vec![Ok(200), Ok(200), Ok(0)], ms(30)).await;
        let second_round = ms(150) + EVERY;
        assert_eq!(calls, [ms(0), ms(60), ms(120), second_round]);
        assert!(failures.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_reported_and_tried_again_after_the_rest() {
        let down = StoreError::Unavailable {
            reason: "down".into(),
            may_have_happened: false,
        };
        let (calls, failures) = moments(vec![Err(down), Ok(0)], Duration::ZERO).await;
        assert_eq!(calls, [Duration::ZERO, EVERY, EVERY * 2]);
        assert_eq!(failures, ["unavailable: down"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_rest_at_once_and_lets_a_batch_finish() {
        let (sender, stop) = watch::channel(false);
        let began = Instant::now();
        let finished = Cell::new(0);
        let batch = || async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            finished.set(finished.get() + 1);
            Ok(1)
        };
        let ordered = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sender.send(true).unwrap();
        };
        let report = report();
        tokio::join!(repeat(EVERY, &report, stop.clone(), batch, |_| ()), ordered);
        assert_eq!(
            (finished.get(), began.elapsed()),
            (1, Duration::from_secs(3))
        );

        let resting = repeat(EVERY, &report, stop, || async { Ok(0) }, |_| ());
        resting.await;
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_is_gone_means_stop() {
        let (sender, mut stop) = watch::channel(false);
        drop(sender);
        assert!(stopped_within(EVERY, &mut stop).await);
    }
}
