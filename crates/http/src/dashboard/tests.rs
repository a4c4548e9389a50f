#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use goodpon_web::login_limit::LoginLimit;
use goodpon_web::rate_limit::KeyedLimiter;
use goodpon_web::trace::TRACE_HEADER;
use http::StatusCode;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::stub;

const ORIGIN: &str = "https://console.example.com";

fn settings() -> ApiSettings {
    ApiSettings {
        request_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(10),
        docs: true,
        hsts_seconds: 0,
        trusts_forwarded_for: true,
    }
}

/// No limits but two failed logins a minute.
fn limits() -> DashboardLimits {
    DashboardLimits {
        calls: KeyedLimiter::per_minute(0),
        auth_failures: Arc::new(KeyedLimiter::per_minute(0)),
        logins: Arc::new(LoginLimit::per_minute(2)),
        sign_ups: OpenCallLimit::per_minute(0),
        verifications: OpenCallLimit::per_minute(0),
        resends: OpenCallLimit::per_minute(0),
    }
}

struct Client(Api);

impl Client {
    fn new() -> Self {
        Self::with(limits(), &settings())
    }

    fn with(limits: DashboardLimits, settings: &ApiSettings) -> Self {
        Self(service(stub::app(), limits, settings, &[ORIGIN.to_owned()]))
    }

    async fn send(&self, call: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let (method, path) = call.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.0.clone().oneshot(request).await.unwrap()
    }

    /// Returns the status and code of an answer, which has to be in the envelope.
    async fn code(&self, call: &str, token: Option<&str>) -> (u16, String) {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer
            .iter()
            .map(|b| ("authorization", b.as_str()))
            .collect();
        let response = self.send(call, &headers, "").await;
        assert!(response.headers().contains_key(TRACE_HEADER));
        let status = response.status().as_u16();
        (status, code(response).await)
    }
}

async fn code(response: Response) -> String {
    let answer: Value = serde_json::from_str(&text(response).await).unwrap();
    let code = answer["error"]["code"].as_str().unwrap_or("SUCCESS");
    code.to_owned()
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn checks_come_in_the_order_of_the_contract() {
    let client = Client::new();
    for (call, token, status, expected) in [
        ("GET /v1/nothing", None, 401, "UNAUTHORIZED"),
        ("PATCH /v1/merchants", None, 401, "UNAUTHORIZED"),
        ("GET /v1/merchants/x", Some("forged"), 401, "UNAUTHORIZED"),
        (
            "GET /v1/nothing",
            Some("unverified"),
            403,
            "ACCOUNT_NOT_VERIFIED",
        ),
        ("GET /v1/accounts", Some("unverified"), 200, "SUCCESS"),
        ("GET /v1/accounts", Some("owner"), 200, "SUCCESS"),
        ("GET /v1/accounts", Some("lost"), 503, "SERVICE_UNAVAILABLE"),
        ("GET /v1/nothing", Some("owner"), 404, "NOT_FOUND"),
        ("GET /", Some("owner"), 404, "NOT_FOUND"),
        ("GET /v1/merchants/", Some("owner"), 404, "NOT_FOUND"),
        (
            "PATCH /v1/merchants",
            Some("owner"),
            405,
            "METHOD_NOT_ALLOWED",
        ),
        ("GET /v1/auth/login", None, 405, "METHOD_NOT_ALLOWED"),
        ("GET /v1/merchants/x", Some("owner"), 400, "BAD_REQUEST"),
        ("POST /v1/merchants", Some("owner"), 400, "BAD_REQUEST"),
        (
            "GET /v1/merchants",
            Some("owner"),
            503,
            "SERVICE_UNAVAILABLE",
        ),
        ("POST /v1/auth/verify", Some("forged"), 400, "BAD_REQUEST"),
        ("GET /docs/nothing", None, 404, "NOT_FOUND"),
        ("POST /docs", None, 405, "METHOD_NOT_ALLOWED"),
        ("GET /docsx", None, 401, "UNAUTHORIZED"),
    ] {
        let answered = client.code(call, token).await;
        assert_eq!(answered, (status, expected.to_owned()), "{call} {token:?}");
    }
}

/// A path that matches a documented one.
fn path_of(pattern: &str) -> String {
    let segment = |segment: &str| match segment.starts_with('{') {
        true => "1".to_owned(),
        false => segment.to_owned(),
    };
    pattern
        .split('/')
        .map(segment)
        .collect::<Vec<_>>()
        .join("/")
}

#[tokio::test]
async fn every_call_is_open_where_its_document_says_so_and_nowhere_else() {
    let client = Client::new();
    let document = serde_json::to_value(document()).unwrap();
    let mut calls = 0;
    for (pattern, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let call = format!("{} {}", method.to_uppercase(), path_of(pattern));
            let is_open = operation["security"].is_null();
            let (status, code) = client.code(&call, None).await;
            assert_eq!(status != 401, is_open, "{call} {code}");
            let allowed = operation["responses"]["403"]["content"].to_string();
            let for_verified = allowed.contains("ACCOUNT_NOT_VERIFIED");
            let (_, code) = client.code(&call, Some("unverified")).await;
            assert_eq!(code == "ACCOUNT_NOT_VERIFIED", for_verified, "{call}");
            calls += 1;
        }
    }
    assert_eq!(calls, 18);
}

