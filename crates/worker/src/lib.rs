//! What Goodpon does by itself, beside the requests: schedules ([`schedules`]) and mail delivery ([`outbox`]).

pub mod outbox;
mod repeat;
pub mod schedules;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use goodpon_application::{App, mail::MailTransport};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a loop that panicked rests before it is started anew.
const REST_AFTER_PANIC: Duration = Duration::from_secs(5);

/// The running background loops. They end by themselves soon after `stop` turns true, and at once
/// when this is dropped.
#[must_use = "dropping it ends all background work"]
pub struct Worker(JoinSet<()>);

impl Worker {
    /// Starts every loop on the current runtime. Without a `transport` mails are left to the
    /// mailbox, for `goodpon mailbox` to print. `sweep_interval` is the time between two looks for what has expired.
    pub fn start(
        app: &Arc<App>,
        transport: Option<Arc<dyn MailTransport>>,
        sweep_interval: Duration,
        stop: &watch::Receiver<bool>,
    ) -> Self {
        let mut loops = JoinSet::new();
        for sweep in schedules::Sweep::ALL {
            let (upkeep, stop) = (Arc::clone(&app.upkeep), stop.clone());
            loops.spawn(supervised(sweep.name(), stop.clone(), move || {
                schedules::run(Arc::clone(&upkeep), sweep, sweep_interval, stop.clone())
            }));
        }
        let (app, stop) = (Arc::clone(app), stop.clone());
        loops.spawn(supervised("outbox", stop.clone(), move || {
            outbox::run(Arc::clone(&app), transport.clone(), stop.clone())
        }));
        Self(loops)
    }

    /// Waits until every loop has ended.
    pub async fn finished(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Runs what `start` makes, anew after a panic, until it ends because of `stop`.
async fn supervised<F>(name: &'static str, mut stop: watch::Receiver<bool>, start: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let mut running = JoinSet::new();
        running.spawn(start());
        match running.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(name, %error, "background loop panicked and is started anew");
            }
            _ => return,
        }
        if repeat::stopped_within(REST_AFTER_PANIC, &mut stop).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_panics_is_started_anew() {
        let (_sender, stop) = watch::channel(false);
        let starts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&starts);
        supervised("test", stop, move || {
            let starts = Arc::clone(&counted);
            async move {
                assert!(starts.fetch_add(1, Ordering::Relaxed) > 1, "on purpose");
            }
        })
        .await;
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }
}
