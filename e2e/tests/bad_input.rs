//! Bad input of every kind: the right 4xx with every field at fault, never a 500, nothing changed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::actors::{cancel_path, issue_path, redeem_path};
use goodpon_e2e::{Answer, Api, Shared, Template};
use serde_json::json;

static SHARED: Shared = Shared::new();

/// Bodies that are no JSON object, for any call.
fn broken_bodies() -> Vec<Vec<u8>> {
    let deep = |open: &str, close: &str, depth: usize| {
        format!("{}{}", open.repeat(depth), close.repeat(depth))
    };
    let mut bodies: Vec<Vec<u8>> = [
        "",
        " ",
        "{",
        "}",
        "{\"userId\":",
        "{\"userId\"}",
        "{'userId':'u'}",
        "{\"userId\":\"u\",}",
        "{userId:\"u\"}",
        "nul",
        "null",
        "true",
        "7",
        "\"text\"",
        "[]",
        "[{}]",
        "{} {}",
        "{}x",
        "\u{feff}{\"userId\":\"u\"",
        "{\"userId\":\"\\x\"}",
        "{\"userId\":\"u\"",
        "NaN",
        "{\"userId\":01}",
        "{\"userId\":\"a\nb\"}",
        "<xml/>",
        "userId=u",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.push(deep("[", "]", 30_000).into_bytes());
    bodies.push(deep("{\"a\":", "}", 10_000).into_bytes());
    bodies.push(b"{\"userId\":\"\xff\xfe\"}".to_vec());
    bodies.push(b"\0".to_vec());
    bodies.push(b"{\"userId\":\"\xed\xa0\x80\"}".to_vec());
    bodies
}

#[tokio::test]
async fn a_body_that_is_no_json_object_gets_a_refusal_without_fields() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    for body in broken_bodies() {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        for path in [issue_path(template), redeem_path("x"), cancel_path("x")] {
            let answer = world
                .shop
                .call("POST", &path)
                .body(body.clone())
                .send()
                .await;
            assert_eq!(answer.status, 400, "{shown}: {answer}");
            answer.bad_body();
        }
        for path in [
            "/v1/accounts/sign-up",
            "/v1/auth/login",
            "/v1/auth/verify",
            "/v1/auth/verify/resend",
        ] {
            world
                .client
                .call(Api::Dashboard, "POST", path)
                .body(body.clone())
                .send()
                .await
                .bad_body();
        }
        let merchants = "/v1/merchants".to_owned();
        let templates = format!("/v1/merchants/{}/coupon-templates", world.merchant);
        let members = format!("/v1/merchants/{}/members", world.merchant);
        let discard = format!("{templates}/{template}/discard");
        for path in [merchants, templates, members, discard] {
            let answer = world
                .owner
                .call("POST", &path)
                .body(body.clone())
                .send()
                .await;
            assert_eq!(answer.status, 400, "{shown}: {answer}");
            answer.bad_body();
        }
    }
    assert!(world.ledger(&[]).await.is_empty(), "nothing changed");
    assert_eq!(
        world.owner.template(world.merchant, template).await.ok()["status"],
        "ISSUABLE"
    );
}

#[tokio::test]
async fn nested_surplus_within_reason_is_ignored() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let nested = format!("{}{}", "[".repeat(50), "]".repeat(50));
    let body = format!(r#"{{"surplus":{nested},"userId":"u","more":{{"userId":"v"}}}}"#);
    world
        .shop
        .call("POST", &issue_path(template))
        .body(body)
        .send()
        .await
        .ok();
    assert_eq!(world.ledger(&[]).await[0]["userId"], "u");
}

#[tokio::test]
async fn wrong_types_name_every_field() {
    let world = SHARED.world().await;
    for wrong in [
        json!([]),
        json!({}),
        json!(true),
        json!(null),
        json!([["u"]]),
    ] {
        let body = json!({"userId": wrong, "orderAmount": wrong, "orderId": wrong});
        let answer = world.shop.post(&redeem_path("x"), &body, None).await;
        answer.bad_fields(&["userId", "orderAmount", "orderId"]);
        let body = json!({"orderId": wrong, "cancelReason": wrong});
        world
            .shop
            .post(&cancel_path("x"), &body, None)
            .await
            .bad_fields(&["orderId", "cancelReason"]);
        let answer = world
            .shop
            .post(
                "/v1/coupon-templates/x/issue",
                &json!({"userId": wrong}),
                None,
            )
            .await;
        answer.bad_fields(&["couponTemplateId", "userId"]);
    }
}

