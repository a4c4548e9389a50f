#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use goodpon_web::rate_limit::KeyedLimiter;
use goodpon_web::trace::TRACE_HEADER;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::stub;

const KNOWN: [(&str, &str); 2] = [
    ("x-goodpon-client-id", stub::KNOWN_ID),
    ("x-goodpon-client-secret", stub::KNOWN_SECRET),
];

async fn send(call: &str, headers: &[(&str, &str)]) -> Response {
    send_body(call, headers, Body::empty()).await
}

fn settings() -> ApiSettings {
    ApiSettings {
        request_timeout: Duration::from_secs(5),
        body_timeout: Duration::from_secs(10),
        docs: true,
        hsts_seconds: 0,
        trusts_forwarded_for: true,
    }
}

fn limits() -> PartnerLimits {
    PartnerLimits {
        calls: KeyedLimiter::per_second(0),
        auth_failures: KeyedLimiter::per_minute(0),
    }
}

async fn send_body(call: &str, headers: &[(&str, &str)], body: Body) -> Response {
    send_to(
        &service(stub::app(), limits(), &settings()),
        call,
        headers,
        body,
    )
    .await
}

async fn send_to(api: &Api, call: &str, headers: &[(&str, &str)], body: Body) -> Response {
    let (method, path) = call.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).unwrap();
    api.clone().oneshot(request).await.unwrap()
}

