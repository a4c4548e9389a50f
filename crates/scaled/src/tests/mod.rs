//! Tests of the issue path on real servers: the laws of the ports, and cases beyond them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audit;
mod issuer;
mod laws;
mod opening;
mod publish;
mod reconciler;
mod replay;
mod trouble;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use goodpon_application::{
    idempotency::{Answer, Idempotency, Outcome},
    ports::{Audit, Clock, IssueGate, IssueOutcome, IssueRequest, Random, StoreResult, Templates},
};
use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Epoch, GateId, IssueEvent, KeyDigests, RefusalAnswers, Taken},
    id::{AccountId, CouponId, MerchantId, TemplateId},
    quota::Quota,
    template::{Discount, Limit, Period, Terms},
};
use goodpon_kafka::{Cluster, topic};
use goodpon_mysql::{Store, scratch::Database};
use goodpon_port_laws::{FreshRandom, ManualClock, World, eventually, without_id, without_ids};
use goodpon_supervise::Supervisor;

use crate::{Issuer, Scaled};

const PARTITIONS: i32 = 2;

/// The treatment of a scene's clock, which may be far from those of the servers.
#[derive(Clone, Copy)]
enum Clocks {
    AreTrusted,
    AreCompared,
}

/// A set of back ends of the test's own, on shared servers.
pub(crate) struct Scene {
    pub(crate) store: Store,
    pub(crate) scaled: Scaled,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) cluster: Cluster,
    supervisor: Supervisor,
    /// The supervisor of the issuers.
    issuers: Mutex<Supervisor>,
    database: Database,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.supervisor.stop();
        self.stop_issuers();
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} names no server: run `cargo xtask test`, which brings one up")
    })
}

impl Scene {
    /// Makes a scene with a partner's loops, but without an issuer.
    pub(crate) async fn new() -> Self {
        Self::made(None, Clocks::AreTrusted, Arc::new(FreshRandom::default())).await
    }

    /// Makes a scene whose clock is right, and is compared with those of the servers.
    pub(crate) async fn on_time(random: Arc<dyn Random>) -> Self {
        let scene = Self::made(None, Clocks::AreCompared, random).await;
        let database = Store::read_gate(&scene.store, scene.template(Limit::None).await).await;
        scene.clock.set(database.unwrap().unwrap().read_at);
        scene
    }

    /// Makes a scene of another installation, which uses the same topic.
    pub(crate) async fn beside(&self) -> Self {
        let random = Arc::new(FreshRandom::default());
        Self::made(Some(&self.cluster.topic), Clocks::AreTrusted, random).await
    }

    async fn made(topic: Option<&str>, clocks: Clocks, random: Arc<dyn Random>) -> Self {
        let database = Database::create().await;
        let clock = World::clock();
        let as_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let as_random = random;
        let url = database.url();
        let zone = World::zone();
        let store = Store::new(&url, 16, as_clock.clone(), as_random.clone(), zone).unwrap();
        let store = match clocks {
            Clocks::AreTrusted => store.trusting_clocks(),
            Clocks::AreCompared => store,
        };
        store.migrate().await.unwrap();
        for sql in [
            "INSERT INTO merchants (id, name, client_id, created_at, updated_at) VALUES (1, 'm', 'ck_1', 0, 0)",
            "INSERT INTO merchant_members (merchant_id, account_id, role, created_at) VALUES (1, 1000000, 0, 0)",
        ] {
            database.run(sql).await;
        }
        store.set_up_partitions(PARTITIONS).await.unwrap();
        let own = format!("law-{}", store.installation().await.unwrap());
        let cluster = Cluster {
            brokers: variable("GOODPON_KAFKA_BROKERS"),
            topic: topic.map_or(own, str::to_owned),
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
        let supervisor = Supervisor::new();
        scaled.start_partner(&supervisor);
        Self {
            store,
            scaled,
            clock,
            cluster,
            supervisor,
            issuers: Mutex::new(Supervisor::new()),
            database,
        }
    }

    /// Publishes events to another log from now on.
    pub(crate) async fn publish_to(&mut self, cluster: &Cluster) {
        self.scaled.partner.confirmer.flush_all().await;
        let valkey = variable("GOODPON_VALKEY_URL");
        let (clock, random) = (Arc::clone(&self.clock), Arc::new(FreshRandom::default()));
        let store = self.store.clone();
        let scaled = Scaled::open(store, &valkey, cluster, true, clock, random).await;
        self.scaled = scaled.unwrap();
        let within = Duration::from_secs(10);
        self.scaled.valkey.bound_within(within).await.unwrap();
        self.scaled.start_partner(&self.supervisor);
    }

    /// Starts an issuer, which ends with the scene.
    pub(crate) fn issuer(&self) -> Issuer {
        let supervisor = self.issuers.lock().unwrap().clone();
        Issuer::start(&self.scaled, &self.cluster, &supervisor).unwrap()
    }

    /// Stops all issuers that run now.
    pub(crate) fn stop_issuers(&self) {
        let running = std::mem::take(&mut *self.issuers.lock().unwrap());
        running.stop();
    }

    /// Sets the database back to a state without coupons, like the restore of a backup.
    pub(crate) async fn rewind(&self) {
        for sql in [
            "DELETE FROM coupons",
            "DELETE FROM coupon_histories",
            "UPDATE coupon_templates SET issue_count = 0",
            "UPDATE issue_progress SET next_offset = 0",
        ] {
            self.database.run(sql).await;
        }
    }

    /// Reads the issuers' progress anew.
    pub(crate) async fn read_progress(&self) {
        let progress = self.store.progress().await.unwrap();
        self.scaled.partner.progress.set(progress);
    }

    /// Waits until all events that were published until now are confirmed and written.
    pub(crate) async fn settled(&self) {
        self.scaled.partner.confirmer.flush_all().await;
        for partition in 0..PARTITIONS {
            let tick = self
                .scaled
                .kafka
                .publisher
                .tick(partition, Duration::from_secs(4));
            let end = tick.await.unwrap().offset;
            eventually("the log is worked through", || async {
                self.store.progress().await.unwrap()[&partition] > end
            })
            .await;
        }
    }
}

/// Returns the outcome of a request that ran, and was not replayed.
pub(crate) fn ran(outcome: Outcome<IssueOutcome>) -> Result<(), IssueRefusal> {
    match without_ids(outcome) {
        Outcome::Ran(outcome) => outcome,
        other => panic!("expected the request to run, got {other:?}"),
    }
}

const MERCHANT: MerchantId = MerchantId(1);
const OWNER: AccountId = AccountId(1_000_000);

impl Scene {
    /// Publishes a template.
    pub(crate) async fn template(&self, limit: Limit) -> TemplateId {
        self.template_for(limit, |period| period).await
    }

