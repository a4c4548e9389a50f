//! A coupon's state is right, whether its row has taken it up or not.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use goodpon_application::ports::{
    Audit, Coupons, Direction, Histories, HistoryFilter, Templates, Upkeep,
};
use goodpon_domain::{id::TemplateId, template::Limit};
use jiff::SignedDuration;

use super::*;
use crate::{late::index::stored_mark, late::plan::MOST_WAITING, tests::Scene};

/// Few enough that most states are entered, and some wait.
const MOST: usize = 40;

fn user(number: u32) -> String {
    format!("user {number}")
}

/// The changes that a test has made.
#[derive(Default)]
struct Done {
    coupons: HashMap<u32, CouponId>,
    /// The last order of a user, and whether it is cancelled.
    orders: HashMap<u32, (String, bool)>,
    /// The number of entries of each user's coupon.
    entries: HashMap<u32, usize>,
}

impl Done {
    /// Issues to all these users at once, so that they make up large groups.
    async fn issue(&mut self, scene: &Scene, template: TemplateId, users: std::ops::Range<u32>) {
        let issued = users
            .map(|number| async move { (number, scene.issued(template, &user(number)).await) });
        for (number, coupon) in futures::future::join_all(issued).await {
            self.coupons.insert(number, coupon);
            self.entries.insert(number, 1);
        }
    }

    /// Redeems coupons that are not, and gives back those that are, all at once.
    async fn turn(&mut self, scene: &Scene, users: impl Iterator<Item = u32>) {
        let (coupons, orders) = (&self.coupons, &self.orders);
        let turned = users.map(|number| async move {
            let coupon = coupons[&number];
            match orders.get(&number) {
                Some((order, false)) => {
                    scene.cancel(coupon, order).await;
                    (number, order.clone(), true)
                }
                last => {
                    let order = format!("{number} after {last:?}");
                    scene.redeem(coupon, &user(number), &order).await;
                    (number, order, false)
                }
            }
        });
        for (number, order, is_cancelled) in futures::future::join_all(turned).await {
            self.orders.insert(number, (order, is_cancelled));
            *self.entries.entry(number).or_default() += 1;
        }
    }

    /// Every reader sees what was done last.
    async fn assert_seen(&self, scene: &Scene) {
        for (number, &coupon) in &self.coupons {
            let (order, is_issued) = match self.orders.get(number) {
                Some((order, is_cancelled)) => (Some(order), *is_cancelled),
                None => (None, true),
            };
            let seen = seen(scene, coupon);
            assert_eq!(seen.order_id.as_ref(), order);
            assert_eq!(seen.status == CouponStatus::Issued, is_issued);
            let held = scene
                .store
                .held(scene.merchant, &user(*number), usize::MAX)
                .await;
            let held = held.map(Option::unwrap);
            assert_eq!(held.unwrap().len(), usize::from(is_issued));
            let filter = HistoryFilter {
                user_id: Some(user(*number)),
                ..HistoryFilter::default()
            };
            let page = scene
                .store
                .page(scene.merchant, &filter, Direction::Ascending, None, 100);
            assert_eq!(page.await.unwrap().len(), self.entries[number]);
        }
        assert_eq!(scene.store.audit().await.unwrap(), []);
    }
}

/// A coupon as readers see it.
fn seen(scene: &Scene, coupon: CouponId) -> Coupon {
    let states = &scene.store.inner.published.states;
    let loaded = states.load_all(&scene.raw(), [coupon]).unwrap();
    loaded.into_iter().next().unwrap().coupon
}

/// The number of rows that have taken up a change.
fn entered(scene: &Scene) -> i64 {
    let count = "SELECT count(*) FROM coupons WHERE changes > 0";
    scene.raw().query_row(count, [], |row| row.get(0)).unwrap()
}

fn waiting(scene: &Scene) -> usize {
    let all = ..=[0xff; 16];
    scene.store.inner.published.states.values(all).len()
}

