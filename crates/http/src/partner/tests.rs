#![allow(clippy::unwrap_used, clippy::expect_used)]
use axum::body::Body;
use axum::response::Response;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::stub;
use crate::trace::TRACE_HEADER;

async fn send(call: &str, headers: &[(&str, &str)]) -> Response {
    let settings = PartnerSettings {
        request_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(10),
        rate_per_second: 0,
    };
    let (method, path) = call.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let service = service(stub::app(), &settings);
    service.oneshot(request).await.unwrap()
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
    let id = ("x-goodpon-client-id", " ck_1 ");
    let secret = ("x-goodpon-client-secret", "sk_1");
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
        ("GET /docs/nothing", &[], 404, "NOT_FOUND"),
        ("POST /docs/", &[], 405, "METHOD_NOT_ALLOWED"),
    ] {
        let answered = code(call, headers).await;
        assert_eq!(answered, (status, expected.to_owned()), "{call}");
    }
}

#[tokio::test]
async fn docs_need_no_credentials() {
    for path in ["GET /docs/", "GET /openapi.json"] {
        assert_eq!(send(path, &[]).await.status(), 200, "{path}");
    }
}
