//! Redemptions and cancellations by several processes at once: their locks, and the order of their entries.

use std::sync::Arc;

use futures::future::join_all;
use goodpon_application::{
    idempotency::Outcome,
    ports::{Clock, Coupons, RedeemOutcome, Upkeep},
};
use goodpon_domain::{
    coupon::CouponStatus,
    id::{CouponId, TemplateId},
    redemption::RedeemRefusal,
    template::Limit,
};
use goodpon_port_laws::{ManualClock, eventually};
use mysql_async::{Conn, prelude::Queryable};
use tokio::sync::Mutex;

use super::{
    open,
    scene::{HOUR, MICRO, Scene, cancel, entries, key, redeem, redeem_request},
};
use crate::redemption;

/// Returns whether the wanted lock on a template's row could be had at once.
async fn is_free(scene: &Scene, template: TemplateId, wanted: &str) -> bool {
    let mut conn = scene.conn().await;
    conn.query_drop("START TRANSACTION").await.unwrap();
    let sql = format!("SELECT id FROM coupon_templates WHERE id = {template} {wanted} NOWAIT");
    let locked = conn.query_drop(sql).await;
    match locked {
        Ok(()) => true,
        // The lock would have to be waited for: MariaDB's code and MySQL's.
        Err(mysql_async::Error::Server(error)) if [1205, 3572].contains(&error.code) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redemptions_without_a_limit_lock_no_row_that_they_share() {
    let scene = Scene::new().await;
    let (store, template) = (&scene.store, scene.template(Limit::None).await);
    let first = scene.coupon(template, "u").await;
    // Picks two coupons whose redemptions are counted in different slots.
    let slot = |id: CouponId| id.to_bytes()[15] % 64;
    let (mut second, mut user) = (first, String::new());
    while slot(second) == slot(first) {
        user.push('v');
        second = scene.coupon(template, &user).await;
    }
    let (scene, request, user) = (&scene, &redeem_request(first, "u", "o"), &user);
    let tried = store.transact(|session| {
        Box::pin(async move {
            redemption::redeem(session, request, None).await?;
            // The first is not committed yet.
            assert!(is_free(scene, template, "FOR UPDATE").await);
            assert!(redeem(store, second, user, "p").await.is_ok());
            Ok(())
        })
    });
    tried.await.unwrap();
    assert_eq!(scene.audit().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_takes_a_shared_lock_on_its_template() {
    let scene = Scene::new().await;
    let (store, template) = (&scene.store, scene.template(Limit::None).await);
    let coupon = scene.redeemed(template, "u").await;
    let mut holder = scene.conn().await;
    let hold =
        format!("START TRANSACTION; SELECT id FROM coupons WHERE id = x'{coupon}' FOR UPDATE");
    holder.query_drop(hold).await.unwrap();
    let cancellation = {
        let store = store.clone();
        tokio::spawn(async move { cancel(&store, coupon).await })
    };
    // It locks the template, and then waits for the coupon.
    eventually("it holds the template", || async {
        assert!(
            !cancellation.is_finished(),
            "a discard would not have waited"
        );
        !is_free(&scene, template, "FOR UPDATE").await
    })
    .await;
    assert!(is_free(&scene, template, "LOCK IN SHARE MODE").await);
    holder.query_drop("COMMIT").await.unwrap();
    assert!(cancellation.await.unwrap().is_ok());
    scene.discard(template).await;
    assert_eq!(store.discard_coupons(10).await.unwrap(), 1);
    assert_eq!(scene.audit().await, [""; 0]);
}

/// Counts the running statements that contain a text, except this one.
async fn running(conn: &mut Conn, text: &str) -> i64 {
    let sql = "SELECT COUNT(*) FROM information_schema.processlist
               WHERE id <> CONNECTION_ID() AND info LIKE CONCAT('%', ?, '%')";
    let count: Option<i64> = conn.exec_first(sql, (text,)).await.unwrap();
    count.unwrap()
}

/// Three redemptions have all read the coupon as issued: one writes, the others find that it was changed since.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_read_without_a_lock_is_compared_when_it_is_written() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let coupon = scene.coupon(template, "u").await;
    let mut holder = scene.conn().await;
    let hold =
        format!("START TRANSACTION; SELECT id FROM coupons WHERE id = x'{coupon}' FOR UPDATE");
    holder.query_drop(hold).await.unwrap();
    let orders = ["o1", "o2", "o3"];
    let tries: Vec<_> = orders
        .into_iter()
        .map(|order| {
            let store = scene.store.clone();
            tokio::spawn(async move { redeem(&store, coupon, "u", order).await })
        })
        .collect();
    let mut conn = scene.conn().await;
    // They have read, and wait for the coupon's row.
    let onlooker = &Mutex::new(&mut conn);
    eventually("they wait for the row", || async {
        assert!(tries.iter().all(|one| !one.is_finished()));
        running(*onlooker.lock().await, &coupon.to_string()).await >= 3
    })
    .await;
    holder.query_drop("COMMIT").await.unwrap();
    let outcomes: Vec<_> = join_all(tries)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let late = outcomes
        .iter()
        .filter(|one| **one == Err(RedeemRefusal::AlreadyRedeemed))
        .count();
    assert_eq!((won, late), (1, 2), "{outcomes:?}");
    assert_eq!(scene.audit().await, [""; 0]);
}

/// Cancellations and discards at once: no coupon stays behind in state ISSUED.
#[tokio::test(flavor = "multi_thread")]
async fn no_coupon_is_left_behind_a_discard() {
    let scene = Scene::new().await;
    for round in 0..10 {
        let template = scene.template(Limit::None).await;
        let mut coupons = Vec::new();
        for number in 0..4 {
            coupons.push(scene.redeemed(template, &format!("u{number}")).await);
        }
        let cancelled = coupons.iter().map(|id| cancel(&scene.store, *id));
        let discarded = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            scene.discard(template).await;
            while scene.store.discard_coupons(3).await.unwrap() > 0 {}
        };
        let (cancelled, ()) = futures::join!(join_all(cancelled), discarded);
        assert!(cancelled.iter().all(Result::is_ok));
    }
    while scene.store.discard_coupons(3).await.unwrap() > 0 {}
    let sql = "SELECT COUNT(*) FROM coupons WHERE status = 0";
    let left: Option<i64> = scene.conn().await.query_first(sql).await.unwrap();
    assert_eq!(left, Some(0));
    assert_eq!(scene.audit().await, [""; 0]);
}

/// Of requests with one key in several processes one runs, and the others are given its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_runs_once_across_processes() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let processes: Vec<_> = (0..6)
        .map(|_| open(&scene.database, &scene.clock))
        .collect();
    for round in 0..10 {
        let user = format!("u{round}");
        let coupon = scene.coupon(template, &user).await;
        let outcomes = join_all(processes.iter().map(|store| {
            let request = redeem_request(coupon, &user, "o");
            store.redeem(request, Some(key(round, 0)))
        }));
        let outcomes: Vec<_> = outcomes.await.into_iter().map(Result::unwrap).collect();
        let ran: Vec<&RedeemOutcome> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Outcome::Ran(ran) => Some(ran),
                _ => None,
            })
            .collect();
        assert!(matches!(ran[..], [Ok(_)]), "one ran: {outcomes:?}");
        let answer = format!("{:?}", ran[0]);
        for outcome in &outcomes {
            match outcome {
                Outcome::Ran(_) => {}
                Outcome::Replayed(replayed) => assert_eq!(replayed.body, answer),
                other => panic!("not {other:?}"),
            }
        }
        let other = processes[0].redeem(redeem_request(coupon, &user, "o"), Some(key(round, 1)));
        assert_eq!(other.await.unwrap(), Outcome::PayloadMismatch);
    }
    assert_eq!(scene.audit().await, [""; 0]);
}

