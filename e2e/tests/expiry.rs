//! Coupons, templates, verification tokens, access tokens and idempotency keys run out in time. The preloaded shim of
//! `faults/` moves the server's wall clock.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::faults::Shim;
use goodpon_e2e::ledger::{actions, text};
use goodpon_e2e::world::{PASSWORD, fresh_email};
use goodpon_e2e::{Template, World};
use goodpon_waits::eventually;
use serde_json::json;

const DAY: i64 = 24 * 60 * 60;

/// Makes a world whose sweep practically never runs, so that expiry at once can be told apart from expiry by the sweep.
async fn unswept(shim: &Shim) -> World {
    World::with(shim.options().args(["--sweep-interval-secs", "3600"])).await
}

/// Logs the owner in anew, for tokens end with the day, too.
async fn login_again(world: &mut World) {
    let answer = world.anonymous.login(&world.owner.email, PASSWORD).await;
    world.owner.0.token = answer.ok()["accessToken"].as_str().map(str::to_owned);
}

#[tokio::test]
async fn a_coupon_past_its_time_is_expired_swept_or_not() {
    let shim = Shim::build();
    let world = unswept(&shim).await;
    let template = world
        .publish(&Template::default().validity(1).redeem_limit(1))
        .await;
    let (used, open) = (
        world.shop.issued(template, "used").await,
        world.shop.issued(template, "open").await,
    );
    world.shop.redeem(&used, "used", 5000, "o").await.ok();
    shim.clock_ahead(3 * DAY);
    // ALREADY_REDEEMED before EXPIRED, EXPIRED before the limit.
    world
        .shop
        .redeem(&used, "used", 5000, "o")
        .await
        .refused("USER_COUPON_ALREADY_REDEEMED");
    world
        .shop
        .redeem(&open, "open", 5000, "p")
        .await
        .refused("USER_COUPON_EXPIRED");
    assert_eq!(
        world.shop.coupons("open").await.ok(),
        &json!({"coupons": []})
    );
    assert_eq!(
        world.shop.available("open", 5000).await.ok(),
        &json!({"coupons": []})
    );
    world
        .shop
        .issue(template, "open")
        .await
        .refused("COUPON_ALREADY_ISSUED");
    world
        .shop
        .cancel(&open, "p", "r")
        .await
        .refused("USER_COUPON_CANCEL_NOT_ALLOWED");
}

#[tokio::test]
async fn a_late_cancel_expires_the_coupon() {
    let shim = Shim::build();
    let mut world = unswept(&shim).await;
    let template = world.publish(&Template::default().validity(1)).await;
    let coupon = world.shop.issued(template, "u").await;
    world.shop.redeem(&coupon, "u", 5000, "o").await.ok();
    shim.clock_ahead(3 * DAY);
    assert_eq!(
        world.shop.cancel(&coupon, "o", "늦은 취소").await.ok()["status"],
        "EXPIRED"
    );
    world
        .shop
        .cancel(&coupon, "o", "r")
        .await
        .refused("USER_COUPON_ALREADY_CANCELLED");
    world
        .shop
        .redeem(&coupon, "u", 5000, "p")
        .await
        .refused("USER_COUPON_EXPIRED");
    login_again(&mut world).await;
    let entries = world.ledger(&[]).await;
    let actual: Vec<_> = entries
        .iter()
        .map(|entry| text(entry, "actionType"))
        .collect();
    assert_eq!(actual, ["ISSUE", "REDEEM", "CANCEL_REDEMPTION", "EXPIRE"]);
    assert_eq!(entries[2]["recordedAt"], entries[3]["recordedAt"]);
    assert!(text(&entries[2], "historyId") < text(&entries[3], "historyId"));
    assert!(entries[3]["orderId"].is_null() && entries[3]["reason"].is_null());
    assert!(world.server().run_cli(&["verify"]).status.success());
}

#[tokio::test]
async fn the_sweep_expires_each_coupon_once() {
    let shim = Shim::build();
    let mut world = World::with(shim.options().args(["--sweep-interval-secs", "1"])).await;
    let ending = Template::default().ends(1).expires(1);
    let (ending, lasting) = (
        world.publish(&ending).await,
        world.publish(&Template::default()).await,
    );
    let users: Vec<String> = (0..30).map(|number| format!("u{number}")).collect();
    for answer in
        futures::future::join_all(users.iter().map(|user| world.shop.issue(ending, user))).await
    {
        answer.ok();
    }
    world.shop.issue(lasting, "u0").await.ok();
    let used = world.shop.coupon_of(ending, "u1").await;
    world.shop.redeem(&used, "u1", 5000, "o").await.ok();
    shim.clock_ahead(3 * DAY);
    login_again(&mut world).await;
    eventually("all are swept", || async {
        actions(&world.ledger(&[]).await, "EXPIRE").len() >= users.len() - 1
    })
    .await;
    // Restarting makes it run again at once: it must be safe to repeat. Scaled out the clock is right again by then:
    // the client of Kafka mixes clocks that the shim moves with those that it does not, and stands still.
    if world.server().rooms().is_some() {
        shim.clock_ahead(0);
    }
    world.server().restart();
    login_again(&mut world).await;
    // Scaled out, a sale that had no request for days is being folded just then, which takes some seconds.
    eventually("coupons are issued again", || async {
        world.shop.issue(lasting, "after").await.status == 200
    })
    .await;
    let entries = world.ledger(&[]).await;
    let expired = actions(&entries, "EXPIRE");
    assert_eq!(
        expired.len(),
        users.len() - 1,
        "one entry each, none for the redeemed one"
    );
    assert!(
        expired
            .iter()
            .all(|entry| entry["orderId"].is_null() && entry["reason"].is_null())
    );
    assert!(
        expired
            .iter()
            .all(|entry| entry["couponTemplateId"] == ending)
    );
    let shown = world.owner.template(world.merchant, ending).await;
    assert_eq!(
        (&shown.ok()["status"], &shown.ok()["issueCount"]),
        (&json!("EXPIRED"), &json!(users.len()))
    );
    // An expired template does not refuse by itself; the coupon's own expiry does.
    let swept = text(expired[0], "userCouponId").to_owned();
    let user = text(expired[0], "userId").to_owned();
    world
        .shop
        .redeem(&swept, &user, 5000, "p")
        .await
        .refused("USER_COUPON_EXPIRED");
    assert!(world.server().run_cli(&["verify"]).status.success());
}