    pub(crate) async fn template_for(
        &self,
        limit: Limit,
        change: impl FnOnce(Period) -> Period,
    ) -> TemplateId {
        let terms = Terms {
            name: "여름 할인 🎟".into(),
            description: String::new(),
            min_order_amount: None,
            discount: Discount::FixedAmount { amount: 1_000 },
            period: change(Period {
                issue_start_at: self.clock.now(),
                issue_end_at: None,
                validity_days: None,
                absolute_expires_at: None,
            }),
            limit,
        };
        let draft = Templates::create(&self.scaled, MERCHANT, OWNER, terms, Quota::UNLIMITED);
        let draft = draft.await.unwrap().unwrap();
        let published = Templates::publish(&self.scaled, MERCHANT, OWNER, draft.id).await;
        published.unwrap().unwrap().id
    }

    fn request(template: TemplateId, user: &str) -> IssueRequest {
        IssueRequest {
            merchant_id: MERCHANT,
            template_id: template,
            user_id: user.into(),
        }
    }

    pub(crate) async fn issue(
        &self,
        template: TemplateId,
        user: &str,
    ) -> StoreResult<Outcome<IssueOutcome>> {
        self.scaled
            .partner
            .issue(Self::request(template, user), None)
            .await
    }

    pub(crate) async fn issue_keyed(
        &self,
        template: TemplateId,
        user: &str,
        key: [u8; 16],
    ) -> StoreResult<Outcome<IssueOutcome>> {
        self.issue_worded(template, user, key, "").await
    }

    /// Issues like [`Self::issue_keyed`], as a version that begins its answers with `words`.
    pub(crate) async fn issue_worded(
        &self,
        template: TemplateId,
        user: &str,
        key: [u8; 16],
        words: &'static str,
    ) -> StoreResult<Outcome<IssueOutcome>> {
        let idempotency = Idempotency {
            key,
            body: [1; 16],
            render: Arc::new(move |outcome: &IssueOutcome| Answer {
                status: 200,
                body: format!("{words}{:?}", without_id(*outcome)).into(),
            }),
        };
        let request = Self::request(template, user);
        self.scaled.partner.issue(request, Some(idempotency)).await
    }

    /// Takes a place and does not publish, like a partner that dies.
    pub(crate) async fn take_and_die(&self, template: TemplateId, user: &str) -> IssueEvent {
        self.take_unpublished(template, user, None).await
    }

    /// Does the same with a key, and with the body of [`Self::issue_keyed`].
    pub(crate) async fn take_keyed_and_die(
        &self,
        template: TemplateId,
        user: &str,
        key: [u8; 16],
    ) -> IssueEvent {
        let body = [1; 16];
        self.take_unpublished(template, user, Some(KeyDigests { key, body }))
            .await
    }

