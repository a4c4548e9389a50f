//! `Idempotency-Key`: every row of contract 3.1.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::actors::{cancel_path, issue_path, redeem_path};
use goodpon_e2e::{Answer, Shared, Template, World};
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

/// Sends a body with a key, both to the byte.
async fn post(world: &World, path: &str, key: &[u8], body: &str) -> Answer {
    world
        .shop
        .call("POST", path)
        .header("Idempotency-Key", key)
        .body(body)
        .send()
        .await
}

#[track_caller]
fn assert_replay(first: &Answer, again: &Answer) {
    assert!(
        !first.replayed() && first.header("Idempotent-Replayed").is_none(),
        "{first}"
    );
    assert!(again.replayed(), "{again}");
    assert_eq!((again.status, &again.bytes), (first.status, &first.bytes));
    assert_eq!(
        again.headers.get("Idempotency-Key"),
        first.headers.get("Idempotency-Key")
    );
    assert_ne!(
        again.header("X-Goodpon-Trace-Id"),
        first.header("X-Goodpon-Trace-Id"),
        "a fresh trace id"
    );
    again.assert_envelope();
}

#[tokio::test]
async fn successes_of_all_three_calls_are_replayed_to_the_byte() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let (issue, body) = (issue_path(template), r#"{ "userId" : "u" }"#);
    let first = post(&world, &issue, b"k-issue", body).await;
    first.ok();
    assert_replay(&first, &post(&world, &issue, b"k-issue", body).await);
    let coupon = world.shop.coupon_of(template, "u").await;

    let (redeem, body) = (
        redeem_path(&coupon),
        r#"{"userId":"u","orderAmount":15000,"orderId":"주문 1"}"#,
    );
    let first = post(&world, &redeem, b"k-redeem", body).await;
    first.ok();
    assert_replay(&first, &post(&world, &redeem, b"k-redeem", body).await);

    let (cancel, body) = (
        cancel_path(&coupon),
        r#"{"orderId":"주문 1","cancelReason":"변심"}"#,
    );
    let first = post(&world, &cancel, b"k-cancel", body).await;
    first.ok();
    assert_replay(&first, &post(&world, &cancel, b"k-cancel", body).await);
    // The answers stay, although the coupon has changed since.
    let again = post(
        &world,
        &redeem,
        b"k-redeem",
        r#"{"userId":"u","orderAmount":15000,"orderId":"주문 1"}"#,
    )
    .await;
    assert!(again.replayed() && again.status == 200, "{again}");
    assert_eq!(world.ledger(&[]).await.len(), 3, "each effect once");
}

#[tokio::test]
async fn business_refusals_are_replayed_too() {
    let world = SHARED.world().await;
    let (_, other) = world.other_merchant().await;
    let soon = world.publish(&Template::default().starts(2)).await;
    let template = world.publish(&Template::default().issue_limit(1)).await;
    world.shop.issue(template, "u").await.ok();
    let issue = issue_path(template);
    for (key, path, user, code) in [
        ("k1", issue.as_str(), "u", "COUPON_ALREADY_ISSUED"),
        (
            "k2",
            &issue,
            "v",
            "COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED",
        ),
        (
            "k3",
            &issue_path(987_654_321),
            "u",
            "COUPON_TEMPLATE_NOT_FOUND",
        ),
        ("k4", &issue_path(soon), "u", "COUPON_NOT_ISSUABLE_PERIOD"),
    ] {
        let body = json!({"userId": user}).to_string();
        let first = post(&world, path, key.as_bytes(), &body).await;
        first.refused(code);
        assert_replay(&first, &post(&world, path, key.as_bytes(), &body).await);
    }
    let coupon = world.shop.coupon_of(template, "u").await;
    let first = other.redeem_with_key(&coupon, "u", 1, "o", "k").await;
    first.refused("COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT");
    assert_replay(
        &first,
        &other.redeem_with_key(&coupon, "u", 1, "o", "k").await,
    );
    let first = world.shop.cancel_with_key(&coupon, "o", "r", "k").await;
    first.refused("USER_COUPON_CANCEL_NOT_ALLOWED");
    world.shop.redeem(&coupon, "u", 5000, "o").await.ok();
    assert_replay(
        &first,
        &world.shop.cancel_with_key(&coupon, "o", "r", "k").await,
    );
}

#[tokio::test]
async fn another_body_is_a_mismatch_and_disturbs_nothing() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let issue = issue_path(template);
    let body = r#"{"userId":"u"}"#;
    let first = post(&world, &issue, b"key", body).await;
    first.ok();
    for other in [
        r#"{"userId":"v"}"#,
        r#"{"userId": "u"}"#,
        r#"{"userId":"u"} "#,
        "{",
        "",
        "[]",
        "\0",
    ] {
        let answer = post(&world, &issue, b"key", other).await;
        answer.refused("IDEMPOTENT_REQUEST_PAYLOAD_MISMATCH");
        assert!(!answer.replayed());
        assert_eq!(answer.header("Idempotency-Key").as_deref(), Some("key"));
    }
    assert_replay(&first, &post(&world, &issue, b"key", body).await);
}

