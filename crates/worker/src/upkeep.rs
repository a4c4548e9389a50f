//! Upkeep by the clock: expiry, the discard of coupons, and clean-up (contract §3, Expiry; §5).

use std::sync::Arc;
use std::time::Duration;

use goodpon_application::ports::{StoreResult, Upkeep};
use goodpon_supervise::{Ended, Report};
use tokio::sync::watch;

use crate::repeat::repeat;

/// Rows that a batch changes at most: a few milliseconds of the store's only writer.
const MAX_BATCH: usize = 200;

/// The interval of discards, shorter than that of expiry: a merchant who discards a template is watching.
const DISCARD_INTERVAL: Duration = Duration::from_secs(1);

/// One kind of upkeep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Templates past their end become EXPIRED.
    ExpireTemplates,
    /// Coupons past their end become EXPIRED.
    ExpireCoupons,
    /// Coupons of discarded templates become DISCARDED.
    DiscardCoupons,
    /// Records that nobody needs any more are deleted.
    CleanUp,
}

impl Sweep {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::ExpireTemplates,
        Self::ExpireCoupons,
        Self::DiscardCoupons,
        Self::CleanUp,
    ];

    /// Returns its name in logs, which is the label `kind` of its metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ExpireTemplates => "expire_templates",
            Self::ExpireCoupons => "expire_coupons",
            Self::DiscardCoupons => "discard_coupons",
            Self::CleanUp => "clean_up",
        }
    }

    fn interval(self, sweep_interval: Duration) -> Duration {
        match self {
            Self::DiscardCoupons => DISCARD_INTERVAL.min(sweep_interval),
            _ => sweep_interval,
        }
    }

    async fn batch(self, upkeep: &dyn Upkeep) -> StoreResult<usize> {
        match self {
            Self::ExpireTemplates => upkeep.expire_templates(MAX_BATCH).await,
            Self::ExpireCoupons => upkeep.expire_coupons(MAX_BATCH).await,
            Self::DiscardCoupons => upkeep.discard_coupons(MAX_BATCH).await,
            Self::CleanUp => upkeep.clean_up(MAX_BATCH).await,
        }
    }
}

/// Does one kind of upkeep, in small batches, every `sweep_interval` (discards every second) until `stop` is true.
/// The next round does what a stop, a crash or an error leaves undone.
pub async fn run(
    upkeep: Arc<dyn Upkeep>,
    sweep: Sweep,
    sweep_interval: Duration,
    report: Report,
    stop: watch::Receiver<bool>,
) -> Ended {
    let kind = sweep.name();
    let settled = metrics::counter!("goodpon_sweep_total", "kind" => kind);
    let failures = metrics::counter!("goodpon_sweep_failures_total", "kind" => kind);
    repeat(
        sweep.interval(sweep_interval),
        &report,
        stop,
        || async {
            let count = sweep.batch(upkeep.as_ref()).await?;
            settled.increment(count as u64);
            if count > 0 {
                tracing::debug!(kind, count, "schedule settled a batch");
            }
            Ok(count)
        },
        |error| {
            failures.increment(1);
            tracing::warn!(kind, %error, "schedule failed, to be tried again");
        },
    )
    .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Mutex;

    use async_trait::async_trait;
    use goodpon_supervise::{Supervisor, Task};
    use tokio::time::Instant;

    use super::*;

    /// Returns 0 to all calls, and records each with its second.
    struct Idle {
        began: Instant,
        calls: Mutex<Vec<(u64, &'static str, usize)>>,
    }

    impl Idle {
        fn note(&self, kind: &'static str, limit: usize) -> StoreResult<usize> {
            let second = self.began.elapsed().as_secs();
            self.calls.lock().unwrap().push((second, kind, limit));
            Ok(0)
        }
    }

    #[async_trait]
    impl Upkeep for Idle {
        async fn expire_templates(&self, limit: usize) -> StoreResult<usize> {
            self.note("expire_templates", limit)
        }
        async fn expire_coupons(&self, limit: usize) -> StoreResult<usize> {
            self.note("expire_coupons", limit)
        }
        async fn discard_coupons(&self, limit: usize) -> StoreResult<usize> {
            self.note("discard_coupons", limit)
        }
        async fn clean_up(&self, limit: usize) -> StoreResult<usize> {
            self.note("clean_up", limit)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_has_its_own_rhythm() {
        for (sweep, seconds) in [
            (Sweep::ExpireTemplates, vec![0, 20, 40]),
            (Sweep::ExpireCoupons, vec![0, 20, 40]),
            (Sweep::DiscardCoupons, (0..=40).collect()),
            (Sweep::CleanUp, vec![0, 20, 40]),
        ] {
            let supervisor = Supervisor::new();
            let idle = Arc::new(Idle {
                began: Instant::now(),
                calls: Mutex::default(),
            });
            let interval = Duration::from_secs(20);
            let upkeep = Arc::clone(&idle) as Arc<dyn Upkeep>;
            supervisor.spawn(Task::restart(sweep.name()), move |report, stop| {
                run(Arc::clone(&upkeep), sweep, interval, report, stop)
            });
            tokio::time::sleep(Duration::from_millis(40_500)).await;
            supervisor.stop();
            assert!(supervisor.finish(interval).await.is_empty());
            let expected: Vec<_> = seconds
                .into_iter()
                .map(|second| (second, sweep.name(), MAX_BATCH))
                .collect();
            assert_eq!(*idle.calls.lock().unwrap(), expected);
        }
    }
}
