//! Measures the places that one gate gives in a second: `GOODPON_VALKEY_URL=… cargo run --release -p goodpon-valkey
//! --example gate_rate`. Half of the requests have a key. In half of the runs every place is confirmed, in batches, as
//! partners do.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use goodpon_domain::{
    gate::{
        Confirmation, Epoch, FoldResult, GateId, InstallResult, IssueEvent, KeyDigests,
        RefusalAnswers, Taken, UNLIMITED,
    },
    id::{CouponId, TemplateId},
};
use goodpon_valkey::{Valkey, user_digest};
use jiff::Timestamp;

const RUN_TIME: Duration = Duration::from_secs(5);
const EVENTS_PER_CONFIRMATION: usize = 64;

/// The settings of one run.
#[derive(Clone, Copy)]
struct Run {
    number: i64,
    tasks: usize,
    connections: usize,
    confirming: bool,
}

#[tokio::main]
async fn main() {
    let url = std::env::var("GOODPON_VALKEY_URL").expect("GOODPON_VALKEY_URL is not set");
    let installation = format!("gate-rate-{}", std::process::id());
    let mut number = 0;
    for confirming in [false, true] {
        for connections in [1, 2] {
            for tasks in [64, 256] {
                number += 1;
                let run = Run {
                    number,
                    tasks,
                    connections,
                    confirming,
                };
                measure(&url, &installation, run).await;
            }
        }
    }
}

async fn measure(url: &str, installation: &str, run: Run) {
    let mut handles = Vec::new();
    for _ in 0..run.connections {
        let valkey = Valkey::open(url, installation).unwrap();
        valkey.bound_within(RUN_TIME).await.unwrap();
        handles.push(valkey);
    }
    let gate = GateId {
        template: TemplateId(run.number),
        shard: 0,
    };
    let bound = handles[0].bound().unwrap();
    let loaded = bound.load(gate, Epoch(1), &[], &[]).await.unwrap();
    let installed = bound
        .install(gate, Epoch(1), UNLIMITED, 0, 0)
        .await
        .unwrap();
    assert_eq!(
        (loaded, installed),
        (InstallResult::Done, InstallResult::Done)
    );

    let customers = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..run.tasks {
        let valkey = handles[task % run.connections].clone();
        tasks.spawn(ask(valkey, gate, run, Arc::clone(&customers), began));
    }
    let answers: Vec<_> = tasks.join_all().await;
    let failed: usize = answers.iter().map(|(_, failed)| failed).sum();
    let mut waits: Vec<Duration> = answers.into_iter().flat_map(|(waits, _)| waits).collect();
    let took = began.elapsed();
    waits.sort_unstable();
    let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
    println!(
        "{:3} tasks, {} connection(s), {}: {:.0} places/s, p50 {:?}, p99 {:?}, {failed} calls failed",
        run.tasks,
        run.connections,
        if run.confirming {
            "confirmed"
        } else {
            "taken only"
        },
        waits.len() as f64 / took.as_secs_f64(),
        at(50),
        at(99)
    );
    let bound = handles[0].bound_within(RUN_TIME).await.unwrap();
    // The next epoch deletes the reservations that are not confirmed, so the gate can be folded.
    bound.load(gate, Epoch(2), &[], &[]).await.unwrap();
    bound.install(gate, Epoch(2), 0, 0, 0).await.unwrap();
    assert_eq!(bound.fold(gate, Epoch(2)).await.unwrap(), FoldResult::Done);
}

/// Takes places until the time is over. Returns the time that each took, and the number of calls that failed.
async fn ask(
    valkey: Valkey,
    gate: GateId,
    run: Run,
    customers: Arc<AtomicU64>,
    began: Instant,
) -> (Vec<Duration>, usize) {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let (mut waits, mut published, mut failed) = (Vec::new(), Vec::new(), 0);
    while began.elapsed() < RUN_TIME {
        let Ok(bound) = valkey.bound_within(RUN_TIME).await else {
            continue;
        };
        let customer = customers.fetch_add(1, Ordering::Relaxed);
        let user_id = format!("customer-{customer}");
        let digest = user_digest(&user_id);
        let event = IssueEvent {
            coupon_id: CouponId::from_bytes(digest),
            template_id: gate.template,
            epoch: Epoch(1),
            keyed: customer.is_multiple_of(2).then_some(KeyDigests {
                key: digest,
                body: digest,
            }),
            user_id,
            accepted_at: now,
            valid_until: now,
        };
        let asked = Instant::now();
        let Ok(taken) = bound
            .take(gate, &event, None, RefusalAnswers::default(), now)
            .await
        else {
            failed += 1;
            continue;
        };
        waits.push(asked.elapsed());
        assert!(matches!(taken, Taken::Reserved { .. }), "{taken:?}");
        if run.confirming {
            published.push(Confirmation {
                event,
                answer: None,
            });
        }
        if published.len() == EVENTS_PER_CONFIRMATION {
            let confirmed = bound.confirm(gate, Epoch(1), &published, now).await;
            failed += usize::from(confirmed.is_err());
            published.clear();
        }
    }
    (waits, failed)
}