#[tokio::test]
async fn the_scope_is_client_method_path_and_key() {
    let world = SHARED.world().await;
    let (other, other_shop) = world.other_merchant().await;
    let stranger = world.stranger().await;
    let theirs = stranger
        .create_template(other, Template::default().body())
        .await
        .ok()["id"]
        .as_i64()
        .unwrap();
    stranger.publish(other, theirs).await.ok();
    let (one, two) = (
        world.publish(&Template::default()).await,
        world.publish(&Template::default()).await,
    );
    for template in [one, two] {
        let answer = world.shop.issue_with_key(template, "u", "same").await;
        answer.ok();
        assert!(!answer.replayed(), "another path is another scope");
    }
    let answer = other_shop.issue_with_key(theirs, "u", "same").await;
    assert!(answer.status == 200 && !answer.replayed());
    let answer = other_shop.issue_with_key(one, "u", "same").await;
    assert!(!answer.replayed(), "another client is another scope");
    answer.refused("COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT");
    for key in ["Same", "same1"] {
        let answer = world.shop.issue_with_key(one, "u", key).await;
        assert!(!answer.replayed());
        answer.refused("COUPON_ALREADY_ISSUED");
    }
    // Another secret of the same client has the same keys.
    let mut rotated = world.shop.clone();
    let made = world.owner.create_secret(world.merchant).await;
    rotated.secret = made.ok()["secret"].as_str().unwrap().to_owned();
    assert!(rotated.issue_with_key(one, "u", "same").await.replayed());
}

#[tokio::test]
async fn two_spellings_of_one_path_are_one_scope() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let body = r#"{"userId":"spelt"}"#;
    let issue = issue_path(template);
    let first = post(&world, &issue, b"k-spelt", body).await;
    first.ok();
    let zeros = format!("/v1/coupon-templates/000{template}/issue");
    assert_replay(&first, &post(&world, &zeros, b"k-spelt", body).await);

    let coupon = world.shop.coupon_of(template, "spelt").await;
    let (encoded, rest) = coupon.split_at(1);
    let encoded = format!("%{:02x}{rest}", encoded.as_bytes()[0]);
    let body = r#"{"userId":"spelt","orderAmount":15000,"orderId":"o"}"#;
    let first = post(&world, &redeem_path(&encoded), b"k-spelt", body).await;
    first.ok();
    assert_replay(
        &first,
        &post(&world, &redeem_path(&coupon), b"k-spelt", body).await,
    );
    let body = r#"{"orderId":"o","cancelReason":""}"#;
    let first = post(&world, &cancel_path(&coupon), b"k-spelt", body).await;
    first.ok();
    assert_replay(
        &first,
        &post(&world, &cancel_path(&encoded), b"k-spelt", body).await,
    );
}

#[tokio::test]
async fn a_key_has_1_to_300_bytes() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let issue = issue_path(template);
    let (longest, too_long) = ("k".repeat(300), "k".repeat(301));
    let korean = "열".repeat(100);
    let too_korean = "열".repeat(101);
    for (user, key) in [
        ("a", b"k".as_slice()),
        ("b", longest.as_bytes()),
        ("c", korean.as_bytes()),
        ("d", b"\xff\x80"),
    ] {
        let body = json!({"userId": user}).to_string();
        let first = post(&world, &issue, key, &body).await;
        first.ok();
        let echoes: Vec<_> = first.headers.get_all("Idempotency-Key").iter().collect();
        assert_eq!(echoes.len(), 1, "echoed once");
        assert_eq!(echoes[0].as_bytes(), key);
        assert_replay(&first, &post(&world, &issue, key, &body).await);
    }
    for key in [b"".as_slice(), too_long.as_bytes(), too_korean.as_bytes()] {
        // The key is checked before the body.
        for body in [r#"{"userId":"z"}"#, "{"] {
            let answer = post(&world, &issue, key, body).await;
            assert!(answer.refused("INVALID_IDEMPOTENCY_KEY").is_null());
            assert!(answer.headers.get("Idempotency-Key").is_none());
        }
    }
    assert!(world.ledger(&[("userId", "z")]).await.is_empty());
}

