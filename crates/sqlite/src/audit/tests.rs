//! Each kind of difference is planted by itself, and found.
#![allow(clippy::unwrap_used)]

use goodpon_application::ports::{Audit, Templates, Upkeep};
use goodpon_domain::template::Limit;
use jiff::SignedDuration;

use super::differences;
use crate::tests::Scene;

/// A store whose late indexes are whole, with coupons in every state: templates 1 (2 to issue), 2 (2 to redeem at once) and 3 (discarded).
async fn eventful() -> Scene {
    let scene = Scene::with(0).await;
    let counted = scene.template(Limit::IssueCount(2)).await;
    scene.issued(counted, "expired").await;
    scene.clock.advance(SignedDuration::from_hours(72));
    while scene.store.expire_coupons(10).await.unwrap() > 0 {}
    scene.issued(counted, "plain").await;
    let redeemable = scene.template(Limit::RedeemCount(2)).await;
    let coupon = scene.issued(redeemable, "redeemed").await;
    scene.redeem(coupon, "redeemed", "order 1").await;
    scene.clock.advance(SignedDuration::from_secs(1));
    scene.cancel(coupon, "order 1").await;
    scene.clock.advance(SignedDuration::from_secs(1));
    scene.redeem(coupon, "redeemed", "order 2").await;
    let coupon = scene.issued(redeemable, "cancelled").await;
    scene.redeem(coupon, "cancelled", "order 3").await;
    scene.clock.advance(SignedDuration::from_secs(1));
    scene.cancel(coupon, "order 3").await;
    let withdrawn = scene.template(Limit::None).await;
    scene.issued(withdrawn, "discarded").await;
    let discarded = scene
        .store
        .discard(scene.merchant, scene.owner, withdrawn, "recall".into());
    discarded.await.unwrap().unwrap();
    while scene.store.discard_coupons(10).await.unwrap() > 0 {}
    for key in [1, 2, 3] {
        let user = format!("with key {key}");
        scene.issued_with_key(redeemable, &user, [key; 16]).await;
    }
    scene
}

#[tokio::test]
async fn an_eventful_store_has_no_difference() {
    let scene = eventful().await;
    assert_eq!(scene.store.audit().await.unwrap(), []);
}

/// A database that Litestream replicates has two tables of that program, and is whole nevertheless.
#[tokio::test]
async fn the_tables_of_litestream_are_no_difference() {
    let scene = eventful().await;
    scene
        .raw()
        .execute_batch(
            "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER);
             CREATE TABLE _litestream_lock (id INTEGER);",
        )
        .unwrap();
    assert_eq!(scene.store.audit().await.unwrap(), []);
    let other = "CREATE TABLE _litestream_other (id INTEGER)";
    scene.raw().execute_batch(other).unwrap();
    let found = scene.store.audit().await.unwrap();
    assert_eq!(found[0].subject, "schema _litestream_other");
}