async fn code(call: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let response = send(call, headers).await;
    assert!(response.headers().contains_key(TRACE_HEADER));
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    (status, answer["error"]["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn credentials_come_before_paths_and_methods() {
    let id = (
        "x-goodpon-client-id",
        " ck_22222222222222222222222222222222 ",
    );
    let secret = ("x-goodpon-client-secret", stub::KNOWN_SECRET);
    let blank = ("x-goodpon-client-secret", "  ");
    for (call, headers, status, expected) in [
        ("GET /v1/nothing", &[secret][..], 400, "CLIENT_ID_MISSING"),
        ("GET /v1/nothing", &[id], 400, "CLIENT_SECRET_MISSING"),
        (
            "PUT /v1/user-coupons",
            &[id, blank],
            400,
            "CLIENT_SECRET_MISSING",
        ),
        ("GET /v1/nothing", &[id, secret], 503, "SERVICE_UNAVAILABLE"),
        (
            "GET /v1/nothing",
            &[("x-goodpon-client-id", "ck_2"), secret],
            401,
            "INVALID_CREDENTIALS",
        ),
        (
            "GET /v1/nothing",
            &[id, secret, id],
            401,
            "INVALID_CREDENTIALS",
        ),
        (
            "GET /v1/nothing",
            &[KNOWN[0], secret, secret],
            401,
            "INVALID_CREDENTIALS",
        ),
        ("GET /docs/nothing", &[], 404, "NOT_FOUND"),
        ("POST /docs/", &[], 405, "METHOD_NOT_ALLOWED"),
    ] {
        let answered = code(call, headers).await;
        assert_eq!(answered, (status, expected.to_owned()), "{call}");
    }
}

#[tokio::test]
async fn a_header_that_may_stand_once_and_stands_twice_is_refused() {
    let [id, secret] = KNOWN;
    let key = ("idempotency-key", "order-1");
    let issue = "POST /v1/coupon-templates/1/issue";
    for (headers, status, expected) in [
        (&[id, id, secret][..], 401, "INVALID_CREDENTIALS"),
        (&[id, secret, secret], 401, "INVALID_CREDENTIALS"),
        (&[id, secret, key, key], 400, "INVALID_IDEMPOTENCY_KEY"),
        (&[secret, secret], 400, "CLIENT_ID_MISSING"),
        (&[id, secret], 400, "BAD_REQUEST"),
    ] {
        let answered = code(issue, headers).await;
        assert_eq!(answered, (status, expected.to_owned()), "{headers:?}");
    }
}

#[tokio::test]
async fn docs_need_no_credentials() {
    for path in ["GET /docs/", "GET /openapi.json"] {
        assert_eq!(send(path, &[]).await.status(), 200, "{path}");
        let large = Body::from("x".repeat(64 * 1024 + 1));
        assert_eq!(send_body(path, &[], large).await.status(), 413, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_echoed_on_every_answer_after_authentication_and_on_none_before() {
    let issue = "POST /v1/coupon-templates/1/issue";
    let key = ("idempotency-key", "order-1");
    let known = [KNOWN[0], KNOWN[1], key];
    let wrong = [KNOWN[0], ("x-goodpon-client-secret", "sk_wrong"), key];
    let large = "x".repeat(64 * 1024 + 1);
    for (call, headers, body, status, echoed) in [
        (issue, &known[..], r#"{"userId":"kim"}"#, 503, true),
        (issue, &known, r#"{"userId":"slow"}"#, 503, true),
        (issue, &known, r#"{"userId":"panic"}"#, 500, true),
        (issue, &wrong, r#"{"userId":"slow"}"#, 401, false),
        (issue, &[key], r#"{"userId":"slow"}"#, 400, false),
        (issue, &known, &large, 413, false),
        ("GET /v1/user-coupons", &known, "", 400, false),
    ] {
        let response = send_body(call, headers, Body::from(body.to_owned())).await;
        assert_eq!(response.status(), status, "{call}");
        let echo: Vec<_> = response
            .headers()
            .get_all("idempotency-key")
            .iter()
            .collect();
        let expected = if echoed { vec!["order-1"] } else { vec![] };
        assert_eq!(echo, expected, "{call} {status}");
    }
    let long = "x".repeat(301);
    for invalid in ["", long.as_str()] {
        let headers = [KNOWN[0], KNOWN[1], ("idempotency-key", invalid)];
        let response = send_body(issue, &headers, Body::from("{}")).await;
        assert_eq!(response.status(), 400);
        assert!(!response.headers().contains_key("idempotency-key"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_that_runs_out_before_authentication_echoes_nothing() {
    let stuck = Body::from_stream(futures::stream::pending::<Result<&str, std::io::Error>>());
    let headers = [KNOWN[0], KNOWN[1], ("idempotency-key", "order-1")];
    let response = send_body("POST /v1/coupon-templates/1/issue", &headers, stuck).await;
    assert_eq!(response.status(), 503);
    assert!(!response.headers().contains_key("idempotency-key"));
}

#[tokio::test]
async fn allowed_methods_are_named_with_a_405_only() {
    for (headers, status) in [(&KNOWN[..0], 400), (&KNOWN[..1], 400), (&KNOWN[..], 405)] {
        let response = send("PUT /v1/user-coupons", headers).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().contains_key("allow"), status == 405);
    }
}

/// The statuses of `count` requests with these headers.
async fn statuses(api: &Api, headers: &[(&str, &str)], count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        let response = send_to(api, "GET /v1/nothing", headers, Body::empty()).await;
        statuses.push(response.status().as_u16());
    }
    statuses
}

#[tokio::test]
async fn wrong_secrets_use_nothing_up_of_the_clients_own_rate() {
    let limits = PartnerLimits {
        calls: KeyedLimiter::per_second(3),
        ..limits()
    };
    let api = service(stub::app(), limits, &settings());
    let wrong = ("x-goodpon-client-secret", "sk_wrong");
    assert_eq!(statuses(&api, &[KNOWN[0], wrong], 20).await, [401; 20]);
    let own = statuses(&api, &KNOWN, 4).await;
    assert_eq!(
        own,
        [404, 404, 404, 429],
        "authenticated, counted, then the path"
    );
    let keyed = [KNOWN[0], KNOWN[1], ("idempotency-key", "order-1")];
    for (call, echoed) in [
        ("POST /v1/coupon-templates/1/issue", true),
        ("GET /v1/coupon-templates/1", false),
        ("POST /v1/nothing/issue", false),
    ] {
        let response = send_to(&api, call, &keyed, Body::from("{}")).await;
        assert_eq!(response.status(), 429);
        assert_eq!(
            response.headers().contains_key("idempotency-key"),
            echoed,
            "{call}"
        );
    }
}

#[tokio::test]
async fn beyond_its_rate_a_call_echoes_a_key_where_its_document_takes_one() {
    let limits = PartnerLimits {
        calls: KeyedLimiter::per_minute(1),
        ..limits()
    };
    let api = service(stub::app(), limits, &settings());
    let keyed = [KNOWN[0], KNOWN[1], ("idempotency-key", "order-1")];
    assert_eq!(statuses(&api, &keyed, 2).await, [404, 429]);
    let document = serde_json::to_value(document()).unwrap();
    let mut calls = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().unwrap();
            let is_key = |parameter: &Value| parameter["name"] == "Idempotency-Key";
            let path = path.replace("{couponTemplateId}", "1");
            let call = format!("{} {path}", method.to_uppercase());
            let response = send_to(&api, &call, &keyed, Body::from("{}")).await;
            assert_eq!(response.status(), 429);
            let echoes = response.headers().contains_key("idempotency-key");
            assert_eq!(echoes, parameters.iter().any(is_key), "{call}");
            calls += 1;
        }
    }
    assert_eq!(calls, 6);
}

#[tokio::test]
async fn an_address_that_fails_too_often_is_refused_but_for_what_is_good() {
    let limits = PartnerLimits {
        auth_failures: KeyedLimiter::per_minute(5),
        ..limits()
    };
    let api = service(stub::app(), limits, &settings());
    let wrong = (
        "x-goodpon-client-secret",
        "sk_66666666666666666666666666666666",
    );
    let from = ("x-forwarded-for", "192.0.2.1");
    let refused = statuses(&api, &[KNOWN[0], wrong, from], 8).await;
    assert_eq!(refused, [401, 401, 401, 401, 401, 429, 429, 429]);
    let good = [KNOWN[0], KNOWN[1], from];
    assert_eq!(statuses(&api, &good, 2).await, [404, 404]);
    let malformed = [("x-goodpon-client-id", "x"), wrong, from];
    assert_eq!(statuses(&api, &malformed, 1).await, [429]);
    let elsewhere = [KNOWN[0], wrong, ("x-forwarded-for", "192.0.2.2")];
    assert_eq!(statuses(&api, &elsewhere, 1).await, [401]);
}

#[tokio::test]
async fn wrong_secrets_reach_the_store_every_100_ms_at_most() {
    let lookups = Arc::new(AtomicUsize::new(0));
    let app = stub::app_that_counts(Arc::clone(&lookups));
    let api = service(app, limits(), &settings());
    let wrong = (
        "x-goodpon-client-secret",
        "sk_66666666666666666666666666666666",
    );
    let headers = [KNOWN[0], wrong];
    assert_eq!(statuses(&api, &KNOWN, 3).await, [404; 3]);
    let began = Instant::now();
    let flood = (0..64).map(|_| statuses(&api, &headers, 4));
    for refused in futures::future::join_all(flood).await {
        assert_eq!(refused, [401; 4]);
    }
    let most = 2 + began.elapsed().as_millis() as usize / 100;
    let asked = lookups.load(Ordering::Relaxed);
    assert!(
        (4..=most).contains(&asked),
        "{asked} look-ups, {most} at most"
    );
}

#[tokio::test]
async fn unknown_client_ids_are_looked_up_once_a_second() {
    let lookups = Arc::new(AtomicUsize::new(0));
    let app = stub::app_that_counts(Arc::clone(&lookups));
    let api = service(app, limits(), &settings());
    let headers = [
        ("x-goodpon-client-id", "ck_00000000000000000000000000000000"),
        KNOWN[1],
    ];
    assert_eq!(statuses(&api, &headers, 50).await, [401; 50]);
    assert!(lookups.load(Ordering::Relaxed) <= 2);
    let malformed = [
        ("x-goodpon-client-id", "ck_0000000000000000000000000000000G"),
        KNOWN[1],
    ];
    let before = lookups.load(Ordering::Relaxed);
    assert_eq!(statuses(&api, &malformed, 50).await, [401; 50]);
    assert_eq!(
        lookups.load(Ordering::Relaxed),
        before,
        "of no form that an id has"
    );
}