#[tokio::test]
async fn a_bad_request_is_not_stored() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let issue = issue_path(template);
    for body in ["{", "[]", "{}", r#"{"userId":""}"#] {
        for _ in 0..2 {
            let answer = post(&world, &issue, b"free", body).await;
            answer.refused("BAD_REQUEST");
            assert_eq!(answer.header("Idempotency-Key").as_deref(), Some("free"));
            assert!(!answer.replayed());
        }
    }
    post(
        &world,
        "/v1/coupon-templates/x/issue",
        b"free",
        r#"{"userId":"u"}"#,
    )
    .await
    .bad_fields(&["couponTemplateId"]);
    let large = format!(r#"{{"userId":"u","padding":"{}"}}"#, "x".repeat(70_000));
    post(&world, &issue, b"free", &large)
        .await
        .refused("PAYLOAD_TOO_LARGE");
    let answer = post(&world, &issue, b"free", r#"{"userId":"u"}"#).await;
    answer.ok();
    assert!(!answer.replayed());
}

#[tokio::test]
async fn refused_credentials_come_first_and_bear_no_echo() {
    let world = SHARED.world().await;
    let mut shop = world.shop.clone();
    shop.secret = "sk_wrong".to_owned();
    let answer = shop.issue_with_key(1, "u", &"k".repeat(400)).await;
    answer.refused("INVALID_CREDENTIALS");
    assert!(answer.headers.get("Idempotency-Key").is_none());
}

#[tokio::test]
async fn a_key_on_a_read_means_nothing() {
    let world = SHARED.world().await;
    for _ in 0..2 {
        let call = world
            .shop
            .call("GET", "/v1/user-coupons?userId=u")
            .header("Idempotency-Key", "k".repeat(400));
        let answer = call.send().await;
        answer.ok();
        assert!(!answer.replayed());
    }
}

#[tokio::test]
async fn answers_survive_a_restart() {
    let world = World::with(goodpon_e2e::Options::default()).await;
    let template = world.publish(&Template::default()).await;
    let first = world.shop.issue_with_key(template, "u", "key").await;
    first.ok();
    let coupon = world.shop.coupon_of(template, "u").await;
    let redeemed = world
        .shop
        .redeem_with_key(&coupon, "u", 5000, "o", "key")
        .await;
    redeemed.ok();
    world.server().kill9();
    world.server().restart();
    assert_replay(
        &first,
        &world.shop.issue_with_key(template, "u", "key").await,
    );
    assert_replay(
        &redeemed,
        &world
            .shop
            .redeem_with_key(&coupon, "u", 5000, "o", "key")
            .await,
    );
}

/// Holds SQLite's write lock, so that a request that has begun cannot finish.
fn hold_write_lock(world: &World) -> rusqlite::Connection {
    let connection =
        rusqlite::Connection::open(world.server().data_dir().join("goodpon.db")).unwrap();
    connection
        .busy_timeout(std::time::Duration::from_secs(10))
        .unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
}

#[tokio::test]
async fn a_key_whose_request_still_runs_is_a_conflict() {
    let world = World::with(goodpon_e2e::Options::default().embedded()).await;
    let template = world.publish(&Template::default()).await;
    let lock = hold_write_lock(&world);
    let shop = world.shop.clone();
    let first = tokio::spawn(async move { shop.issue_with_key(template, "u", "key").await });
    // Sent after the first or before it: one of the two runs, the other meets it.
    let second = world.shop.issue_with_key(template, "u", "key");
    let other_body = world.shop.issue_with_key(template, "v", "key");
    let conflicts = async {
        let (second, other_body) = futures::join!(second, other_body);
        [second, other_body]
    };
    let (first, conflicts) = {
        // All three wait for one lock; the first of them goes on once it is free.
        let mut conflicts = Box::pin(conflicts);
        let early = tokio::time::timeout(std::time::Duration::from_secs(5), &mut conflicts).await;
        lock.execute_batch("ROLLBACK").unwrap();
        drop(lock);
        let late = match early {
            Ok(answers) => answers,
            Err(_) => conflicts.await,
        };
        (first.await.unwrap(), late)
    };
    let mut all = vec![first];
    all.extend(conflicts);
    let refused: Vec<_> = all
        .iter()
        .filter(|answer| answer.code() == Some("IDEMPOTENT_REQUEST_PROCESSING"))
        .collect();
    assert!(!refused.is_empty(), "{all:?}");
    for answer in &refused {
        answer.refused("IDEMPOTENT_REQUEST_PROCESSING");
        assert_eq!(answer.header("Idempotency-Key").as_deref(), Some("key"));
    }
    let ran: Vec<_> = all
        .iter()
        .filter(|answer| answer.status == 200 && !answer.replayed())
        .collect();
    assert_eq!(ran.len(), 1, "{all:?}");
    let entries = world.ledger(&[]).await;
    assert_eq!(entries.len(), 1);
    let user: &Value = &entries[0]["userId"];
    let again = world
        .shop
        .issue_with_key(template, user.as_str().unwrap(), "key")
        .await;
    assert!(
        again.replayed() && again.bytes == ran[0].bytes,
        "a conflict disturbs nothing: {again}"
    );
}
