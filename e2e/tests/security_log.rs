//! The security log: who did what, from where, and how it ended, without a secret and without a whole address.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::world::PASSWORD;
use goodpon_e2e::{Options, Template, World};
use goodpon_waits::eventually;
use serde_json::Value;

/// Parses the lines of a target.
fn lines(world: &World, target: &str) -> Vec<Value> {
    let log = world.server().log();
    let parsed = log
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter(|line| line["target"] == target).collect()
}

/// Waits for a line of the target with these fields, and returns it.
async fn logged(world: &World, target: &str, fields: &[(&str, &str)]) -> Value {
    let found = || {
        lines(world, target)
            .into_iter()
            .find(|line| fields.iter().all(|(name, value)| line[*name] == *value))
    };
    eventually(&format!("{target}: {fields:?}"), async || found().is_some()).await;
    found().unwrap()
}

#[tokio::test]
async fn the_security_log_says_who_did_what_and_how_it_ended() {
    let world = World::with(Options::default()).await;
    let account = world.owner.me().await.ok()["id"].as_i64().unwrap();
    world
        .anonymous
        .login(&world.owner.email, "a-wrong-password")
        .await
        .refused("PASSWORD_MISMATCH");
    let mut wrong = world.shop.clone();
    wrong.secret = "sk_0123456789abcdef0123456789abcdef".to_owned();
    wrong.coupons("u").await.refused("INVALID_CREDENTIALS");
    world.owner.create_secret(world.merchant).await.ok();
    let staff = world.staff().await;
    let template = world.publish(&Template::default()).await;
    world
        .owner
        .discard(world.merchant, template, "recall")
        .await
        .ok();

    let login = logged(
        &world,
        "security",
        &[("event", "login"), ("outcome", "done")],
    )
    .await;
    assert!(
        login["account"].is_i64() && login["client"] == "127.0.0.1",
        "{login}"
    );
    let refused = [("event", "login"), ("outcome", "PASSWORD_MISMATCH")];
    let refused = logged(&world, "security", &refused).await;
    let first = world.owner.email.chars().next().unwrap().to_string();
    assert!(
        refused["subject"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{first}…@")),
        "{refused}"
    );
    assert!(refused["trace_id"].is_string(), "{refused}");
    let refused = [
        ("event", "client_secret_refused"),
        ("outcome", "INVALID_CREDENTIALS"),
    ];
    let refused = logged(&world, "security", &refused).await;
    assert_eq!(refused["client_id"], world.shop.client_id, "{refused}");
    for event in [
        "sign_up",
        "verification",
        "merchant_created",
        "client_secret_added",
        "member_added",
        "template_published",
        "template_discarded",
    ] {
        logged(&world, "security", &[("event", event), ("outcome", "done")]).await;
    }
    let added = logged(&world, "security", &[("event", "client_secret_added")]).await;
    assert_eq!(added["account"], account, "{added}");
    assert_eq!(added["merchant"], world.merchant, "{added}");
    let discarded = logged(&world, "security", &[("event", "template_discarded")]).await;
    let path = format!(
        "/v1/merchants/{}/coupon-templates/{template}/discard",
        world.merchant
    );
    assert_eq!(discarded["path"], path, "{discarded}");

    assert!(world.server().terminate().success());
    let secrets = [
        PASSWORD,
        "a-wrong-password",
        &world.shop.secret,
        &wrong.secret,
        &world.owner.email,
        &staff.email,
    ];
    for line in world.server().log() {
        for secret in secrets {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
    }
}

#[tokio::test]
async fn an_access_line_says_from_where_by_whom_and_with_which_code() {
    let options = Options::default().args(["--trust-forwarded-for"]);
    let world = World::with(options).await;
    let template = world.publish(&Template::default().issue_limit(1)).await;
    world.shop.issue(template, "first").await.ok();
    let sold_out = "COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED";
    for _ in 0..2 {
        let again = world
            .shop
            .issue_with_key(template, "second", "one key")
            .await;
        again.refused(sold_out);
    }
    let call = world.owner.call("GET", "/v1/merchants/999999");
    call.header("X-Forwarded-For", "203.0.113.9")
        .send()
        .await
        .refused("MERCHANT_NOT_FOUND");

    let refused = logged(&world, "access", &[("code", "MERCHANT_NOT_FOUND")]).await;
    assert_eq!(refused["client"], "203.0.113.9", "{refused}");
    assert!(refused["account"].is_i64(), "{refused}");
    let issue = "/v1/coupon-templates/{couponTemplateId}/issue";
    // A remembered refusal has its code, too.
    eventually("both refusals are logged", async || {
        let all = lines(&world, "access");
        all.iter().filter(|line| line["code"] == sold_out).count() == 2
    })
    .await;
    let issued = logged(&world, "access", &[("route", issue)]).await;
    assert_eq!(issued["client"], "127.0.0.1", "{issued}");
    assert_eq!(issued["client_id"], world.shop.client_id, "{issued}");
    assert!(issued.get("code").is_none_or(Value::is_null), "{issued}");
}
