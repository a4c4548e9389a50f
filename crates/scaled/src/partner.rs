//! A partner: a process that answers shops' issue requests. It takes places at gates, publishes the events of accepted
//! issues, and publishes again the events that other processes left unconfirmed.
//!
//! A request's way is in `partner/issue.rs`. Beside it run `confirm.rs` and `reconcile.rs`, over `gate_cache.rs`.

pub(crate) mod answers;
pub(crate) mod confirm;
pub(crate) mod gate_cache;
mod issue;
mod no_gate;
pub(crate) mod publish;
pub(crate) mod reconcile;
mod shared;
pub(crate) mod standing;

use std::collections::BTreeMap;
use std::sync::Arc;

use goodpon_application::ports::{Clock, Random, StoreResult};
use goodpon_domain::gate::{Confirmation, IssueEvent};
use tokio::sync::Semaphore;

use self::{
    answers::Answers, confirm::Confirmer, gate_cache::GateCache, publish::Publishing,
    standing::Standings,
};
use crate::{
    opening::Openings,
    ports::{GateRecords, GateServers, IssueLog},
    progress::LogProgress,
};

/// The largest number of this process's requests that ask gates at a time. More would queue at the server, and get places
/// after their callers have gone.
const MAX_REQUESTS_AT_GATES: usize = 512;

/// The ports that the issue path needs.
#[derive(Clone)]
pub struct Outside {
    /// The records in the database.
    pub records: Arc<dyn GateRecords>,
    /// The current connection to the gates' server.
    pub servers: Arc<dyn GateServers>,
    /// The log of accepted issues.
    pub log: Arc<dyn IssueLog>,
    /// This process's clock.
    pub clock: Arc<dyn Clock>,
    /// The source of the random part of coupon ids.
    pub random: Arc<dyn Random>,
}

/// One process's part in issuing coupons.
pub struct Partner {
    pub(crate) records: Arc<dyn GateRecords>,
    pub(crate) servers: Arc<dyn GateServers>,
    pub(crate) clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    pub(crate) gates: Arc<GateCache>,
    pub(crate) openings: Arc<Openings>,
    answers: Arc<Answers>,
    pub(crate) publishing: Publishing,
    /// The permits of requests that ask gates.
    at_gates: Semaphore,
    pub(crate) confirmer: Arc<Confirmer>,
    pub(crate) standings: Arc<Standings>,
    pub(crate) progress: Arc<LogProgress>,
}

impl Partner {
    /// Makes a partner that knows the log to be processed up to `next_offsets`. It publishes to those partitions.
    #[must_use]
    pub fn new(outside: Outside, next_offsets: BTreeMap<i32, i64>) -> Self {
        let progress = Arc::new(LogProgress::new(next_offsets));
        Self::with_progress(outside, progress)
    }

    pub(crate) fn with_progress(outside: Outside, progress: Arc<LogProgress>) -> Self {
        let Outside {
            records,
            servers,
            log,
            clock,
            random,
        } = outside;
        let gates = Arc::new(GateCache::new(Arc::clone(&records)));
        let answers = Arc::new(Answers::new(Arc::clone(&records)));
        let confirmer = Arc::new(Confirmer::new(Arc::clone(&servers), Arc::clone(&clock)));
        Self {
            openings: Arc::new(Openings::new(
                Arc::clone(&records),
                Arc::clone(&servers),
                Arc::clone(&gates),
                Arc::clone(&answers),
                Arc::clone(&clock),
            )),
            standings: Arc::new(Standings::new(
                Arc::clone(&records),
                Arc::clone(&servers),
                Arc::clone(&gates),
                Arc::clone(&confirmer),
                Arc::clone(&clock),
            )),
            publishing: Publishing::new(log, Arc::clone(&progress)),
            at_gates: Semaphore::new(MAX_REQUESTS_AT_GATES),
            records,
            servers,
            clock,
            random,
            gates,
            answers,
            confirmer,
            progress,
        }
    }

    /// Confirms events of other requests that were published again, without the confirmer's delay.
    async fn confirm_helped(&self, events: Vec<IssueEvent>) -> StoreResult<()> {
        // Other processes made these events' requests, so the texts of their answers are found by their times.
        let answers = match events.iter().any(|event| event.keyed.is_some()) {
            true => Some(self.answers.successes().await?),
            false => None,
        };
        let answer = |event: &IssueEvent| answers.as_ref()?.at(event.accepted_at);
        let counted: Vec<Confirmation> = events
            .into_iter()
            .map(|event| Confirmation {
                answer: answer(&event),
                event,
            })
            .collect();
        self.confirmer.send(&counted).await;
        Ok(())
    }

    /// Waits for accepted issues, and confirms them at their gates.
    pub async fn confirm_next(&self) {
        self.confirmer.send_next().await;
    }

    pub(crate) fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}
