//! The issue path scaled out, over MySQL, Valkey and Kafka: partners, issuers, openings of gates, the reconciler.
//!
//! A request takes a place at the gate in Valkey (`issue.rs`), its event is appended to the log in Kafka, and an
//! issuer makes it a coupon in MySQL (`issuer.rs`). Rows are the truth, the log decides what becomes one, and the gate
//! only says who may try. What a gate is and when it may move stands in `domain/gate.rs`.
//!
//! A success is answered only when the log has its event in time, and such an event becomes one coupon. Any process may do
//! any step and be lost in it. A reservation is never released in a live gate, no place is given out while the log is
//! away, and nothing that was read of a gate more than two seconds ago is used.

mod answers;
mod audit;
mod batch;
mod confirm;
mod figures;
mod gates;
mod health;
mod issue;
mod issuer;
mod opening;
mod reconciler;
mod rounds;
mod shared;
mod standstill;
mod templates;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use goodpon_application::{
    Stores,
    ports::{Clock, Random, StoreError, StoreResult},
};
use goodpon_domain::{gate::IssueEvent, id::TemplateId};
use goodpon_kafka::{Cluster, Publisher};
use goodpon_mysql::{SharedOutbox, Store};
use goodpon_supervise::{Ended, Report, Supervisor, Task};
use goodpon_valkey::{Confirmation, Gate, Valkey};
use tokio::sync::{Semaphore, watch};

use crate::{
    answers::Answers, confirm::Confirmer, gates::Gates, opening::Openings, standstill::Standstill,
    topic::Topic,
};

pub use health::IssuerHealth;
pub use issuer::Issuer;
pub use topic::{TopicState, look_at as look_at_topic};

/// Templates have one gate each, as yet.
fn gate_of(template: TemplateId) -> Gate {
    Gate { template, shard: 0 }
}

/// The issue path, and the ports that it stands behind. Clones share it.
#[derive(Clone)]
pub struct Scaled {
    inner: Arc<Inner>,
}

/// What [`Scaled`] is made of.
pub struct Inner {
    /// The name of the database: keys and events carry it too.
    installation: String,
    store: Store,
    valkey: Valkey,
    publisher: Publisher,
    topic: Topic,
    gates: Arc<Gates>,
    openings: Openings,
    answers: Answers,
    /// Turns of those who ask gates.
    at_gates: Semaphore,
    confirmer: Confirmer,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// How far the log was worked through in each of its partitions, a second ago or so.
    progress: RwLock<BTreeMap<i32, i64>>,
    /// What the issuer of this process cannot go on with, if it has one.
    standstill: Arc<Standstill>,
}

impl Deref for Scaled {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

/// Why the issue path cannot be set up. Displays as one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting of Valkey.
    #[error(transparent)]
    Valkey(#[from] goodpon_valkey::ConfigError),
    /// A setting of Kafka.
    #[error(transparent)]
    Kafka(#[from] goodpon_kafka::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Scaled {
    /// The issue path over a store that answers and was migrated. Valkey and Kafka may come later. `accept_risks`:
    /// publish also where the topic may lose what it acknowledged. Needs a running tokio.
    ///
    /// # Errors
    /// A setting is wrong, or the database does not answer.
    pub async fn open(
        store: Store,
        valkey_url: &str,
        cluster: &Cluster,
        accept_risks: bool,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenError> {
        figures::describe();
        let installation = store.installation().await?;
        let progress = RwLock::new(store.progress().await?);
        let valkey = Valkey::open(valkey_url, &installation)?;
        let publisher = Publisher::start(cluster, &installation)?;
        Ok(Self {
            inner: Arc::new(Inner {
                installation,
                gates: Arc::new(Gates::new(store.clone())),
                openings: Openings::default(),
                answers: Answers::new(store.clone()),
                at_gates: Semaphore::new(issue::AT_GATES),
                confirmer: Confirmer::default(),
                store,
                valkey,
                publisher,
                topic: Topic::new(cluster.clone(), accept_risks),
                clock,
                random,
                progress,
                standstill: Arc::default(),
            }),
        })
    }

    /// The store ports: records on MySQL, and the issue path before what it concerns.
    #[must_use]
    pub fn stores(&self) -> Stores {
        let (records, scaled) = (Arc::new(self.store.clone()), Arc::new(self.clone()));
        Stores {
            templates: scaled.clone(),
            outbox: Arc::new(SharedOutbox::new(self.store.clone())),
            health: scaled.clone(),
            audit: scaled.clone(),
            ..Stores::over(records, scaled)
        }
    }

    /// The name of the installation that this is of.
    #[must_use]
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// Starts what a process does that serves partners, beside its requests: it confirms, reconciles, and stays
    /// informed.
    pub fn start_partner(&self, supervisor: &Supervisor) {
        self.start_informed(supervisor);
        self.spawn(supervisor, "gate_beat", reconciler::beat);
        self.spawn(supervisor, "log_follower", reconciler::follow_log);
        self.spawn(supervisor, "gate_mover", reconciler::move_on);
        self.spawn(supervisor, "reconciler", reconciler::run);
        // Confirms all that requests which still run have accepted.
        let confirmer = Task::restart("confirmer").dropped_at_stop();
        let scaled = self.clone();
        supervisor.spawn(confirmer, move |report, _| {
            let scaled = scaled.clone();
            async move { confirm::run(&scaled, &report).await }
        });
    }

    /// Starts what keeps a process informed of what others change.
    pub fn start_informed(&self, supervisor: &Supervisor) {
        self.spawn(supervisor, "template_listener", templates::hear);
        self.spawn(supervisor, "topic_watcher", topic::watch);
    }

    /// Runs a loop that begins anew after a failure.
    fn spawn<F>(
        &self,
        supervisor: &Supervisor,
        name: &'static str,
        run: fn(Self, Report, watch::Receiver<bool>) -> F,
    ) where
        F: Future<Output = Ended> + Send + 'static,
    {
        let scaled = self.clone();
        supervisor.spawn(Task::restart(name), move |report, stop| {
            run(scaled.clone(), report, stop)
        });
    }

    /// Tells a gate at once which events of others count.
    async fn confirm_helped(&self, events: Vec<IssueEvent>) -> StoreResult<()> {
        // Their successes were answered, if they were, by who is not known here.
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
        confirm::tell(&self.valkey, self.clock.as_ref(), &counted).await;
        Ok(())
    }

    /// How many partitions events are spread over.
    fn partitions(&self) -> i32 {
        let progress = self.progress.read().unwrap_or_else(PoisonError::into_inner);
        i32::try_from(progress.len()).unwrap_or(i32::MAX)
    }

    /// Up to which offset a partition was worked through, at least.
    fn worked_through(&self, partition: i32) -> i64 {
        let progress = self.progress.read().unwrap_or_else(PoisonError::into_inner);
        progress.get(&partition).copied().unwrap_or_default()
    }

    /// How far each partition was worked through, at least.
    fn known_progress(&self) -> BTreeMap<i32, i64> {
        let progress = self.progress.read().unwrap_or_else(PoisonError::into_inner);
        progress.clone()
    }

    /// Looks anew how far the log was worked through, and how many partitions there are: they may have become more.
    async fn read_progress(&self) -> StoreResult<()> {
        let latest = self.store.progress().await?;
        let mut progress = self
            .progress
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *progress = latest;
        Ok(())
    }

    fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}
