//! The scaled-out set of back ends: opens the issue path over MySQL, Valkey and Kafka, and implements the store ports.

use std::sync::Arc;
use std::time::Duration;

use goodpon_application::{
    Stores,
    ports::{Clock, Random, StoreError},
};
use goodpon_kafka::{Cluster, Publisher};
use goodpon_mysql::{LeasedMails, Store};
use goodpon_supervise::{Ended, Report, Supervisor, Task};
use goodpon_valkey::Valkey;
use tokio::sync::watch;

use crate::{
    invalidation,
    kafka::{KafkaLog, supervise_watch, watch_topic},
    partner::{Outside, Partner, reconcile},
    progress::LogProgress,
    standstill::Standstill,
    topic::{Topic, TopicState},
};

/// The set, opened. Clones share it.
#[derive(Clone)]
pub struct Scaled {
    /// The name that the database gives the installation; keys in Valkey and events in Kafka carry it too.
    installation: Arc<str>,
    pub(crate) store: Store,
    pub(crate) valkey: Valkey,
    pub(crate) kafka: Arc<KafkaLog>,
    pub(crate) partner: Arc<Partner>,
    /// The partitions that the issuer of this process cannot process, if it has an issuer.
    pub(crate) standstill: Arc<Standstill>,
}

/// The reason why the issue path cannot be set up. Displays as one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting of Valkey is wrong.
    #[error(transparent)]
    Valkey(#[from] goodpon_valkey::ConfigError),
    /// A setting of Kafka is wrong.
    #[error(transparent)]
    Kafka(#[from] goodpon_kafka::Error),
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Scaled {
    /// Opens the set over a store that answers and was migrated. Valkey and Kafka need not answer yet. With `accept_risks`,
    /// events are published even if the topic's settings may lose acknowledged events. Needs a running tokio.
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
        let installation = store.installation().await?;
        let progress = Arc::new(LogProgress::new(store.progress().await?));
        let valkey = Valkey::open(valkey_url, &installation)?;
        let publisher = Publisher::start(cluster, &installation)?;
        let topic = Topic::new(cluster.clone(), accept_risks);
        let kafka = Arc::new(KafkaLog::new(publisher, topic, Arc::clone(&progress)));
        let outside = Outside {
            records: Arc::new(store.clone()),
            servers: Arc::new(valkey.clone()),
            log: Arc::clone(&kafka) as _,
            clock,
            random,
        };
        Ok(Self {
            installation: installation.into(),
            store,
            valkey,
            kafka,
            partner: Arc::new(Partner::with_progress(outside, progress)),
            standstill: Arc::default(),
        })
    }

    /// Returns the store ports: MySQL's records, with the issue path in front of those that it concerns.
    #[must_use]
    pub fn stores(&self) -> Stores {
        let (records, scaled) = (Arc::new(self.store.clone()), Arc::new(self.clone()));
        Stores {
            templates: scaled.clone(),
            mails: Arc::new(LeasedMails::new(self.store.clone())),
            health: scaled.clone(),
            audit: scaled,
            ..Stores::over(records, self.partner.clone())
        }
    }

    /// Returns the name of the installation.
    #[must_use]
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// Starts the background work of a process that answers partners: confirming, reconciling, moving gates, and that of
    /// [`Self::start_informed`].
    pub fn start_partner(&self, supervisor: &Supervisor) {
        self.start_informed(supervisor);
        self.spawn_with_partner(supervisor, "gate_beat", reconcile::beat);
        self.spawn_with_partner(supervisor, "log_follower", reconcile::follow_log);
        self.spawn_with_partner(supervisor, "gate_mover", reconcile::move_on);
        self.spawn_with_partner(supervisor, "reconciler", reconcile::run);
        // It is dropped only after the requests have ended, so that their accepted issues are confirmed.
        let confirmer = Task::restart("confirmer").dropped_at_stop();
        let partner = Arc::clone(&self.partner);
        supervisor.spawn(confirmer, move |report, _| {
            let partner = Arc::clone(&partner);
            async move {
                loop {
                    partner.confirm_next().await;
                    report.ran();
                }
            }
        });
    }

    /// Starts the loops that follow changes by other processes: of templates and of the topic.
    pub fn start_informed(&self, supervisor: &Supervisor) {
        let (gates, valkey) = (Arc::clone(&self.partner.gates), self.valkey.clone());
        supervisor.spawn(Task::restart("template_listener"), move |report, stop| {
            invalidation::listen(Arc::clone(&gates), valkey.clone(), report, stop)
        });
        self.supervise_connections(supervisor);
        let (log, store) = (Arc::clone(&self.kafka), self.store.clone());
        supervisor.spawn(Task::restart("topic_watcher"), move |report, stop| {
            watch_topic(Arc::clone(&log), Arc::new(store.clone()), report, stop)
        });
    }

    /// Has the supervisor maintain the connections, in place of the task and the thread that [`Self::open`] started.
    fn supervise_connections(&self, supervisor: &Supervisor) {
        let valkey = self.valkey.clone();
        // Requests that end during the stop still need the connection.
        let keeper = Task::restart("valkey_keeper").dropped_at_stop();
        supervisor.spawn(keeper, move |report, _| {
            let valkey = valkey.clone();
            async move {
                valkey.keep(|| report.ran()).await;
                Ok(())
            }
        });
        supervise_watch(&self.kafka.publisher, "kafka_watcher", supervisor);
    }

    /// Starts a loop over the partner that is started again after a failure.
    fn spawn_with_partner<F>(
        &self,
        supervisor: &Supervisor,
        name: &'static str,
        run: fn(Arc<Partner>, Report, watch::Receiver<bool>) -> F,
    ) where
        F: Future<Output = Ended> + Send + 'static,
    {
        let partner = Arc::clone(&self.partner);
        supervisor.spawn(Task::restart(name), move |report, stop| {
            run(Arc::clone(&partner), report, stop)
        });
    }

    /// Checks the topic now, and returns its state.
    pub async fn look_at_topic(&self) -> TopicState {
        self.kafka.check_topic().await
    }

    /// Returns the reason why a server cannot be used, if waiting does not help against it.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        if let TopicState::Bad(why) = self.kafka.topic.state() {
            return Some(why);
        }
        let error = self.valkey.bound().err();
        error
            .filter(|_| self.valkey.is_refused())
            .map(|error| error.to_string())
    }

    /// Waits until Valkey and Kafka can be used, for at most `within`.
    ///
    /// # Errors
    /// The reason why one of them cannot.
    pub async fn ready_within(&self, within: Duration) -> Result<(), String> {
        let valkey = self.valkey.bound_within(within);
        let (valkey, kafka) = tokio::join!(valkey, self.kafka.ready_within(within));
        valkey.map_err(|error| error.to_string())?;
        kafka
    }
}