/// A fault that is planted, and a part of the subject under which the audit must report it.
const PLANTED: &[(&str, &str)] = &[
    ("UPDATE coupon_templates SET issue_count = issue_count + 1 WHERE id = 1", "template 1 issue_count"),
    ("UPDATE coupon_templates SET redeem_count = 0 WHERE id = 2", "template 2 redeem_count"),
    ("UPDATE coupon_templates SET limit_count = 1 WHERE id = 1", "template 1 coupons"),
    (
        "UPDATE coupons SET status = 1 WHERE user_id = 'cancelled';
         UPDATE coupon_templates SET limit_count = 1, redeem_count = 2 WHERE id = 2",
        "template 2 redeemed coupons",
    ),
    ("DELETE FROM coupon_templates WHERE id = 1", " template"),
    ("UPDATE coupon_templates SET status = 1 WHERE id = 3", " status"),
    (
        "INSERT INTO coupons SELECT randomblob(16), merchant_id, template_id, user_id, status, issued_at, expires_at, order_id, changes, changed_at, change_id
         FROM coupons WHERE user_id = 'plain'",
        "template 1 coupons of user \"plain\"",
    ),
    ("DELETE FROM coupon_holders WHERE user_id = 'expired'", " holder"),
    ("UPDATE coupon_holders SET coupon_id = randomblob(16) WHERE user_id = 'expired'", " holder"),
    ("UPDATE coupon_holders SET user_id = 'nobody' WHERE user_id = 'expired'", " holder"),
    ("DELETE FROM idempotency_keys", " key"),
    ("UPDATE idempotency_keys SET seq = seq - 1", " key"),
    ("DROP INDEX coupon_histories_by_order", "schema coupon_histories_by_order"),
    ("DELETE FROM coupons WHERE user_id = 'plain'", " coupon"),
    ("UPDATE coupons SET merchant_id = 2 WHERE user_id = 'plain'", " merchant"),
    ("UPDATE coupon_histories SET merchant_id = 2 WHERE action = 1", " merchant"),
    ("UPDATE coupon_histories SET template_id = 1 WHERE action = 4", " template"),
    ("DELETE FROM coupon_histories WHERE action = 0 AND template_id = 3", " ISSUE entries"),
    (
        "INSERT INTO coupon_histories SELECT template_id, recorded_at + 1, randomblob(16), merchant_id, action, coupon_id, number, previous_at, previous_id, order_id, reason, NULL, NULL
         FROM coupon_histories WHERE action = 0 AND template_id = 3",
        " action",
    ),
    ("UPDATE coupon_histories SET recorded_at = recorded_at + 1 WHERE action = 0 AND template_id = 3", " ISSUE entries"),
    ("UPDATE coupons SET status = 0 WHERE user_id = 'redeemed'", " status"),
    ("UPDATE coupons SET status = 2 WHERE user_id = 'plain'", " status"),
    ("UPDATE coupons SET order_id = 'order 1' WHERE user_id = 'redeemed'", " order_id"),
    ("UPDATE coupons SET order_id = NULL WHERE user_id = 'cancelled'", " order_id"),
    ("DELETE FROM coupon_histories WHERE action = 2 AND order_id = 'order 1'", " entries"),
    ("UPDATE coupon_histories SET order_id = 'another' WHERE action = 2", " entries"),
    ("UPDATE coupon_histories SET recorded_at = recorded_at - 3600000000 WHERE action = 1", " entries"),
    ("UPDATE coupon_histories SET recorded_at = recorded_at + 864000000000 WHERE action = 1", " entries"),
    ("UPDATE coupons SET expires_at = NULL WHERE user_id = 'expired'", " entries"),
    (
        "INSERT INTO coupon_histories SELECT template_id, recorded_at + 1, randomblob(16), merchant_id, action, coupon_id, number, previous_at, previous_id, order_id, reason, NULL, NULL
         FROM coupon_histories WHERE action = 3",
        " entries",
    ),
    (
        "INSERT INTO coupon_histories SELECT template_id, recorded_at + 1, randomblob(16), merchant_id, action, coupon_id, number, previous_at, previous_id, order_id, reason, NULL, NULL
         FROM coupon_histories WHERE action = 4",
        " entries",
    ),
    ("UPDATE coupons SET changes = changes - 1 WHERE user_id = 'redeemed'", " last entry"),
    (
        "UPDATE coupons SET status = 0, order_id = NULL, changes = 0, changed_at = NULL, change_id = NULL
         WHERE user_id = 'redeemed'",
        " row",
    ),
    ("UPDATE coupons SET changes = changes + 1 WHERE user_id = 'redeemed'", " entries"),
    ("UPDATE coupons SET changed_at = changed_at + 1 WHERE user_id = 'redeemed'", " last entry"),
    ("UPDATE coupons SET changed_at = NULL, change_id = NULL WHERE user_id = 'redeemed'", " last entry"),
    ("UPDATE coupons SET changes = 1 WHERE user_id = 'plain'", " entries"),
    ("UPDATE coupons SET changes = -1 WHERE user_id = 'plain'", " changes"),
    ("UPDATE coupons SET status = 9 WHERE user_id = 'plain'", " row"),
    ("UPDATE coupons SET change_id = x'00' WHERE user_id = 'redeemed'", " row"),
    ("UPDATE coupon_histories SET previous_id = NULL WHERE number = 2", "history entry"),
    ("UPDATE coupon_histories SET previous_id = coupon_id WHERE number = 2", " entries"),
    ("UPDATE coupon_histories SET previous_at = NULL, previous_id = NULL WHERE number = 3", " entries"),
    ("UPDATE coupon_histories SET number = number + 1 WHERE number > 1", " entries"),
    ("UPDATE coupon_histories SET number = 1 WHERE number = 0", " ISSUE entries"),
    (
        "UPDATE coupons SET status = 0, changes = 0, changed_at = NULL, change_id = NULL WHERE user_id = 'expired';
         DELETE FROM coupon_histories WHERE action = 3",
        " sweep",
    ),
    ("UPDATE template_walks SET passed_at = passed_at + 864000000000", " sweep"),
    ("UPDATE coupon_histories SET reason = 'x' WHERE action = 0", " fields"),
    ("UPDATE coupon_histories SET reason = NULL WHERE action = 4", " fields"),
    ("UPDATE coupon_histories SET order_amount = NULL, discount_amount = NULL WHERE action = 1 AND order_id = 'order 2'", " amounts"),
    ("UPDATE coupon_histories SET order_amount = NULL WHERE action = 1 AND order_id = 'order 2'", " amounts"),
    ("UPDATE coupon_histories SET discount_amount = discount_amount - 1 WHERE action = 1 AND order_id = 'order 2'", " amounts"),
    ("UPDATE coupon_histories SET order_amount = -1, discount_amount = -1 WHERE action = 1 AND order_id = 'order 2'", " amounts"),
    ("UPDATE coupon_histories SET order_amount = 5000 WHERE action = 2", " amounts"),
    ("UPDATE coupon_histories SET discount_amount = NULL WHERE action = 2 AND order_id = 'order 3'", " amounts"),
    ("UPDATE coupon_histories SET discount_amount = 1 WHERE action = 2 AND order_id = 'order 3'", " amounts"),
    ("UPDATE coupon_histories SET discount_amount = 0 WHERE action = 0", " amounts"),
    ("UPDATE coupon_histories SET order_amount = 0 WHERE action = 3", " amounts"),
    ("DELETE FROM template_activity WHERE template_id = 2", "template 2 activity"),
    ("INSERT INTO template_activity SELECT merchant_id, second + 1000, template_id FROM template_activity WHERE template_id = 3", "template 3 activity"),
];

#[tokio::test]
async fn each_planted_difference_is_found() {
    let scene = eventful().await;
    let connection = scene.raw();
    for (sql, subject) in PLANTED {
        let planted = connection.unchecked_transaction().unwrap();
        let before = planted.total_changes();
        planted.execute_batch(sql).unwrap();
        assert!(
            sql.starts_with("DROP") || planted.total_changes() > before,
            "{sql} changes nothing"
        );
        let found = differences(&planted).unwrap();
        let named = found.iter().any(|one| one.subject.contains(subject));
        assert!(named, "{sql}\n{found:#?}");
        planted.rollback().unwrap();
    }
}
