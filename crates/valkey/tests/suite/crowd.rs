//! Many at once, on several connections.

use std::{collections::BTreeSet, sync::Arc};

use goodpon_domain::{
    gate::{Epoch, IssueEvent},
    id::CouponId,
};
use goodpon_valkey::{Bound, Taken, Valkey};

use crate::scene::{GATE, SOON, Scene, event, keyed, now};

const CONNECTIONS: usize = 4;
const PLACES: usize = 700;
const CUSTOMERS: usize = 3000;

/// Asks until there is an answer that lasts, publishing nothing: whoever has a place, or is asked to help, confirms.
async fn get(bound: Bound, wish: IssueEvent) -> Taken {
    loop {
        let taken = bound.take(GATE, &wish, None, now()).await.unwrap();
        let confirmed = match &taken {
            Taken::Reserved { .. } => wish.clone(),
            Taken::Help(other) => other.clone(),
            Taken::Wait => {
                tokio::task::yield_now().await;
                continue;
            }
            _ => return taken,
        };
        bound
            .confirm(GATE, Epoch(1), &[confirmed], now())
            .await
            .unwrap();
        if matches!(taken, Taken::Reserved { .. }) {
            return taken;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_as_many_are_given_as_there_are_places() {
    let scene = Scene::open(i64::try_from(PLACES).unwrap()).await;
    let mut bounds = Vec::new();
    for _ in 0..CONNECTIONS {
        let valkey = Valkey::open(&scene.server.url(), "test").unwrap();
        let bound = valkey.bound_within(SOON).await.unwrap();
        bounds.push((valkey, bound));
    }
    let bounds = Arc::new(bounds);
    let mut asking = tokio::task::JoinSet::new();
    for customer in 0..CUSTOMERS {
        // Each asks twice, on two connections; every third with a key of its own.
        for attempt in 0..2_usize {
            let bound = bounds[(customer + attempt) % CONNECTIONS].1.clone();
            let mut id = [0; 16];
            id[..8].copy_from_slice(&customer.to_be_bytes());
            let mut key = keyed(0, 0).filter(|_| customer % 3 == 0);
            if let Some(keyed) = &mut key {
                keyed.key = id;
            }
            id[8] = u8::try_from(attempt).unwrap();
            let wish = IssueEvent {
                coupon_id: CouponId::from_bytes(id),
                ..event(&customer.to_string(), 0, key)
            };
            asking.spawn(async move { (customer, get(bound, wish).await) });
        }
    }
    let (mut winners, mut places) = (BTreeSet::new(), BTreeSet::new());
    let (mut sold_out, mut told_again) = (0, Vec::new());
    while let Some(done) = asking.join_next().await {
        let (customer, taken) = done.unwrap();
        match taken {
            Taken::Reserved { spent } => {
                assert!(winners.insert(customer), "{customer} has two places");
                assert!(places.insert(spent), "place {spent} was given twice");
            }
            Taken::AlreadyIssued | Taken::Replay(Ok(())) => told_again.push(customer),
            Taken::SoldOut | Taken::Replay(Err(_)) => sold_out += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(winners.len(), PLACES);
    assert_eq!(places, (1..=i64::try_from(PLACES).unwrap()).collect());
    assert!(told_again.iter().all(|customer| winners.contains(customer)));
    assert_eq!(sold_out, 2 * (CUSTOMERS - PLACES));
    let places = i64::try_from(PLACES).unwrap();
    assert_eq!(scene.counts().await, (places, places));
    assert_eq!(scene.names().await, [Scene::name("g"), Scene::name("u:1")]);
}
