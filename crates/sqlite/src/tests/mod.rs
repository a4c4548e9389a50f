//! Tests beyond the port laws: the file, the writer's groups, the audit, and simulated schedules.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub(crate) mod errors;
mod folder_and_schema;
mod holder;
mod laws;
mod simulation;
mod threads;
mod writer_groups;

use std::sync::{Arc, mpsc};

use goodpon_application::{
    idempotency::{Answer, Idempotency, Outcome},
    ports::{
        Accounts, CancelRequest, Coupons, IssueGate, IssueOutcome, IssueRequest, MailContent,
        Merchants, NewAccount, NewSecret, NewVerification, RedeemRequest, StoreResult, Templates,
    },
};
use goodpon_domain::{
    coupon::IssueRefusal,
    generation::Generation,
    id::{AccountId, CouponId, MerchantId, TemplateId},
    quota::Quota,
    redemption::Order,
    template::{Discount, Limit, Period, Terms},
};
use goodpon_port_laws::{FreshRandom, ManualClock, World, without_ids};
use goodpon_supervise::Supervisor;
use rusqlite::{Connection, config::DbConfig};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::{
    error::OpenError,
    folder::DATABASE_FILE,
    late::plan::MOST_WAITING,
    store::{Store, Under},
    write::tx::Tx,
};

/// A store in a folder of its own, with one shop.
pub(crate) struct Scene {
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) merchant: MerchantId,
    pub(crate) owner: AccountId,
    pub(crate) folder: TempDir,
}

pub(crate) fn open(folder: &TempDir, clock: &Arc<ManualClock>) -> Result<Store, OpenError> {
    let random = Arc::new(FreshRandom::default());
    let clock = Arc::clone(clock) as _;
    let supervisor = Supervisor::new();
    Store::open(folder.path(), clock, random, World::zone(), &supervisor)
}

/// For a store whose disk is well.
pub(crate) fn under(supervisor: &Supervisor, most_waiting: usize) -> Under<'_> {
    Under {
        supervisor,
        end: Arc::new(|why| panic!("{why}")),
        backlog: most_waiting,
    }
}

/// As [`open`], with this backlog for each deferred index.
pub(crate) fn open_with(folder: &TempDir, clock: &Arc<ManualClock>, most_waiting: usize) -> Store {
    let faults = faults_taken_out(folder);
    let (random, clock) = (Arc::new(FreshRandom::default()), Arc::clone(clock) as _);
    let zone = World::zone();
    let store = Store::open_with(
        folder.path(),
        clock,
        random,
        zone,
        under(&Supervisor::new(), most_waiting),
    );
    let store = store.unwrap();
    store.inner.published.filter.wait();
    raw(folder).execute_batch(&faults).unwrap();
    store
}

/// A connection past the store, which leaves the log alone when it is closed.
fn raw(folder: &TempDir) -> Connection {
    let connection = Connection::open(folder.path().join(DATABASE_FILE)).unwrap();
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .unwrap();
    connection
}

