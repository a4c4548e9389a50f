//! The issue path on real servers: the laws, and what they do not reach.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod laws;

use std::sync::Arc;
use std::time::Duration;

use goodpon_application::ports::{Clock, Random};
use goodpon_kafka::{Cluster, topic};
use goodpon_mysql::{Store, scratch::Database};
use goodpon_port_laws::{FreshRandom, ManualClock, World};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{Issuer, Scaled};

const PARTITIONS: i32 = 2;

/// A set of back ends of a test's own, on shared servers.
pub(crate) struct Scene {
    pub(crate) store: Store,
    pub(crate) scaled: Scaled,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) cluster: Cluster,
    stop: watch::Sender<bool>,
    _loops: JoinSet<()>,
    _database: Database,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} names no server: run `cargo xtask test`, which brings one up")
    })
}

impl Scene {
    /// With a partner's loops, but no issuer.
    pub(crate) async fn new() -> Self {
        let database = Database::create().await;
        let (clock, random) = (World::clock(), Arc::new(FreshRandom::default()));
        let as_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let as_random = Arc::clone(&random) as Arc<dyn Random>;
        let url = database.url();
        let zone = World::zone();
        let store = Store::new(&url, 16, as_clock.clone(), as_random.clone(), zone).unwrap();
        store.migrate().await.unwrap();
        store.set_up_partitions(PARTITIONS).await.unwrap();
        let cluster = Cluster {
            brokers: variable("GOODPON_KAFKA_BROKERS"),
            topic: format!("law-{}", store.installation().await.unwrap()),
            extra: Vec::new(),
        };
        topic::create(&cluster, PARTITIONS, 1).await.unwrap();
        let valkey = variable("GOODPON_VALKEY_URL");
        let scaled = Scaled::open(store.clone(), &valkey, &cluster, true, as_clock, as_random);
        let scaled = scaled.await.unwrap();
        scaled
            .valkey
            .bound_within(Duration::from_secs(10))
            .await
            .unwrap();
        scaled.ready_within(Duration::from_secs(10)).await.unwrap();
        let (stop, stopping) = watch::channel(false);
        let loops = scaled.start_partner(&stopping);
        Self {
            store,
            scaled,
            clock,
            cluster,
            stop,
            _loops: loops,
            _database: database,
        }
    }

    /// Starts an issuer, which ends with this.
    pub(crate) fn issuer(&self) -> Issuer {
        Issuer::start(self.store.clone(), &self.cluster, &self.stop.subscribe()).unwrap()
    }

    /// Waits until all is written that was published until now.
    pub(crate) async fn settled(&self) {
        self.scaled.confirmer.flush().await;
        for partition in 0..PARTITIONS {
            let tick = self
                .scaled
                .publisher
                .tick(partition, Duration::from_secs(4));
            let end = tick.await.unwrap().offset;
            while self.store.progress().await.unwrap()[&partition] <= end {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }
}
