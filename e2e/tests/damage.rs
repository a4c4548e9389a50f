//! Answers on a damaged database, which nothing else brings about.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::{Options, Template, World};
use goodpon_waits::eventually;

#[tokio::test]
async fn a_coupon_whose_template_is_gone_is_refused_as_such() {
    let world = World::with(Options::default()).await;
    let template = world.publish(&Template::default()).await;
    let redeemed = world.shop.issued(template, "one").await;
    world.shop.redeem(&redeemed, "one", 50_000, "o1").await.ok();
    let issued = world.shop.issued(template, "another").await;
    assert!(world.server().terminate().success());
    let gone = format!("DELETE FROM coupon_templates WHERE id = {template}");
    world.server().damage(&gone);
    world.server().restart();
    let redeem = world.shop.redeem(&issued, "another", 50_000, "o2").await;
    redeem.refused("COUPON_TEMPLATE_NOT_FOUND");
    let cancel = world.shop.cancel(&redeemed, "o1", "reason").await;
    cancel.refused("COUPON_TEMPLATE_NOT_FOUND");
    let verify = world.server().run_cli(&["verify"]);
    assert_eq!(verify.status.code(), Some(1));
}

#[tokio::test]
async fn an_unforeseen_failure_is_an_error_that_shows_nothing_of_the_inside() {
    let world = World::with(Options::default().expect_log("coupon_histories")).await;
    let template = world.publish(&Template::default()).await;
    let coupon = world.shop.issued(template, "user").await;
    world
        .server()
        .damage("ALTER TABLE coupon_histories RENAME TO gone");
    let answer = world.shop.redeem(&coupon, "user", 50_000, "order").await;
    answer.refused("INTERNAL_SERVER_ERROR");
    assert!(
        !answer.json.to_string().contains("histories"),
        "{}",
        answer.json
    );
    let is_logged = || async {
        let log = world.server().log();
        log.iter()
            .any(|line| line.contains("no such table") || line.contains("doesn't exist"))
    };
    eventually("the log has the cause", is_logged).await;
    // Nothing happened, and it goes on as soon as it can.
    world
        .server()
        .damage("ALTER TABLE gone RENAME TO coupon_histories");
    world
        .shop
        .redeem(&coupon, "user", 50_000, "order")
        .await
        .ok();
}
