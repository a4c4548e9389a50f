//! A partner: a process that answers shops' issue requests. It takes places at gates, publishes what it accepts, and
//! helps what others left behind.
//!
//! `partner/issue.rs` has the way of a request; `confirm.rs`, `reconcile.rs` and `gate_cache.rs` what stands beside it.

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

/// Requests of a process that ask gates at a time. Beyond that they would queue at the server, and be given places
/// after their callers have gone.
const MOST_AT_GATES: usize = 512;

/// The servers of the issue path, and what else it needs of outside.
#[derive(Clone)]
pub struct Outside {
    /// The records.
    pub records: Arc<dyn GateRecords>,
    /// The way to the gates' server.
    pub servers: Arc<dyn GateServers>,
    /// The log.
    pub log: Arc<dyn IssueLog>,
    /// This process's clock.
    pub clock: Arc<dyn Clock>,
    /// Where coupon ids are drawn from.
    pub random: Arc<dyn Random>,
}

/// One process's part in issuing.
pub struct Partner {
    pub(crate) records: Arc<dyn GateRecords>,
    pub(crate) servers: Arc<dyn GateServers>,
    pub(crate) clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    pub(crate) gates: Arc<GateCache>,
    pub(crate) openings: Arc<Openings>,
    answers: Arc<Answers>,
    pub(crate) publishing: Publishing,
    /// Turns of requests at gates.
    at_gates: Semaphore,
    pub(crate) confirmer: Arc<Confirmer>,
    pub(crate) standings: Arc<Standings>,
    pub(crate) progress: Arc<LogProgress>,
}

impl Partner {
    /// A partner that knows the log to be worked through up to `next_offsets`. Events are spread over those partitions.
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
            at_gates: Semaphore::new(MOST_AT_GATES),
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

    /// Reports to gates at once that events count which were helped.
    async fn confirm_helped(&self, events: Vec<IssueEvent>) -> StoreResult<()> {
        // Their requests, and how those were answered, are not known here.
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

    /// Waits for accepted issues, and reports them to their gates.
    pub async fn confirm_next(&self) {
        self.confirmer.send_next().await;
    }

    pub(crate) fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}
