//! A thread of its own, for a task that blocks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::Ended;
use crate::report::{Report, State};
use crate::task::Rests;
use crate::verdict::{Next, Verdicts, panic_text};

/// A thread that was started. Dropping it leaves the thread to the supervisor.
pub struct Thread {
    handle: JoinHandle<()>,
    given_up: Arc<AtomicBool>,
}

/// Ends the rest that a thread takes after a failure.
pub(crate) struct Waker(std::thread::Thread);

impl Waker {
    pub(crate) fn wake(&self) {
        self.0.unpark();
    }
}

impl Thread {
    pub(crate) fn start(
        verdicts: Arc<Verdicts>,
        report: Report,
        body: impl FnMut(&Report) -> Ended + Send + 'static,
    ) -> std::io::Result<(Self, watch::Receiver<bool>)> {
        let (over, ended) = watch::channel(false);
        let given_up = Arc::new(AtomicBool::new(false));
        let no_more_runs = Arc::clone(&given_up);
        let handle = std::thread::Builder::new()
            .name(format!("goodpon-{}", report.task().name))
            .spawn(move || {
                run(&verdicts, &report, &no_more_runs, body);
                let _ = over.send(true);
            })?;
        Ok((Self { handle, given_up }, ended))
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker(self.handle.thread().clone())
    }

    /// Waits until it has ended; it is not run anew. Its owner makes the body return first, such as by closing the
    /// channel from which it takes its work.
    pub fn join(self) {
        self.given_up.store(true, Ordering::Release);
        self.handle.thread().unpark();
        // Panics are caught within.
        let _ = self.handle.join();
    }
}

/// Calls the body until it ends as it should or its failure is final.
fn run(
    verdicts: &Verdicts,
    report: &Report,
    given_up: &AtomicBool,
    mut body: impl FnMut(&Report) -> Ended,
) {
    let mut rests = Rests::default();
    loop {
        let began = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| body(report)))
            .unwrap_or_else(|panic| Err(panic_text(&*panic)));
        let rest = match verdicts.judge(report, ended, began.elapsed(), &mut rests) {
            Next::Over => return,
            Next::AnewAfter(rest) => rest,
        };
        let no_more = || verdicts.is_stopping() || given_up.load(Ordering::Acquire);
        if !rested(rest, no_more) {
            return report.set_state(State::Ended);
        }
        report.restarted();
    }
}

/// Rests. Returns false at once when `no_more` turns true.
fn rested(rest: Duration, no_more: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if no_more() {
            return false;
        }
        match rest.checked_sub(began.elapsed()) {
            // The thread is woken when it turns true: by the stop, or by its owner's `join`.
            Some(left) if !left.is_zero() => std::thread::park_timeout(left),
            _ => return true,
        }
    }
}