/// The number of entries that a start would read.
fn to_be_read(scene: &Scene) -> i64 {
    let from = stored_mark::<States>(&scene.raw()).unwrap();
    let from = from.unwrap_or(LedgerPosition::BEGINNING);
    let sql = "SELECT count(*) FROM coupon_histories WHERE (recorded_at, id) >= (?1, ?2)";
    let count = scene
        .raw()
        .query_row(sql, (from.micros, from.id), |row| row.get(0));
    count.unwrap()
}

#[tokio::test]
async fn every_change_counts_whether_it_waits_or_is_entered_even_after_a_crash() {
    let mut scene = Scene::with(MOST).await;
    let template = scene.template(Limit::None).await;
    let mut done = Done::default();
    done.issue(&scene, template, 0..150).await;
    for round in 0..9 {
        scene.clock.advance(SignedDuration::from_secs(1));
        // Some again and again, some once.
        let users = (0..150).filter(|user| user % 10 == round || user % 3 == 0);
        done.turn(&scene, users).await;
        done.assert_seen(&scene).await;
        let crashed = scene.crashed(MOST);
        done.assert_seen(&crashed).await;
        if round % 2 == 0 {
            scene = crashed;
        }
    }
    assert!(entered(&scene) > 80);
}

#[tokio::test]
async fn a_clock_that_was_set_back_mixes_up_nothing() {
    let mut scene = Scene::with(MOST).await;
    let template = scene.template(Limit::None).await;
    let mut done = Done::default();
    done.issue(&scene, template, 0..60).await;
    for (round, hours) in [1, -5, 1, 2, -7, 3].into_iter().enumerate() {
        done.turn(&scene, 0..60).await;
        scene.clock.advance(SignedDuration::from_hours(hours));
        // With too few changes for the mark to be stored in turn.
        done.turn(&scene, 0..3).await;
        let crashed = scene.crashed(MOST);
        done.assert_seen(&crashed).await;
        if round % 2 == 0 {
            scene = crashed;
        }
    }
}

#[tokio::test]
async fn all_are_entered_on_close() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let mut done = Done::default();
    done.issue(&scene, template, 0..100).await;
    done.turn(&scene, 0..100).await;
    assert!(entered(&scene) < 100);
    let scene = scene.reopened();
    assert_eq!(entered(&scene), 100);
    done.assert_seen(&scene).await;
}

#[tokio::test]
async fn too_many_that_are_found_are_entered_and_none_is_lost() {
    let scene = Scene::new().await;
    let mut done = Done::default();
    for round in 0..3 {
        // The first template has the last change, though it is read first.
        let template = scene.template(Limit::None).await;
        done.issue(&scene, template, round * 100..(round + 1) * 100)
            .await;
    }
    done.turn(&scene, 0..300).await;
    scene.clock.advance(SignedDuration::from_secs(1));
    done.turn(&scene, 0..90).await;
    assert_eq!(waiting(&scene), 300);
    let scene = scene.crashed(30);
    assert!(waiting(&scene) <= 150, "{} wait", waiting(&scene));
    done.assert_seen(&scene).await;
    let scene = scene.crashed(30);
    done.assert_seen(&scene).await;
}

#[tokio::test]
async fn a_start_need_not_read_again_what_one_before_it_read() {
    let mut scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let mut done = Done::default();
    for round in 0..4 {
        done.issue(&scene, template, round * 50..(round + 1) * 50)
            .await;
        assert!(to_be_read(&scene) >= 50);
        scene = if round % 2 == 0 {
            scene.crashed(MOST_WAITING)
        } else {
            scene.reopened()
        };
        assert_eq!(to_be_read(&scene), 1);
    }
}