#[tokio::test]
async fn a_template_ends_its_issue_and_then_itself() {
    let shim = Shim::build();
    let mut world = unswept(&shim).await;
    let template = world.publish(&Template::default().ends(1).expires(4)).await;
    let later = world.publish(&Template::default().starts(2)).await;
    let status = async |id: i64| world.shop.template(id, None).await.ok()["issuanceStatus"].clone();
    assert_eq!(
        (status(template).await, status(later).await),
        (json!("AVAILABLE"), json!("PERIOD_NOT_STARTED"))
    );
    shim.clock_ahead(3 * DAY);
    assert_eq!(
        (status(template).await, status(later).await),
        (json!("PERIOD_ENDED"), json!("AVAILABLE"))
    );
    world
        .shop
        .issue(template, "u")
        .await
        .refused("COUPON_NOT_ISSUABLE_PERIOD");
    let issued = world.shop.issue(later, "u").await;
    match world.server().rooms() {
        None => drop(issued.ok()),
        // The database's clock did not come along: a partner whose clock is so wrong gives no places out.
        Some(_) => assert_eq!(issued.status, 503, "{issued}"),
    }
    shim.clock_ahead(6 * DAY);
    world
        .shop
        .template(template, None)
        .await
        .refused("COUPON_TEMPLATE_NOT_FOUND");
    login_again(&mut world).await;
    assert_eq!(
        world.owner.template(world.merchant, template).await.ok()["status"],
        "EXPIRED"
    );
    let refused = world.owner.discard(world.merchant, template, "늦음").await;
    refused.refused("COUPON_TEMPLATE_INVALID_STATUS_TO_DISCARD");
}

#[tokio::test]
async fn tokens_run_out() {
    let shim = Shim::build();
    let world = unswept(&shim).await;
    let (slow, quick) = (fresh_email(), fresh_email());
    world.anonymous.sign_up(&slow, PASSWORD, "느림").await.ok();
    world.anonymous.sign_up(&quick, PASSWORD, "빠름").await.ok();
    shim.clock_ahead(29 * 60);
    world
        .anonymous
        .verify(&world.server().verification_token(&quick))
        .await
        .ok();
    shim.clock_ahead(31 * 60);
    let token = world.server().verification_token(&slow);
    world
        .anonymous
        .verify(&token)
        .await
        .refused("INVALID_EMAIL_VERIFICATION_TOKEN");
    world.owner.me().await.ok();
    shim.clock_ahead(DAY - 60);
    world.owner.me().await.ok();
    shim.clock_ahead(DAY + 60);
    world.owner.me().await.refused("UNAUTHORIZED");
}

#[tokio::test]
async fn an_idempotency_key_is_kept_for_24_hours() {
    let shim = Shim::build();
    let world = World::with(shim.options().args(["--sweep-interval-secs", "1"])).await;
    let template = world.publish(&Template::default()).await;
    world.shop.issue_with_key(template, "u", "key").await.ok();
    shim.clock_ahead(DAY - 120);
    let answer = world.shop.issue_with_key(template, "u", "key").await;
    assert!(answer.replayed(), "{answer}");
    answer.ok();
    shim.clock_ahead(DAY + 120);
    let answer = world.shop.issue_with_key(template, "u", "key").await;
    assert!(!answer.replayed());
    match world.server().rooms() {
        None => drop(answer.refused("COUPON_ALREADY_ISSUED")),
        // The key is free, but by the database's clock this partner is a day ahead and takes nothing in.
        Some(_) => assert_eq!(answer.status, 503, "{answer}"),
    }
}

#[tokio::test]
async fn a_secret_stops_at_its_end() {
    let shim = Shim::build();
    let world = unswept(&shim).await;
    let made = world.owner.create_secret(world.merchant).await.ok().clone();
    let end = goodpon_e2e::template::midnight(2);
    world
        .owner
        .expire_secret(world.merchant, made["id"].as_i64().unwrap(), Some(&end))
        .await
        .ok();
    let mut shop = world.shop.clone();
    shop.secret = made["secret"].as_str().unwrap().to_owned();
    shop.coupons("u").await.ok();
    shim.clock_ahead(3 * DAY);
    eventually("the secret has ended", || async {
        shop.coupons("u").await.code() == Some("INVALID_CREDENTIALS")
    })
    .await;
    world.shop.coupons("u").await.ok();
}
