//! Walks miss no coupon, and find their work by seeks.
#![allow(clippy::unwrap_used)]

use goodpon_application::ports::{Audit, Templates, Upkeep};
use goodpon_domain::template::Limit;
use jiff::SignedDuration;

use super::*;
use crate::{
    codec::{coupon_id, coupon_status},
    tests::Scene,
};

/// Longer than the coupons of a scene are good for.
const PAST_END: SignedDuration = SignedDuration::from_hours(72);

#[derive(Debug, PartialEq)]
struct Stored(Vec<(String, i64)>);

/// The users of a scene's coupons with the coupons' states.
fn states(scene: &Scene) -> Stored {
    let connection = scene.raw();
    let mut statement = connection
        .prepare("SELECT id FROM coupons ORDER BY user_id")
        .unwrap();
    let ids = statement.query_map([], |row| coupon_id(row, 0)).unwrap();
    let state = |id: rusqlite::Result<CouponId>| {
        let waiting = &scene.store.inner.published.states;
        let stored = waiting
            .load_all(&connection, [id.unwrap()])
            .unwrap()
            .pop()
            .unwrap();
        (
            stored.coupon.user_id,
            coupon_status::code(stored.coupon.status),
        )
    };
    Stored(ids.map(state).collect())
}

fn expected<const N: usize>(states: [(&str, i64); N]) -> Stored {
    Stored(states.map(|(user, state)| (user.into(), state)).into())
}

/// Expires all that is due.
async fn expire_all(scene: &Scene) -> usize {
    let mut done = 0;
    loop {
        match scene.store.expire_coupons(10).await.unwrap() {
            0 => return done,
            more => done += more,
        }
    }
}

async fn discard_all(scene: &Scene) {
    while scene.store.discard_coupons(10).await.unwrap() > 0 {}
}

async fn discard_template(scene: &Scene, template: TemplateId) {
    let discarded = Templates::discard(
        &scene.store,
        scene.merchant,
        scene.owner,
        template,
        "recall".into(),
    );
    discarded.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_redeemed_coupon_is_not_passed_before_its_end() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    scene.issued(template, "gone").await;
    scene.clock.advance(PAST_END);
    let coupon = scene.issued(template, "back").await;
    scene.redeem(coupon, "back", "order").await;
    scene.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(expire_all(&scene).await, 1);
    scene.cancel(coupon, "order").await;
    scene.clock.advance(PAST_END);
    assert_eq!(expire_all(&scene).await, 1);
    assert_eq!(states(&scene), expected([("back", 2), ("gone", 2)]));
    assert_eq!(scene.store.audit().await.unwrap(), []);
}

#[tokio::test]
async fn a_redeemed_coupon_that_was_passed_is_settled_by_its_cancellation() {
    let scene = Scene::new().await;
    let (ending, gone) = (
        scene.template(Limit::None).await,
        scene.template(Limit::None).await,
    );
    let late = scene.issued(ending, "late").await;
    let withdrawn = scene.issued(gone, "withdrawn").await;
    scene.redeem(late, "late", "1").await;
    scene.redeem(withdrawn, "withdrawn", "2").await;
    discard_template(&scene, gone).await;
    discard_all(&scene).await;
    scene.cancel(withdrawn, "2").await;
    scene.clock.advance(PAST_END);
    assert_eq!(expire_all(&scene).await, 0);
    scene.cancel(late, "1").await;
    assert_eq!(expire_all(&scene).await, 0);
    assert_eq!(states(&scene), expected([("late", 2), ("withdrawn", 3)]));
    assert_eq!(scene.store.audit().await.unwrap(), []);
}

#[tokio::test]
async fn issues_after_the_clock_was_set_back_are_found() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    scene.issued(template, "before").await;
    scene.clock.advance(PAST_END);
    assert_eq!(expire_all(&scene).await, 1);
    scene.clock.advance(-PAST_END * 2);
    scene.issued(template, "set back").await;
    scene.clock.advance(PAST_END);
    assert_eq!(expire_all(&scene).await, 1);
    assert_eq!(states(&scene), expected([("before", 2), ("set back", 2)]));
}