/// A start reads few entries even where most are of no change.
#[tokio::test]
async fn issues_drive_on_what_waits() {
    let scene = Scene::with(MOST).await;
    let template = scene.template(Limit::None).await;
    let mut done = Done::default();
    done.issue(&scene, template, 0..30).await;
    let held = scene.hold_writer().await;
    tokio::join!(done.turn(&scene, 0..30), held.release());
    assert!(waiting(&scene) >= 20);
    let mut last = 30;
    while waiting(&scene) > 0 {
        assert!(
            last < 30 + 10 * MOST as u32,
            "{} still wait",
            waiting(&scene)
        );
        let held = scene.hold_writer().await;
        let users = (last..last + 20).map(user);
        // A large group, which need not enter anything for itself.
        let issued = users.map(|user| async { scene.issue(template, &{ user }).await.unwrap() });
        tokio::join!(futures::future::join_all(issued), held.release());
        last += 20;
    }
    let count = to_be_read(&scene);
    assert!(count <= 2 * MOST as i64, "a start reads {count} entries");
    done.assert_seen(&scene).await;
}

#[tokio::test]
async fn what_is_rolled_back_with_another_request_counts_once() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let mut done = Done::default();
    done.issue(&scene, template, 0..5).await;
    let held = scene.hold_writer().await;
    let broken = scene.store.write(|tx| tx.connection.execute("no SQL", []));
    let (_, error, ()) = tokio::join!(done.turn(&scene, 0..5), broken, held.release());
    assert!(error.is_err());
    done.assert_seen(&scene).await;
}

#[tokio::test]
async fn fewer_wait_that_have_long_orders() {
    let scene = Scene::with(MOST).await;
    let template = scene.template(Limit::None).await;
    let mut done = Done::default();
    done.issue(&scene, template, 0..100).await;
    for group in 0..10 {
        let redeemed = (group * 10..(group + 1) * 10).map(|number| {
            let (scene, coupon) = (&scene, done.coupons[&number]);
            let order = format!("{number} {}", "x".repeat(240));
            async move { scene.redeem(coupon, &user(number), &order).await }
        });
        futures::future::join_all(redeemed).await;
    }
    // Each of them counts for six.
    assert!(waiting(&scene) <= MOST / 6 + 10);
    assert_eq!(scene.store.audit().await.unwrap(), []);
}

#[tokio::test]
async fn one_row_that_cannot_be_written_stops_no_other() {
    let scene = Scene::with(MOST).await;
    let template = scene.template(Limit::None).await;
    let mut done = Done::default();
    done.issue(&scene, template, 0..200).await;
    // Acts as a damaged page.
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON coupons WHEN NEW.user_id = 'user 0'
                  BEGIN SELECT RAISE(ABORT, 'no'); END";
    scene.raw().execute_batch(refuse).unwrap();
    for round in 0..5 {
        done.turn(&scene, round * 40..(round + 1) * 40).await;
    }
    assert!(entered(&scene) > 100);
    let scene = scene.crashed(MOST);
    scene.raw().execute_batch("DROP TRIGGER refuse").unwrap();
    done.assert_seen(&scene).await;
}

#[tokio::test]
async fn a_settled_coupon_keeps_the_order_of_its_redemption() {
    let mut scene = Scene::with(MOST).await;
    let template = scene.template(Limit::None).await;
    let mut done = Done::default();
    done.issue(&scene, template, 0..40).await;
    // Redeemed and given back; redeemed; never redeemed.
    done.turn(&scene, 0..30).await;
    done.turn(&scene, 0..20).await;
    let discarded = scene
        .store
        .discard(scene.merchant, scene.owner, template, "recall".into());
    discarded.await.unwrap().unwrap();
    while scene.store.discard_coupons(7).await.unwrap() > 0 {}
    // A cancellation discards at once.
    done.turn(&scene, 20..25).await;
    for _ in 0..2 {
        for (number, &coupon) in &done.coupons {
            let seen = seen(&scene, coupon);
            let is_redeemed = (25..30).contains(number);
            let status = if is_redeemed {
                CouponStatus::Redeemed
            } else {
                CouponStatus::Discarded
            };
            assert_eq!(seen.status, status, "of user {number}");
            assert_eq!(
                seen.order_id.as_ref(),
                done.orders.get(number).map(|(order, _)| order)
            );
        }
        assert_eq!(scene.store.audit().await.unwrap(), []);
        scene = scene.crashed(MOST);
    }
}
