//! A loop: a future on the runtime.

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Ended;
use crate::report::{Report, State};
use crate::task::Rests;
use crate::verdict::{Next, Verdicts, panic_text};

/// A loop that was started. Dropping it leaves the loop to the supervisor.
pub struct Loop {
    ended: watch::Receiver<bool>,
}

impl Loop {
    pub(crate) fn new(ended: watch::Receiver<bool>) -> Self {
        Self { ended }
    }

    /// Waits until it has ended for good.
    pub async fn ended(mut self) {
        // A sender that is gone was dropped with the loop.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

/// Makes run after run until one ends as it should or its failure is final.
pub(crate) async fn run<F>(verdicts: &Verdicts, report: &Report, mut make: impl FnMut() -> F)
where
    F: Future<Output = Ended> + Send + 'static,
{
    let (mut stop, mut rests) = (verdicts.stopping(), Rests::default());
    loop {
        let began = Instant::now();
        // A task of its own, so that a panic ends the run alone; dropped with this future.
        let mut running = JoinSet::new();
        running.spawn(make());
        let ended = match running.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => match error.try_into_panic() {
                Ok(panic) => Err(panic_text(&*panic)),
                Err(_) => Err("it was cancelled".into()),
            },
            None => Ok(()),
        };
        let rest = match verdicts.judge(report, ended, began.elapsed(), &mut rests) {
            Next::Over => return,
            Next::AnewAfter(rest) => rest,
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return report.set_state(State::Ended),
            () = tokio::time::sleep(rest) => report.restarted(),
        }
    }
}
