//! Many customers at once, on several connections that break now and then.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use goodpon_domain::{
    gate::{Epoch, Finished, IssueEvent, Taken},
    id::CouponId,
};
use goodpon_valkey::{Bound, Valkey};

use crate::scene::{ANSWERS, GATE, SOON, Scene, confirmations, event, keyed, now};

const CONNECTIONS: usize = 4;
const WORKERS: usize = 64;
const PLACES: usize = 700;
const CUSTOMERS: usize = 3000;

/// The time limit for one customer, while all others ask too.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// One of the two requests of a customer. Every third customer has a key, the same for both.
fn wish(number: usize) -> IssueEvent {
    let (customer, attempt) = (number / 2, number % 2);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&customer.to_be_bytes());
    let mut key = keyed(0, 0).filter(|_| customer.is_multiple_of(3));
    if let Some(keyed) = &mut key {
        keyed.key = id;
    }
    id[8] = u8::try_from(attempt).unwrap();
    IssueEvent {
        coupon_id: CouponId::from_bytes(id),
        ..event(&customer.to_string(), 0, key)
    }
}

/// Asks until there is a final answer. A place that was given or is to be helped is confirmed without publishing. A failed
/// call is repeated unchanged.
async fn get(valkey: &Valkey, wish: &IssueEvent) -> Taken {
    let answered = async {
        loop {
            let bound = valkey.bound_within(SOON).await.unwrap();
            match ask(&bound, wish).await {
                Some(taken) => return taken,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let answer = tokio::time::timeout(ANSWERED_WITHIN, answered).await;
    answer.expect("an answer that lasts")
}

async fn ask(bound: &Bound, wish: &IssueEvent) -> Option<Taken> {
    let taken = bound.take(GATE, wish, None, ANSWERS, now()).await.ok()?;
    let published = match &taken {
        Taken::Reserved { .. } => wish,
        Taken::Help(other) => other,
        Taken::Wait => return None,
        _ => return Some(taken),
    };
    let published = std::slice::from_ref(published);
    bound
        .confirm(GATE, Epoch(1), &confirmations(published), now())
        .await
        .ok()?;
    matches!(taken, Taken::Reserved { .. }).then_some(taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_place_is_given_and_none_twice() {
    let scene = Arc::new(Scene::open(i64::try_from(PLACES).unwrap()).await);
    let next = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..CONNECTIONS)
        .map(|_| Valkey::open(&scene.server.url(), "test").unwrap())
        .collect();
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        let (scene, next) = (Arc::clone(&scene), Arc::clone(&next));
        let valkey = handles[worker % CONNECTIONS].clone();
        workers.spawn(async move {
            let mut answers = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= 2 * CUSTOMERS {
                    return answers;
                }
                if number % 500 == 250 {
                    let _: i64 = scene.server.run("CLIENT KILL TYPE normal").await;
                }
                answers.push((number / 2, get(&valkey, &wish(number)).await));
            }
        });
    }
    let (mut holders, mut refused) = (BTreeSet::new(), BTreeSet::new());
    let mut places = BTreeMap::new();
    for (customer, taken) in workers.join_all().await.into_iter().flatten() {
        match taken {
            Taken::Reserved { .. } => {
                *places.entry(customer).or_insert(0) += 1;
                holders.insert(customer);
            }
            Taken::AlreadyIssued | Taken::Replay(Finished { outcome: Ok(_), .. }) => {
                holders.insert(customer);
            }
            Taken::SoldOut
            | Taken::Replay(Finished {
                outcome: Err(_), ..
            }) => {
                refused.insert(customer);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(holders.len(), PLACES);
    assert_eq!(refused.len(), CUSTOMERS - PLACES);
    assert!(holders.is_disjoint(&refused));
    assert!(
        places.values().all(|count| *count == 1),
        "a customer has two places"
    );
    // The scene's connection was broken too, and may not have been given up yet.
    let last = wish(0);
    get(&scene.valkey, &last).await;
    let bound = scene.valkey.bound_within(SOON).await.unwrap();
    let look = bound.look(GATE, Epoch(1), None, None, now()).await.unwrap();
    let counts = look.gate.unwrap();
    let all = i64::try_from(PLACES).unwrap();
    assert_eq!((counts.spent, counts.confirmed), (all, all));
    assert_eq!(scene.names().await, [Scene::name("g"), Scene::name("u:1")]);
}
