//! The rate at which the store issues coupons, without any HTTP around it.
//!
//! `cargo run --release -p goodpon-sqlite --example issue_rate -- SCRATCH_FOLDER [COUPONS_BEFORE]`
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use goodpon_application::{
    idempotency::{Answer, Idempotency, Outcome},
    ports::{
        Accounts, Audit, Clock, Direction, Histories, HistoryFilter, IssueGate, IssueOutcome,
        IssueRequest, MailContent, Merchants, NewAccount, NewSecret, NewVerification, Random,
        Templates,
    },
};
use goodpon_domain::{
    business_time::BusinessZone,
    generation::Generation,
    id::{AccountId, MerchantId, TemplateId},
    quota::Quota,
    template::{Discount, Limit, Period, Terms},
};
use goodpon_sqlite::Store;
use jiff::{Timestamp, tz::TimeZone};

struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is where the time comes in")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

#[derive(Default)]
struct HashedCount(RandomState, AtomicU64);

impl Random for HashedCount {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let fresh = self.0.hash_one(self.1.fetch_add(1, Ordering::Relaxed));
            chunk.copy_from_slice(&fresh.to_ne_bytes()[..chunk.len()]);
        }
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("the scratch folder");
    let before = arguments
        .next()
        .map_or(0, |count| count.parse().expect("a number"));
    let zone = BusinessZone::new(TimeZone::get("Asia/Seoul").unwrap());
    let random = Arc::new(HashedCount::default());
    let store = Store::open(
        Path::new(&folder),
        Arc::new(SystemClock),
        random,
        zone,
        &goodpon_supervise::Supervisor::new(),
    )
    .unwrap();
    let (merchant, owner) = merchant(&store).await;
    let load = Load {
        template: template(&store, merchant, owner).await,
        merchant,
        store,
        users: AtomicU64::new(0),
    };
    let load = Arc::new(load);
    if before > 0 {
        load.run(256, false, before, Duration::from_secs(3_600))
            .await;
    }
    for tasks in [64, 256] {
        for idempotent in [false, true] {
            load.run(tasks, idempotent, u64::MAX, Duration::from_secs(5))
                .await;
        }
    }
    look_around(&load.store, merchant).await;
}

struct Load {
    store: Store,
    merchant: MerchantId,
    template: TemplateId,
    users: AtomicU64,
}

impl Load {
    /// Issues from several tasks at once until there are enough coupons or the time is up.
    async fn run(self: &Arc<Self>, tasks: usize, idempotent: bool, count: u64, time: Duration) {
        let (first, started) = (self.users.load(Ordering::Relaxed), Instant::now());
        let running: Vec<_> = (0..tasks)
            .map(|_| {
                let load = Arc::clone(self);
                tokio::spawn(async move {
                    let mut slowest = Duration::ZERO;
                    while started.elapsed() < time {
                        let user = load.users.fetch_add(1, Ordering::Relaxed);
                        if user - first >= count {
                            break;
                        }
                        let asked = Instant::now();
                        load.issue(user, idempotent).await;
                        slowest = slowest.max(asked.elapsed());
                    }
                    slowest
                })
            })
            .collect();
        let mut slowest = Duration::ZERO;
        for task in running {
            slowest = slowest.max(task.await.unwrap());
        }
        let issued = self.users.load(Ordering::Relaxed) - first;
        let rate = issued as f64 / started.elapsed().as_secs_f64();
        println!(
            "{tasks:4} tasks, idempotent {idempotent:5}: {rate:8.0} coupons/s, slowest {slowest:?}"
        );
    }

    async fn issue(&self, user: u64, idempotent: bool) {
        let request = IssueRequest {
            merchant_id: self.merchant,
            template_id: self.template,
            // Scrambled, one to one: real users do not come in order of their ids, which would be easy on the indexes.
            user_id: format!("user-{:016x}", user.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        };
        let key = user.to_le_bytes();
        let idempotency = idempotent.then(|| {
            let render = Arc::new(|_: &IssueOutcome| Answer {
                status: 200,
                body: Bytes::from_static(br#"{"result":"SUCCESS","data":"","error":null}"#),
            });
            let path = b"/v1/coupon-templates/1/issue";
            Idempotency::new(b"ck_probe", "POST", path, &key, &key, render)
        });
        let outcome = self.store.issue(request, idempotency).await.unwrap();
        assert!(matches!(outcome, Outcome::Ran(Ok(_))));
    }
}

async fn merchant(store: &Store) -> (MerchantId, AccountId) {
    let fresh = HashedCount::default();
    let mut digest = [0; 32];
    fresh.fill(&mut digest);
    let account = NewAccount {
        email: format!("probe{}@example.com", digest[0]),
        name: "Probe".into(),
        password_hash: String::new(),
        generation: Generation::of_random(1),
    };
    let mail = MailContent {
        subject: String::new(),
        text: String::new(),
        html: String::new(),
    };
    let verification = NewVerification {
        token_digest: digest,
        mail,
        origin: None,
    };
    let owner = store
        .sign_up(account, verification)
        .await
        .unwrap()
        .expect("a fresh folder");
    let secret = NewSecret {
        digest,
        head: String::new(),
        tail: String::new(),
    };
    let client_id = "ck_probe".to_owned();
    let shop = Merchants::create(
        store,
        owner.id,
        "Probe".into(),
        client_id,
        secret,
        Quota::UNLIMITED,
    );
    (shop.await.unwrap().unwrap().merchant.id, owner.id)
}

async fn template(store: &Store, merchant: MerchantId, owner: AccountId) -> TemplateId {
    let terms = Terms {
        name: "Probe".into(),
        description: String::new(),
        min_order_amount: None,
        discount: Discount::FixedAmount { amount: 1_000 },
        period: Period {
            issue_start_at: Timestamp::UNIX_EPOCH,
            issue_end_at: None,
            validity_days: Some(30),
            absolute_expires_at: None,
        },
        limit: Limit::IssueCount(1_000_000_000),
    };
    let draft = Templates::create(store, merchant, owner, terms, Quota::UNLIMITED).await;
    let draft = draft.unwrap().unwrap();
    store
        .publish(merchant, owner, draft.id)
        .await
        .unwrap()
        .unwrap()
        .id
}

/// Other work that takes its time on a large store.
async fn look_around(store: &Store, merchant: MerchantId) {
    let started = Instant::now();
    let filter = HistoryFilter::default();
    let page = store.page(merchant, &filter, Direction::Descending, None, 101);
    println!(
        "page of {} entries: {:?}",
        page.await.unwrap().len(),
        started.elapsed()
    );
    let started = Instant::now();
    let differences = store.audit().await.unwrap();
    println!(
        "audit with {} differences: {:?}",
        differences.len(),
        started.elapsed()
    );
}