#[tokio::test]
async fn a_discard_takes_what_no_expiry_would_come_to() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    scene.issued(template, "one").await;
    let redeemed = scene.issued(template, "other").await;
    scene.redeem(redeemed, "other", "order").await;
    scene.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(expire_all(&scene).await, 0, "and waits for the end");
    discard_template(&scene, template).await;
    discard_all(&scene).await;
    assert_eq!(states(&scene), expected([("one", 3), ("other", 1)]));
    scene.clock.advance(PAST_END);
    assert_eq!(expire_all(&scene).await, 0);
    scene.cancel(redeemed, "order").await;
    assert_eq!(states(&scene), expected([("one", 3), ("other", 2)]));
    let finished = scene
        .store
        .read(move |connection| walk::load(connection, template))
        .await
        .unwrap();
    assert!(finished.finished);
    assert_eq!(scene.store.audit().await.unwrap(), []);
}

#[tokio::test]
async fn a_walk_stays_before_what_is_still_to_come() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    scene.clock.advance(PAST_END * 10);
    scene.issued(template, "by a clock that is ahead").await;
    scene.clock.advance(PAST_END);
    assert_eq!(expire_all(&scene).await, 1);
    scene.clock.advance(-PAST_END * 11);
    for user in ["first", "second", "third"] {
        scene.issued(template, user).await;
        scene.clock.advance(PAST_END);
        assert_eq!(expire_all(&scene).await, 1, "{user}");
    }
}

#[tokio::test]
async fn a_long_way_is_gone_in_short_steps() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    scene.clock.advance(PAST_END);
    scene.issued(template, "last").await;
    // More entries stand before it than one call looks at.
    let sql = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO coupon_histories (template_id, recorded_at, id, merchant_id, action, coupon_id, number)
        SELECT template_id, recorded_at - i, randomblob(16), merchant_id, 0, coupon_id, 0 FROM n, coupon_histories";
    let count = i64::try_from(MOST_IDLE_WRITES * BUDGET / COUPON_COST + 10).unwrap();
    assert_eq!(scene.raw().execute(sql, [count]).unwrap() as i64, count);
    scene.clock.advance(PAST_END);
    let passed = async || {
        let walk = scene
            .store
            .read(move |connection| walk::load(connection, template))
            .await;
        let passed = walk.unwrap().passed;
        let sql = "SELECT count(*) FROM coupon_histories WHERE (recorded_at, id) <= (?1, ?2)";
        let count = scene
            .raw()
            .query_row(sql, (passed.micros, passed.id), |row| row.get(0));
        count.unwrap()
    };
    assert_eq!(scene.store.expire_coupons(10).await.unwrap(), 1);
    assert!(
        (1..count).contains(&passed().await),
        "some passed, none settled"
    );
    assert_eq!(states(&scene), expected([("last", 0)]));
    assert_eq!(expire_all(&scene).await, 1);
    assert_eq!(states(&scene), expected([("last", 2)]));
    scene.issued(template, "new").await;
    scene.clock.advance(PAST_END);
    assert_eq!(
        expire_all(&scene).await,
        1,
        "the walk goes on behind its end"
    );
}

#[tokio::test]
async fn a_walk_that_waits_is_not_looked_at() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let open = async |at| {
        let find = move |connection: &Connection| find(connection, Purpose::Expire, at);
        scene.store.read(find).await.unwrap()
    };
    let now = || scene.store.inner.clock.now();
    assert_eq!(open(now()).await, [], "nothing was issued yet");
    scene.issued(template, "user").await;
    scene.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(open(now()).await, [template]);
    assert_eq!(expire_all(&scene).await, 0);
    assert_eq!(open(now()).await, []);
    scene.clock.advance(PAST_END);
    assert_eq!(open(now()).await, [template]);
    assert_eq!(expire_all(&scene).await, 1);
    assert_eq!(open(now()).await, []);
}

#[test]
fn work_is_found_by_seeks() {
    let mut connection = Connection::open_in_memory().unwrap();
    crate::schema::migrate(&mut connection).unwrap();
    let plan = |sql| crate::schema::query_plan(&connection, sql);
    // The templates are scanned in an index, without their texts.
    let open = plan(OPEN_WALKS);
    assert!(open.contains("SCAN t USING COVERING INDEX"), "{open}");
    assert!(!open.contains("SCAN w"), "{open}");
    let withdrawn = plan(&WITHDRAWN);
    let discarded = "SCAN t USING COVERING INDEX coupon_templates_discarded";
    assert!(withdrawn.contains(discarded), "{withdrawn}");
    assert!(!withdrawn.contains("SCAN w"), "{withdrawn}");
    let entries = plan(ENTRIES);
    let seek = "(template_id=? AND (recorded_at,id)>(?,?) AND recorded_at<?)";
    assert!(entries.contains(seek), "{entries}");
    assert!(!entries.contains("TEMP B-TREE"), "{entries}");
}