/// A refusal is stored once too, with the body of the request that was first.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_stored_once_across_processes() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let coupon = scene.redeemed(template, "u").await;
    let processes: Vec<_> = (0..6)
        .map(|_| open(&scene.database, &scene.clock))
        .collect();
    for round in 0..10 {
        let outcomes = join_all(processes.iter().zip(0..).map(|(store, number)| {
            let request = redeem_request(coupon, "u", "o");
            store.redeem(request, Some(key(round, number % 2)))
        }));
        let outcomes: Vec<_> = outcomes.await.into_iter().map(Result::unwrap).collect();
        let ran = |body: usize| {
            let of_body = outcomes.iter().skip(body).step_by(2);
            of_body.filter(|one| matches!(one, Outcome::Ran(_))).count()
        };
        assert_eq!(ran(0) + ran(1), 1, "{outcomes:?}");
        let winner = usize::from(ran(1) == 1);
        for (number, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Outcome::Ran(outcome) => {
                    assert_eq!(*outcome, Err(RedeemRefusal::AlreadyRedeemed));
                }
                Outcome::Replayed(_) => assert_eq!(number % 2, winner),
                Outcome::PayloadMismatch => assert_ne!(number % 2, winner),
                Outcome::Processing => panic!("each has its own process"),
            }
        }
    }
}

/// The clocks of processes differ, but a coupon's entries are in the order in which they happened.
#[tokio::test(flavor = "multi_thread")]
async fn entries_are_in_order_although_clocks_differ() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let began = scene.clock.now();
    let behind = Arc::new(ManualClock::new(began - HOUR));
    let slow = open(&scene.database, &behind);
    scene.clock.advance(HOUR);
    let coupon = scene.coupon(template, "u").await;
    let issued_at = scene.clock.now();
    for round in 0..3 {
        let redeemed = redeem(&slow, coupon, "u", "o").await.unwrap();
        assert_eq!(redeemed.redeemed_at, issued_at + MICRO * (2 * round + 1));
        let cancelled = cancel(&slow, coupon).await.unwrap();
        assert_eq!(cancelled.canceled_at, issued_at + MICRO * (2 * round + 2));
        assert_eq!(cancelled.status, CouponStatus::Issued);
    }
    let actions: Vec<i64> = entries(&scene, coupon)
        .await
        .into_iter()
        .map(|(_, action)| action)
        .collect();
    assert_eq!(actions, [0, 1, 2, 1, 2, 1, 2]);
    assert_eq!(scene.audit().await, [""; 0]);
}

/// Eight users compete for two redemptions by redeeming and cancelling at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn a_redeem_limit_holds_under_redemptions_and_cancellations() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::RedeemCount(2)).await;
    let mut coupons = Vec::new();
    for number in 0..8 {
        coupons.push(scene.coupon(template, &format!("u{number}")).await);
    }
    scene.clock.step_by(1);
    let users = coupons.iter().enumerate().map(|(number, coupon)| {
        let store = open(&scene.database, &scene.clock);
        let user = format!("u{number}");
        async move {
            for _ in 0..12 {
                if redeem(&store, *coupon, &user, "o").await.is_ok() {
                    cancel(&store, *coupon).await.unwrap();
                }
            }
        }
    });
    join_all(users).await;
    let sql = "SELECT redeem_count FROM coupon_templates";
    let count: Option<i64> = scene.conn().await.query_first(sql).await.unwrap();
    assert_eq!(count, Some(0));
    assert_eq!(scene.audit().await, [""; 0]);
}
