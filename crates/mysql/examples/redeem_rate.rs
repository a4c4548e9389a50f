//! Measures the rate of redemptions of one template without HTTP, and the duration of an audit.
//!
//! `cargo run --release -p goodpon-mysql --example redeem_rate -- [COUPONS] [TASKS] [CONNECTIONS]`
//!
//! `GOODPON_DATABASE_URL` names the server, on which it creates a database, and drops it at the end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use goodpon_application::{
    idempotency::{Answer, Idempotency, Outcome},
    ports::{Audit, Clock, Coupons, Random, RedeemOutcome, RedeemRequest},
};
use goodpon_domain::{
    business_time::BusinessZone,
    id::{CouponId, MerchantId},
    redemption::Order,
};
use goodpon_mysql::Store;
use jiff::{Timestamp, tz::TimeZone};
use mysql_async::{Conn, Opts, prelude::Queryable};

struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is where the time comes in")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

#[derive(Default)]
struct HashedCount(RandomState, AtomicU64);

impl HashedCount {
    fn next(&self) -> u64 {
        self.0.hash_one(self.1.fetch_add(1, Ordering::Relaxed))
    }
}

impl Random for HashedCount {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_ne_bytes()[..chunk.len()]);
        }
    }
}

const MERCHANT: i64 = 1;

/// Inserts a template and its coupons, and returns the coupons' ids.
async fn seed(conn: &mut Conn, template: i64, limit_type: u8, coupons: usize) -> Vec<CouponId> {
    let limit = match limit_type {
        0 => "NULL".to_owned(),
        _ => coupons.to_string(),
    };
    let insert = format!(
        "INSERT INTO coupon_templates (id, merchant_id, name, description, discount_type, discount_value,
             issue_start_at, limit_type, limit_count, status, issue_count, created_at)
         VALUES ({template}, {MERCHANT}, 'n', '', 0, 1000, 0, {limit_type}, {limit}, 1, {coupons}, 0)"
    );
    conn.query_drop(insert).await.unwrap();
    let (random, began) = (HashedCount::default(), SystemClock.now());
    let ids: Vec<CouponId> = (0..coupons)
        .map(|_| CouponId::new(began, random.next()))
        .collect();
    let at = began.as_microsecond();
    for (chunk, some) in ids.chunks(500).enumerate() {
        let mut rows = String::from(
            "INSERT INTO coupons (id, merchant_id, template_id, user_id, status, issued_at, changed_at) VALUES ",
        );
        let mut entries = String::from(
            "INSERT INTO coupon_histories (merchant_id, recorded_at, id, template_id, action, coupon_id) VALUES ",
        );
        for (number, id) in some.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            let user = chunk * 500 + number;
            write!(
                rows,
                "{comma}(x'{id}', {MERCHANT}, {template}, 'u{user}', 0, {at}, {at})"
            )
            .unwrap();
            write!(
                entries,
                "{comma}({MERCHANT}, {at}, x'{id}', {template}, 0, x'{id}')"
            )
            .unwrap();
        }
        conn.query_drop(rows).await.unwrap();
        conn.query_drop(entries).await.unwrap();
    }
    ids
}

fn idempotency(key: u64) -> Idempotency<RedeemOutcome> {
    let body = Bytes::from(vec![b'x'; 300]);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&key.to_be_bytes());
    Idempotency {
        key: bytes,
        body: [0; 16],
        render: Arc::new(move |_| Answer {
            status: 200,
            body: body.clone(),
        }),
    }
}

async fn redeem_all(store: &Store, ids: Vec<CouponId>, tasks: usize, with_key: bool) -> f64 {
    let (ids, next) = (Arc::new(ids), Arc::new(AtomicUsize::new(0)));
    let random = Arc::new(HashedCount::default());
    let began = Instant::now();
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (store, ids, next) = (store.clone(), Arc::clone(&ids), Arc::clone(&next));
            let random = Arc::clone(&random);
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(id) = ids.get(number) else { break };
                    let request = RedeemRequest {
                        merchant_id: MerchantId(MERCHANT),
                        coupon_id: *id,
                        order: Order {
                            user_id: format!("u{number}"),
                            amount: 15_000,
                            id: format!("order-{number}"),
                        },
                    };
                    let key = with_key.then(|| idempotency(random.next()));
                    let outcome = store.redeem(request, key).await.expect("a redemption");
                    assert!(matches!(outcome, Outcome::Ran(Ok(_))), "{outcome:?}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    ids.len() as f64 / began.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| {
        let argument = arguments.next();
        argument.map_or(default, |text| text.parse().expect("a number"))
    };
    let (coupons, tasks, connections) = (number(20_000), number(64), number(32));
    let server =
        std::env::var("GOODPON_DATABASE_URL").expect("GOODPON_DATABASE_URL names a server");
    let random = HashedCount::default();
    let name = format!("redeem_rate_{:016x}", random.next());
    let mut url = url::Url::parse(&server).unwrap();
    let mut conn = Conn::new(Opts::from_url(&server).unwrap()).await.unwrap();
    conn.query_drop(format!("CREATE DATABASE {name}"))
        .await
        .unwrap();
    conn.query_drop(format!("USE {name}")).await.unwrap();
    url.set_path(&name);
    let zone = BusinessZone::new(TimeZone::get("Asia/Seoul").unwrap());
    let store = Store::new(
        url.as_str(),
        connections,
        Arc::new(SystemClock),
        Arc::new(random),
        zone,
    );
    let store = store.unwrap();
    store.migrate().await.unwrap();
    println!("{coupons} coupons, {tasks} tasks, {connections} connections");
    for (template, limit_type, with_key) in
        [(1, 0, false), (2, 0, true), (3, 2, false), (4, 2, true)]
    {
        let ids = seed(&mut conn, template, limit_type, coupons).await;
        let rate = redeem_all(&store, ids, tasks, with_key).await;
        let limit = if limit_type == 0 {
            "no limit"
        } else {
            "a limit"
        };
        let key = if with_key {
            "with keys"
        } else {
            "without keys"
        };
        println!("template with {limit}, {key}: {rate:.0} redemptions/s");
    }
    let began = Instant::now();
    let differences = store.audit().await.unwrap();
    println!(
        "audit of {} coupons: {:.1} s, {} differences",
        4 * coupons,
        began.elapsed().as_secs_f64(),
        differences.len()
    );
    conn.query_drop(format!("DROP DATABASE {name}"))
        .await
        .unwrap();
}