/// Drops the triggers by which tests act as damage, for no store opens with them, and returns the SQL that makes them anew.
fn faults_taken_out(folder: &TempDir) -> String {
    if !folder.path().join(DATABASE_FILE).exists() {
        return String::new();
    }
    let connection = raw(folder);
    let mut triggers = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap();
    let triggers: Vec<(String, String)> = triggers
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut made_by = String::new();
    for (name, sql) in triggers {
        connection
            .execute_batch(&format!("DROP TRIGGER {name}"))
            .unwrap();
        made_by += &format!("{sql};");
    }
    made_by
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(MOST_WAITING).await
    }

    /// A scene with this backlog for each deferred index.
    pub(crate) async fn with(most_waiting: usize) -> Self {
        let (folder, clock) = (TempDir::new().unwrap(), World::clock());
        let store = open_with(&folder, &clock, most_waiting);
        let account = NewAccount {
            email: "Owner@example.com".into(),
            name: "Owner".into(),
            password_hash: String::new(),
            generation: Generation::of_random(1),
        };
        let verification = NewVerification {
            token_digest: [1; 32],
            mail: MailContent {
                subject: "s".into(),
                text: "t".into(),
                html: "h".into(),
            },
            origin: None,
        };
        let owner = store.sign_up(account, verification).await.unwrap().unwrap();
        let secret = NewSecret {
            digest: [2; 32],
            head: "0000".into(),
            tail: "ffff".into(),
        };
        let shop = Merchants::create(
            &store,
            owner.id,
            "Shop".into(),
            "ck_1".into(),
            secret,
            Quota::UNLIMITED,
        );
        let merchant = shop.await.unwrap().unwrap().merchant.id;
        Self {
            store,
            clock,
            merchant,
            owner: owner.id,
            folder,
        }
    }

    /// A published template whose coupons are good for a day.
    pub(crate) async fn template(&self, limit: Limit) -> TemplateId {
        let terms = Terms {
            name: "Template".into(),
            description: String::new(),
            min_order_amount: None,
            discount: Discount::FixedAmount { amount: 1_000 },
            period: Period {
                issue_start_at: "2026-01-01T00:00:00Z".parse().unwrap(),
                issue_end_at: None,
                validity_days: Some(1),
                absolute_expires_at: None,
            },
            limit,
        };
        let draft = Templates::create(
            &self.store,
            self.merchant,
            self.owner,
            terms,
            Quota::UNLIMITED,
        )
        .await
        .unwrap()
        .unwrap();
        let published = self
            .store
            .publish(self.merchant, self.owner, draft.id)
            .await
            .unwrap();
        published.unwrap().id
    }

    pub(crate) async fn issue(
        &self,
        template_id: TemplateId,
        user: &str,
    ) -> StoreResult<Outcome<Result<(), IssueRefusal>>> {
        let request = self.request(template_id, user);
        self.store.issue(request, None).await.map(without_ids)
    }

    /// Issues a coupon with a key of its own.
    pub(crate) async fn issued_with_key(&self, template_id: TemplateId, user: &str, key: [u8; 16]) {
        let render = |_: &IssueOutcome| Answer {
            status: 200,
            body: "as written".into(),
        };
        let idempotency = Idempotency {
            key,
            body: [0; 16],
            render: Arc::new(render),
        };
        let request = self.request(template_id, user);
        let outcome = self.store.issue(request, Some(idempotency)).await;
        assert!(matches!(outcome.unwrap(), Outcome::Ran(Ok(_))));
    }

    fn request(&self, template_id: TemplateId, user: &str) -> IssueRequest {
        IssueRequest {
            merchant_id: self.merchant,
            template_id,
            user_id: user.into(),
        }
    }

    /// Issues a coupon and returns its id.
    pub(crate) async fn issued(&self, template: TemplateId, user: &str) -> CouponId {
        let outcome = self.issue(template, user).await.unwrap();
        assert_eq!(outcome, Outcome::Ran(Ok(())));
        let held = self.store.held(self.merchant, user, usize::MAX).await;
        let held = held.unwrap().unwrap();
        let of_template = |one: &&goodpon_domain::wallet::HeldCoupon| one.template.id == template;
        held.iter().find(of_template).unwrap().coupon.id
    }

    pub(crate) async fn redeem(&self, coupon_id: CouponId, user: &str, order: &str) {
        let request = RedeemRequest {
            merchant_id: self.merchant,
            coupon_id,
            order: Order {
                user_id: user.into(),
                amount: 5_000,
                id: order.into(),
            },
        };
        let outcome = self.store.redeem(request, None).await.unwrap();
        assert!(matches!(outcome, Outcome::Ran(Ok(_))), "{outcome:?}");
    }

    pub(crate) async fn cancel(&self, coupon_id: CouponId, order: &str) {
        let request = CancelRequest {
            merchant_id: self.merchant,
            coupon_id,
            order_id: order.into(),
            reason: "reason".into(),
        };
        let outcome = self.store.cancel(request, None).await.unwrap();
        assert!(matches!(outcome, Outcome::Ran(Ok(_))), "{outcome:?}");
    }

    /// Holds the writer, until all others have queued up behind it.
    pub(crate) async fn hold_writer(&self) -> HeldWriter {
        let (running, is_running) = oneshot::channel();
        let (release, released) = mpsc::channel::<()>();
        let (store, mut running) = (self.store.clone(), Some(running));
        let held = tokio::spawn(async move {
            let hold = move |_: &mut Tx<'_>| {
                if let Some(running) = running.take() {
                    running.send(()).unwrap();
                    released.recv().unwrap();
                }
                Ok(())
            };
            store.write(hold).await.unwrap();
        });
        is_running.await.unwrap();
        HeldWriter { release, held }
    }

    /// The store as a crash at this moment would leave it, opened again.
    pub(crate) fn crashed(&self, most_waiting: usize) -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["goodpon.db", "goodpon.db-wal"] {
            std::fs::copy(self.folder.path().join(name), folder.path().join(name)).unwrap();
        }
        let clock = Arc::clone(&self.clock);
        Self {
            store: open_with(&folder, &clock, most_waiting),
            clock,
            merchant: self.merchant,
            owner: self.owner,
            folder,
        }
    }

    /// The store closed and opened again.
    pub(crate) fn reopened(self) -> Self {
        self.store.close();
        let store = open(&self.folder, &self.clock).unwrap();
        Self { store, ..self }
    }

    /// A connection behind the store's back.
    pub(crate) fn raw(&self) -> Connection {
        Connection::open(self.folder.path().join(DATABASE_FILE)).unwrap()
    }
}

pub(crate) struct HeldWriter {
    release: mpsc::Sender<()>,
    held: tokio::task::JoinHandle<()>,
}

impl HeldWriter {
    pub(crate) async fn release(self) {
        self.release.send(()).unwrap();
        self.held.await.unwrap();
    }
}