    async fn take_unpublished(
        &self,
        template: TemplateId,
        user: &str,
        keyed: Option<KeyDigests>,
    ) -> IssueEvent {
        let now = self.clock.now();
        let event = IssueEvent {
            coupon_id: CouponId::new(now, self.scaled.partner.random_u64()),
            template_id: template,
            epoch: Epoch(1),
            user_id: user.into(),
            accepted_at: now,
            keyed,
            valid_until: now,
        };
        let bound = self.scaled.valkey.bound().unwrap();
        let taken = bound
            .take(
                GateId::of(template),
                &event,
                None,
                RefusalAnswers::default(),
                now,
            )
            .await
            .unwrap();
        assert!(matches!(taken, Taken::Reserved { .. }), "{taken:?}");
        event
    }

    async fn keys(&self, template: TemplateId) -> (redis::aio::MultiplexedConnection, Vec<String>) {
        let url = variable("GOODPON_VALKEY_URL").replacen("valkey:", "redis:", 1);
        let client = redis::Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let installation = self.store.installation().await.unwrap();
        let pattern = format!("goodpon:{{{installation}:{template}:*");
        let keys = redis::cmd("KEYS")
            .arg(pattern)
            .query_async(&mut connection)
            .await;
        (connection, keys.unwrap())
    }

    /// Deletes all keys of a gate.
    pub(crate) async fn forget_gate(&self, template: TemplateId) {
        let (mut connection, keys) = self.keys(template).await;
        assert!(!keys.is_empty());
        let deleted = redis::cmd("DEL")
            .arg(keys)
            .query_async::<i64>(&mut connection)
            .await;
        assert!(deleted.unwrap() > 0);
    }

    /// Deletes one key of a gate, by its letter.
    pub(crate) async fn forget_part(&self, template: TemplateId, letter: &str) {
        let (mut connection, keys) = self.keys(template).await;
        let has_letter = |key: &&String| key.split(':').any(|part| part == letter);
        let key = keys.iter().find(has_letter).expect("such a key").as_str();
        let del = redis::cmd("DEL").arg(key).to_owned();
        assert_eq!(del.query_async::<i64>(&mut connection).await.unwrap(), 1);
    }

    /// Sets a field of a gate.
    pub(crate) async fn set_in_gate(&self, template: TemplateId, field: &str, value: i64) {
        let (mut connection, keys) = self.keys(template).await;
        let gate = keys.iter().find(|key| key.ends_with(":g")).unwrap();
        let set = redis::cmd("HSET")
            .arg(gate)
            .arg(field)
            .arg(value)
            .to_owned();
        set.query_async::<i64>(&mut connection).await.unwrap();
    }

    /// Overwrites a user's reservation with bytes that no version writes.
    pub(crate) async fn spoil_pending(&self, template: TemplateId, user: &str) {
        let (mut connection, keys) = self.keys(template).await;
        let pending = keys.iter().find(|key| key.contains(":p:")).unwrap();
        let user = goodpon_valkey::user_digest(user);
        let hset = redis::cmd("HSET")
            .arg(pending)
            .arg(&user[..])
            .arg(&[9_u8; 40][..])
            .to_owned();
        assert_eq!(hset.query_async::<i64>(&mut connection).await.unwrap(), 0);
    }

    /// Replaces a holder by another user, so that the number of holders stays right.
    pub(crate) async fn replace_holder(&self, template: TemplateId, user: &str) {
        let (mut connection, keys) = self.keys(template).await;
        let users = keys.iter().find(|key| key.contains(":u:")).unwrap();
        let user = goodpon_valkey::user_digest(user);
        let gone = redis::cmd("SREM").arg(users).arg(&user[..]).to_owned();
        assert_eq!(gone.query_async::<i64>(&mut connection).await.unwrap(), 1);
        let other = goodpon_valkey::user_digest("nobody");
        let added = redis::cmd("SADD").arg(users).arg(&other[..]).to_owned();
        assert_eq!(added.query_async::<i64>(&mut connection).await.unwrap(), 1);
    }

    /// Counts a gate's keys, without finished answers.
    pub(crate) async fn keys_of_gate(&self, template: TemplateId) -> usize {
        let (_, keys) = self.keys(template).await;
        keys.iter().filter(|key| !key.contains(":k:")).count()
    }

    /// Waits until all is written, and checks that the audit finds no difference.
    pub(crate) async fn audited(&self) {
        self.settled().await;
        let differences = Audit::audit(&self.scaled).await.unwrap();
        assert!(differences.is_empty(), "{differences:#?}");
    }
}
