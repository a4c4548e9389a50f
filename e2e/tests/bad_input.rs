//! Bad input of every kind: the right 4xx with every field at fault, never a 500, nothing changed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::actors::{cancel_path, issue_path, redeem_path};
use goodpon_e2e::raw::exchange;
use goodpon_e2e::{Answer, Api, Options, Shared, Template, World};
use serde_json::json;

static SHARED: Shared = Shared::new();

/// Bodies that are no JSON object, whatever was wanted.
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
async fn a_body_that_is_no_json_object_tells_no_fields() {
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
        "1e3",
        "+",
        "1%00",
        "%ff",
        "1.0",
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
async fn bodies_of_ten_megabytes_are_refused() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let large = vec![b'x'; 10 << 20];
    for (address, path, head) in [
        (
            world.server().addr(Api::Partner),
            issue_path(template),
            format!(
                "X-Goodpon-Client-Id: {}\r\nX-Goodpon-Client-Secret: {}\r\n",
                world.shop.client_id, world.shop.secret
            ),
        ),
        (
            world.server().addr(Api::Dashboard),
            "/v1/auth/login".to_owned(),
            String::new(),
        ),
    ] {
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {}\r\nConnection: close\r\n\r\n",
            large.len()
        )
        .into_bytes();
        bytes.extend(&large);
        let answer = exchange(address, &bytes).await;
        // A peer that closes early may cut our write short and its own answer with it.
        assert!([413, 0].contains(&answer.status), "{}", answer.text);
    }
    let limit = 64 * 1024;
    let sized = |size: usize| {
        let frame = r#"{"userId":"u","padding":""}"#.len();
        format!(
            r#"{{"userId":"u","padding":"{}"}}"#,
            "x".repeat(size - frame)
        )
    };
    let send = async |body: String| {
        world
            .shop
            .call("POST", &issue_path(template))
            .body(body)
            .send()
            .await
    };
    send(sized(limit + 1)).await.refused("PAYLOAD_TOO_LARGE");
    assert!(world.ledger(&[]).await.is_empty());
    send(sized(limit)).await.ok();
    let body = format!(
        r#"{{"email":"a@example.com","password":"{}"}}"#,
        "x".repeat(limit)
    );
    world
        .client
        .call(Api::Dashboard, "POST", "/v1/auth/login")
        .body(body)
        .send()
        .await
        .refused("PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn chunked_bodies_count_the_same() {
    let world = SHARED.world().await;
    let chunk = format!("{:x}\r\n{}\r\n", 16_384, "x".repeat(16_384));
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nX-Goodpon-Client-Id: {}\r\nX-Goodpon-Client-Secret: {}\r\n",
        issue_path(1),
        world.shop.client_id,
        world.shop.secret
    );
    let bytes = format!(
        "{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(5)
    );
    let answer = exchange(world.server().addr(Api::Partner), bytes.as_bytes()).await;
    assert_eq!(answer.status, 413, "{}", answer.text);
    assert!(answer.text.contains("PAYLOAD_TOO_LARGE"), "{}", answer.text);
}

#[tokio::test]
async fn slow_bodies_and_slow_headers_are_cut_off() {
    let options =
        Options::default().args(["--body-timeout-secs", "1", "--header-timeout-secs", "1"]);
    let world = World::with(options).await;
    let address = world.server().addr(Api::Partner);
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nX-Goodpon-Client-Id: {}\r\nX-Goodpon-Client-Secret: {}\r\n",
        issue_path(1),
        world.shop.client_id,
        world.shop.secret
    );
    let slow = format!("{head}Content-Length: 500\r\n\r\n{{\"userId\":");
    let answer = exchange(address, slow.as_bytes()).await;
    assert!(
        answer.status == 0 || (400..500).contains(&answer.status),
        "{}",
        answer.text
    );
    let answer = exchange(address, b"GET /v1/user-coupons HTTP/1.1\r\nHost:").await;
    assert!(
        answer.status == 0 || (400..500).contains(&answer.status),
        "{}",
        answer.text
    );
    world.shop.coupons("u").await.ok();
}

#[tokio::test]
async fn absurd_headers_and_requests_are_no_500() {
    let world = SHARED.world().await;
    let addresses = [
        world.server().addr(Api::Partner),
        world.server().addr(Api::Dashboard),
    ];
    let long = "x".repeat(500_000);
    let many: String = (0..2000)
        .map(|number| format!("X-H{number}: v\r\n"))
        .collect();
    let requests: Vec<Vec<u8>> = vec![
        format!("GET /v1/merchants HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\nConnection: close\r\n\r\n").into_bytes(),
        format!("GET /v1/merchants HTTP/1.1\r\nHost: x\r\n{many}Connection: close\r\n\r\n").into_bytes(),
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes(),
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03garbage\r\n\r\n".to_vec(),
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\nConnection: close\r\n\r\n".to_vec(),
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}".to_vec(),
        b"GET /v1/user-coupons?userId=%zz&%%%=& HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
    ];
    for request in requests {
        for address in addresses {
            let answer = exchange(address, &request).await;
            assert!(
                answer.status == 0 || (400..500).contains(&answer.status),
                "{}",
                answer.text
            );
        }
    }
    let call = world
        .shop
        .call("GET", "/v1/user-coupons?userId=u")
        .header("Accept", "text/html; q=nonsense, \"");
    call.header("Content-Type", "???")
        .header("traceparent", b"\xff\xff".as_slice())
        .send()
        .await
        .ok();
    world.owner.me().await.ok();
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