#[tokio::test]
async fn nul_and_lone_surrogates_are_refused_by_field() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let issue = async |text: &str| {
        let body = format!(r#"{{"userId":"{text}"}}"#);
        world
            .shop
            .call("POST", &issue_path(template))
            .body(body)
            .send()
            .await
    };
    for text in [r"\u0000", r"a\u0000b"] {
        issue(text).await.bad_fields(&["userId"]);
    }
    for text in [r"\ud800", r"a\udc00", r"\udc00\ud800", r"\ud83dx"] {
        let answer = issue(text).await;
        assert_eq!(answer.status, 400, "{text}: {answer}");
        answer.refused("BAD_REQUEST");
    }
    issue(r"\ud83d\ude00").await.ok();
    assert_eq!(world.ledger(&[]).await.len(), 1);
    for (field, template) in [
        ("name", Template::default().name("a\0b")),
        ("description", Template::default().set("description", "\0")),
    ] {
        world
            .owner
            .create_template(world.merchant, template.body())
            .await
            .bad_fields(&[field]);
    }
    world
        .anonymous
        .sign_up("nul@example.com", "password\0x", "이\0름")
        .await
        .bad_fields(&["password", "name"]);
    for query in ["userId=%00", "userId=a%00b", "userId=%ff%fe"] {
        let answer = world
            .shop
            .call("GET", &format!("/v1/user-coupons?{query}"))
            .send()
            .await;
        answer.bad_fields(&["userId"]);
    }
    let path = format!(
        "/v1/merchants/{}/coupon-histories?userId=%00&orderId=%ff",
        world.merchant
    );
    world
        .owner
        .get(&path)
        .await
        .bad_fields(&["userId", "orderId"]);
}

#[tokio::test]
async fn numbers_that_are_none_of_ours() {
    let world = SHARED.world().await;
    for number in [
        "18446744073709551616",
        "9223372036854775808",
        "-9223372036854775809",
        "1e400",
        "1e19",
        "-1",
        "0.1",
        "1.5",
        "1e-1",
        "\"0x10\"",
        "\"1 000\"",
        "\"１００\"",
        "\"-\"",
        "\"1e\"",
        "1000000000000.1",
        "1000000000001",
        "\"999999999999999999999999999999999999999\"",
        "1e2147483648",
        "1E999999999999999999999",
    ] {
        let body = format!(r#"{{"userId":"u","orderAmount":{number},"orderId":"o"}}"#);
        let answer = world
            .shop
            .call("POST", &redeem_path("x"))
            .body(body)
            .send()
            .await;
        assert_eq!(answer.code(), Some("BAD_REQUEST"), "{number}: {answer}");
        answer.bad_fields(&["orderAmount"]);
    }
    for id in [
        "9223372036854775808",
        "-9223372036854775809",
        "+",
        "1%00",
        "%ff",
        "1.5",
        "１",
    ] {
        let path = format!("/v1/coupon-templates/{id}/issue");
        world
            .shop
            .post(&path, &json!({"userId": "u"}), None)
            .await
            .bad_fields(&["couponTemplateId"]);
    }
    for id in ["0", "-0", "-1", "-9223372036854775808"] {
        let path = format!("/v1/coupon-templates/{id}/issue");
        world
            .shop
            .post(&path, &json!({"userId": "u"}), None)
            .await
            .refused("COUPON_TEMPLATE_NOT_FOUND");
    }
}

#[tokio::test]
async fn repeated_keys_and_parameters_do_no_harm() {
    let world = SHARED.world().await;
    let body = r#"{"userId":"a","userId":"b"}"#;
    let answer = world
        .shop
        .call("POST", &issue_path(0))
        .body(body)
        .send()
        .await;
    assert!([400, 404].contains(&answer.status), "{answer}");
    let answer = world
        .shop
        .call("GET", "/v1/user-coupons?userId=a&userId=b")
        .send()
        .await;
    assert!([200, 400].contains(&answer.status), "{answer}");
    answer.assert_envelope();
}

#[tokio::test]
async fn the_content_type_is_no_concern() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    for (number, kind) in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "",
    ]
    .iter()
    .enumerate()
    {
        let request = world.client.http().post(format!(
            "{}{}",
            world.server().base(Api::Partner),
            issue_path(template)
        ));
        let request = request
            .header("X-Goodpon-Client-Id", &world.shop.client_id)
            .header("X-Goodpon-Client-Secret", &world.shop.secret)
            .header("Content-Type", *kind)
            .body(json!({"userId": format!("u{number}")}).to_string());
        assert_eq!(request.send().await.unwrap().status(), 200, "{kind:?}");
    }
}

#[tokio::test]
async fn everything_unknown_is_in_the_envelope() {
    let world = SHARED.world().await;
    let check = |answer: Answer, code: &str| {
        answer.refused(code);
    };
    for path in [
        "/v1",
        "/v2/user-coupons",
        "/v1/user-coupons/",
        "/v1//user-coupons",
        "/v1/coupon-templates",
        "/%00",
    ] {
        check(world.shop.call("GET", path).send().await, "NOT_FOUND");
    }
    for path in [
        "/v1/merchants/",
        "/v1/accounts/x",
        "/v1/merchants/1/nothing",
        "/v1/MERCHANTS",
    ] {
        check(world.owner.get(path).await, "NOT_FOUND");
    }
    for (method, path) in [
        ("GET", issue_path(1)),
        ("PUT", redeem_path("x")),
        ("PATCH", "/v1/user-coupons".to_owned()),
    ] {
        check(
            world.shop.call(method, &path).send().await,
            "METHOD_NOT_ALLOWED",
        );
    }
    check(
        world
            .client
            .call(Api::Dashboard, "GET", "/v1/auth/login")
            .send()
            .await,
        "METHOD_NOT_ALLOWED",
    );
}