#[tokio::test]
async fn a_wrong_method_is_answered_with_the_right_ones() {
    let owner = [("authorization", "bearer owner")];
    let response = Client::new().send("PUT /v1/merchants", &owner, "").await;
    let allowed = response.headers()[ALLOW].to_str().unwrap();
    let allowed: Vec<_> = allowed.split(',').collect();
    assert!(
        allowed.contains(&"GET") && allowed.contains(&"POST"),
        "{allowed:?}"
    );
}

#[tokio::test]
async fn methods_are_not_named_before_authentication() {
    let large = "x".repeat(64 * 1024 + 1);
    let client = Client::new();
    for (call, body, status) in [
        ("PUT /v1/merchants", "", 401),
        ("PUT /v1/merchants", &large, 413),
        ("PUT /v1/auth/login", "", 405),
    ] {
        let response = client.send(call, &[], body).await;
        assert_eq!(response.status(), status, "{call}");
        assert_eq!(response.headers().contains_key(ALLOW), status == 405);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_comes_first() {
    let large = "x".repeat(64 * 1024 + 1);
    for docs in [true, false] {
        let settings = ApiSettings { docs, ..settings() };
        let client = Client::with(limits(), &settings);
        for call in [
            "POST /v1/nothing",
            "GET /docs",
            "POST /docs/",
            "PUT /docs/index.css",
            "GET /openapi.json",
        ] {
            let response = client.send(call, &[], &large).await;
            assert_eq!(response.status(), 413, "{call}, docs: {docs}");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        }
    }
}

/// Logs in. Returns the code of the answer, which says when to retry if a retry may help.
async fn log_in(client: &Client, address: &str, email: &str) -> String {
    let body = format!(r#"{{"email":"{email}","password":"x"}}"#);
    let from = [("x-forwarded-for", address)];
    let response = client.send("POST /v1/auth/login", &from, &body).await;
    let says_when = response.headers().contains_key(RETRY_AFTER);
    assert_eq!(says_when, [429, 503].contains(&response.status().as_u16()));
    code(response).await
}

#[tokio::test]
async fn failed_logins_are_limited_by_address_and_email_together() {
    let client = Client::new();
    for (address, email, expected) in [
        ("1.1.1.1", "nobody@b.co", "ACCOUNT_NOT_FOUND"),
        ("1.1.1.1", "Nobody@B.co", "ACCOUNT_NOT_FOUND"),
        ("1.1.1.1", "NOBODY@b.co", "TOO_MANY_REQUESTS"),
        ("1.1.1.1", "nobody@d.co", "ACCOUNT_NOT_FOUND"),
        ("2.2.2.2", "nobody@b.co", "ACCOUNT_NOT_FOUND"),
    ] {
        assert_eq!(
            log_in(&client, address, email).await,
            expected,
            "{address} {email}"
        );
    }
    for _ in 0..5 {
        let unknown = log_in(&client, "3.3.3.3", "a@b.co").await;
        assert_eq!(
            unknown, "SERVICE_UNAVAILABLE",
            "that is no failure of the client's"
        );
    }
}

#[tokio::test]
async fn the_failures_of_an_address_are_limited_and_its_good_tokens_pass() {
    let limits = DashboardLimits {
        auth_failures: Arc::new(KeyedLimiter::per_minute(2)),
        ..limits()
    };
    let client = Client::with(limits, &settings());
    let accounts = "GET /v1/accounts";
    let limited = (429, "TOO_MANY_REQUESTS".to_owned());
    for _ in 0..2 {
        let refused = client.code(accounts, Some("forged")).await;
        assert_eq!(refused, (401, "UNAUTHORIZED".to_owned()));
    }
    assert_eq!(client.code(accounts, Some("forged")).await, limited);
    assert_eq!(client.code(accounts, Some("owner")).await.0, 200);
    assert_eq!(
        client.code(accounts, None).await.0,
        401,
        "nothing was tried"
    );
    assert_eq!(
        log_in(&client, "", "nobody@b.co").await,
        "TOO_MANY_REQUESTS"
    );
    assert_eq!(
        log_in(&client, "1.1.1.1", "nobody@b.co").await,
        "ACCOUNT_NOT_FOUND"
    );
}

#[tokio::test]
async fn the_calls_of_an_account_are_limited_once_it_is_known() {
    let limits = DashboardLimits {
        calls: KeyedLimiter::per_minute(2),
        ..limits()
    };
    let client = Client::with(limits, &settings());
    for expected in [404, 404, 429] {
        assert_eq!(
            client.code("GET /v1/nothing", Some("owner")).await.0,
            expected
        );
    }
    let unverified = client.code("GET /v1/nothing", Some("unverified")).await;
    assert_eq!(unverified.0, 403);
    assert_eq!(
        client.code("GET /v1/accounts", Some("unverified")).await.0,
        200
    );
}

#[tokio::test]
async fn open_calls_are_limited_by_email_and_empty_ones_share_no_limit() {
    let limits = DashboardLimits {
        resends: OpenCallLimit {
            by_address: KeyedLimiter::per_minute(0),
            by_email: KeyedLimiter::per_minute(2),
        },
        ..limits()
    };
    let client = Client::with(limits, &settings());
    let resend = async |email: &str| {
        let body = format!(r#"{{"email":"{email}"}}"#);
        let response = client.send("POST /v1/auth/verify/resend", &[], &body).await;
        response.status().as_u16()
    };
    for email in ["a@b.co", "A@b.co"] {
        assert_ne!(resend(email).await, 429, "{email}");
    }
    assert_eq!(resend("a@B.CO").await, 429);
    for _ in 0..3 {
        assert_ne!(resend("").await, 429, "it is nobody's");
    }
}

#[tokio::test]
async fn a_token_that_stands_twice_is_none() {
    let owner = ("authorization", "bearer owner");
    let response = Client::new()
        .send("GET /v1/accounts", &[owner, owner], "")
        .await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn pages_of_other_sites_make_no_open_calls() {
    let client = Client::new();
    let cross = ("sec-fetch-site", "cross-site");
    let same = ("sec-fetch-site", "same-origin");
    let (listed, foreign) = (("origin", ORIGIN), ("origin", "https://evil.example.com"));
    let login = "POST /v1/auth/login";
    for (call, headers, status) in [
        (login, &[cross, foreign][..], 403),
        (login, &[cross], 403),
        (login, &[cross, ("origin", "null")], 403),
        ("POST /v1/accounts/sign-up", &[cross, foreign], 403),
        ("POST /v1/auth/verify", &[cross, foreign], 403),
        ("POST /v1/auth/verify/resend", &[cross, foreign], 403),
        (login, &[cross, listed], 400),
        (login, &[same, foreign], 400),
        (login, &[("sec-fetch-site", "same-site")], 400),
        (login, &[("sec-fetch-site", "none")], 400),
        (login, &[foreign], 400),
        ("GET /verify?token=a", &[cross], 200),
        ("POST /v1/merchants", &[cross, foreign], 401),
    ] {
        let response = client.send(call, headers, "").await;
        assert_eq!(response.status(), status, "{call} {headers:?}");
        if status == 403 {
            assert_eq!(code(response).await, "FORBIDDEN");
        }
    }
    let page = client
        .send("POST /verify", &[cross, foreign], "token=a")
        .await;
    assert_page(page, 403, &["접근 권한이 없습니다."]).await;
}

#[tokio::test]
async fn browsers_may_call_from_listed_origins_only() {
    let client = Client::new();
    let preflight = async |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "DELETE"),
            ("access-control-request-headers", "x-anything,authorization"),
        ];
        client.send("OPTIONS /v1/merchants", &headers, "").await
    };
    let allowed = preflight(ORIGIN).await;
    assert_eq!(allowed.status(), StatusCode::OK);
    let header = |name: &str| allowed.headers()[name].to_str().unwrap();
    assert_eq!(header("access-control-allow-origin"), ORIGIN);
    assert_eq!(header("access-control-allow-credentials"), "true");
    assert_eq!(
        header("access-control-allow-headers"),
        "x-anything,authorization"
    );
    assert_eq!(
        header("access-control-allow-methods"),
        "GET,POST,PUT,DELETE,OPTIONS"
    );
    let refused = preflight("https://evil.example.com").await;
    assert!(
        !refused
            .headers()
            .contains_key("access-control-allow-origin")
    );

    let answer = client
        .send("GET /v1/accounts", &[("origin", ORIGIN)], "")
        .await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["access-control-allow-origin"], ORIGIN);
    assert_eq!(
        answer.headers()["access-control-expose-headers"],
        TRACE_HEADER.as_str()
    );

    let client = Client(service(stub::app(), limits(), &settings(), &[]));
    let answer = client
        .send("GET /v1/accounts", &[("origin", ORIGIN)], "")
        .await;
    let named = |name: &http::HeaderName| name.as_str().starts_with("access-control");
    assert!(!answer.headers().keys().any(named));
    let asked = [("origin", ORIGIN), ("access-control-request-method", "GET")];
    let preflight = client.send("OPTIONS /v1/accounts", &asked, "").await;
    assert_eq!(preflight.status(), StatusCode::OK);
    assert!(!preflight.headers().keys().any(named));
    assert_eq!(text(preflight).await, "");
    let plain = client.send("OPTIONS /v1/accounts", &asked[..1], "").await;
    assert_eq!(plain.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn only_a_preflight_is_answered_by_cors() {
    let client = Client::new();
    let from = ("origin", ORIGIN);
    let method = ("access-control-request-method", "GET");
    let owner = ("authorization", "bearer owner");
    for (path, headers, status, expected) in [
        ("/v1/merchants", &[][..], 401, "UNAUTHORIZED"),
        ("/v1/merchants", &[from], 401, "UNAUTHORIZED"),
        ("/v1/merchants", &[method], 401, "UNAUTHORIZED"),
        ("/v1/merchants", &[owner, from], 405, "METHOD_NOT_ALLOWED"),
        ("/v1/accounts", &[owner], 405, "METHOD_NOT_ALLOWED"),
        ("/v1/nothing", &[owner], 404, "NOT_FOUND"),
        ("/v1/auth/login", &[], 405, "METHOD_NOT_ALLOWED"),
    ] {
        let response = client.send(&format!("OPTIONS {path}"), headers, "").await;
        assert_eq!(response.status(), status, "{path} {headers:?}");
        assert_eq!(response.headers().contains_key(ALLOW), status == 405);
        let origin = response.headers().get("access-control-allow-origin");
        let expected_origin = headers.contains(&from).then_some(ORIGIN);
        assert_eq!(origin.map(|value| value.to_str().unwrap()), expected_origin);
        assert_eq!(code(response).await, expected, "{path} {headers:?}");
    }
    let preflight = client
        .send("OPTIONS /v1/nothing", &[from, method], "")
        .await;
    assert_eq!(preflight.status(), StatusCode::OK);
}

#[tokio::test]
async fn docs_come_from_the_program_itself() {
    let client = Client::new();
    let document = client.send("GET /openapi.json", &[], "").await;
    assert_eq!(document.headers()[CONTENT_TYPE], "application/json");
    assert!(text(document).await.contains("listCouponHistories"));
    let docs = client.send("GET /docs", &[], "").await;
    assert_eq!(docs.headers()[LOCATION], "/docs/");
    let page = client.send("GET /docs/", &[], "").await;
    assert_eq!(page.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'self'"), "{policy}");
    assert_eq!(page.headers()["referrer-policy"], "no-referrer");
    let page = text(page).await;
    assert!(
        page.contains("swagger-ui") && !page.contains("://"),
        "{page}"
    );
    let script = client
        .send("GET /docs/swagger-initializer.js", &[], "")
        .await;
    assert!(text(script).await.contains("/openapi.json"));
}

#[tokio::test]
async fn every_answer_is_kept_by_no_cache_and_taken_for_what_it_says() {
    let client = Client::new();
    let from = [("origin", ORIGIN), ("access-control-request-method", "GET")];
    for (call, headers) in [
        ("GET /v1/accounts", &[("authorization", "bearer owner")][..]),
        ("GET /v1/accounts", &[]),
        ("GET /nothing", &[("authorization", "bearer owner")]),
        ("PATCH /v1/auth/login", &[]),
        ("OPTIONS /v1/accounts", &from),
        ("GET /docs/nothing", &[]),
        ("GET /docs", &[]),
        ("GET /verify?token=x", &[]),
    ] {
        let response = client.send(call, headers, "").await;
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store", "{call}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let hsts = response.headers().get("strict-transport-security");
        assert!(hsts.is_none());
    }
    let page = client.send("GET /docs/swagger-ui.css", &[], "").await;
    assert_eq!(page.headers()[CACHE_CONTROL], "public, max-age=3600");
}

#[tokio::test]
async fn docs_can_be_left_out_and_https_asked_for() {
    let settings = ApiSettings {
        docs: false,
        hsts_seconds: 31_536_000,
        ..settings()
    };
    let client = Client::with(limits(), &settings);
    for path in ["/docs", "/docs/", "/docs/swagger-ui.css", "/openapi.json"] {
        let response = client.send(&format!("GET {path}"), &[], "").await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        let hsts = &response.headers()["strict-transport-security"];
        assert_eq!(hsts, "max-age=31536000");
    }
}

#[tokio::test]
async fn a_token_stands_once() {
    let twice = [("authorization", "bearer owner"); 2];
    let client = Client::new();
    let response = client.send("GET /v1/merchants", &twice, "").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let response = client.send("GET /v1/merchants", &twice[..1], "").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_verification_page_waits_for_a_click() {
    let client = Client::new();
    let shown = client.send("GET /verify?token=ab%22cd", &[], "").await;
    assert_eq!(shown.status(), StatusCode::OK);
    assert_eq!(shown.headers()[CACHE_CONTROL], "no-store");
    assert!(text(shown).await.contains("value=\"ab&quot;cd\""));
    let nothing = client.send("POST /verify", &[], "token=abcd").await;
    assert_eq!(nothing.status(), StatusCode::BAD_REQUEST);
    assert!(text(nothing).await.contains("비밀번호를 입력해 주세요."));
    let form = "token=abcd&password=x";
    let done = client.send("POST /verify", &[], form).await;
    assert_eq!(done.status(), StatusCode::BAD_REQUEST);
    assert!(text(done).await.contains("이미 인증된 계정입니다."));
    let empty = client.send("GET /verify", &[], "").await;
    assert_eq!(empty.status(), StatusCode::BAD_REQUEST);
}

/// Asserts that an answer is a page of this status with these words.
async fn assert_page(response: Response, status: u16, words: &[&str]) {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    assert!(response.headers().contains_key(TRACE_HEADER));
    let length = response.headers().get(CONTENT_LENGTH).cloned();
    let page = text(response).await;
    assert!(length.is_none_or(|length| length == page.len().to_string().as_str()));
    for word in words {
        assert!(page.contains(word), "{word} is not in {page}");
    }
}

#[tokio::test]
async fn a_person_who_is_refused_sees_a_page() {
    let limits = DashboardLimits {
        verifications: OpenCallLimit::per_minute(1),
        ..limits()
    };
    let client = Client::with(limits, &settings());
    let large = "x".repeat(64 * 1024 + 1);
    let large = client.send("POST /verify", &[], &large).await;
    assert_page(large, 413, &["요청 본문이 너무 큽니다.", "too large"]).await;
    let first = client.send("POST /verify", &[], "token=abcd").await;
    assert_eq!(first.status(), StatusCode::BAD_REQUEST);
    let second = client.send("POST /verify", &[], "token=abcd").await;
    assert_eq!(second.headers()[RETRY_AFTER], "60");
    assert_page(second, 429, &["요청이 너무 많습니다.", "Too many attempts"]).await;
    let call = client.send("POST /v1/auth/verify", &[], "{}").await;
    assert_eq!(call.headers()[CONTENT_TYPE], "application/json");
}

#[tokio::test(start_paused = true)]
async fn a_person_who_waits_too_long_sees_a_page() {
    let settings = ApiSettings {
        request_timeout: Duration::from_secs(1),
        ..settings()
    };
    let stuck = Body::from_stream(futures::stream::pending::<Result<&str, std::io::Error>>());
    let request = Request::builder().method("POST").uri("/verify").body(stuck);
    let client = Client::with(limits(), &settings);
    let late = client.0.oneshot(request.unwrap()).await.unwrap();
    assert_eq!(late.headers()[RETRY_AFTER], "1");
    assert_page(late, 503, &["일시적으로", "not available right now"]).await;
}
