//! Publishes events: appends them to the log, and checks that the log did so in time for them to count (P4, P5).

use std::sync::Arc;

use goodpon_application::ports::{StoreError, StoreResult};
use goodpon_domain::gate::{self, EVENT_LIFETIME, IssueEvent};
use tokio::time::Instant;

use crate::{ports::IssueLog, progress::LogProgress};

/// Appends accepted issues to the log.
pub(crate) struct Publishing {
    log: Arc<dyn IssueLog>,
    progress: Arc<LogProgress>,
}

fn may_have_happened(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable {
        reason: reason.into(),
        may_have_happened: true,
    }
}

impl Publishing {
    pub(crate) fn new(log: Arc<dyn IssueLog>, progress: Arc<LogProgress>) -> Self {
        Self { log, progress }
    }

    /// Returns the reason why no event can be published now, if one is known.
    pub(crate) fn problem(&self) -> Option<String> {
        self.log.problem()
    }

    /// Publishes a copy of an event, and returns once it counts. `asked` is the moment, by this process's clock, before the
    /// gate was read; the event's `valid_until` follows from the database's time of that read.
    ///
    /// # Errors
    /// The copy does not count, or it is not known whether it does. Nothing is undone.
    pub(crate) async fn publish(&self, event: &IssueEvent, asked: Instant) -> StoreResult<()> {
        let lifetime = EVENT_LIFETIME.unsigned_abs();
        let rest = lifetime.saturating_sub(asked.elapsed());
        let partitions = self.progress.partitions();
        let partition = goodpon_kafka::partition_of(&event.user_id, partitions);
        // Read before the event is sent, because an issuer may process it before the acknowledgement arrives.
        let processed = self.progress.of(partition);
        let appended = self.log.append(event, partition, rest).await;
        let appended = appended.inspect_err(|_| {
            metrics::counter!("goodpon_events_unacknowledged_total").increment(1);
        })?;
        if appended.offset < processed {
            let why = self.log.went_back(partition, appended.offset, processed);
            return Err(may_have_happened(why));
        }
        let spare = event.valid_until.duration_since(appended.appended_at);
        metrics::histogram!("goodpon_event_spare_seconds").record(spare.as_secs_f64());
        if !gate::counts(appended.appended_at, event.valid_until) || asked.elapsed() >= lifetime {
            metrics::counter!("goodpon_events_void_total").increment(1);
            return Err(may_have_happened(
                "the log took the event in too late to count",
            ));
        }
        Ok(())
    }
}
