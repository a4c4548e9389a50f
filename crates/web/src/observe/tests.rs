#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use axum::body::Body;
use axum::routing::get;
use axum::{Extension, Router};
use futures::FutureExt;
use http::StatusCode;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower::ServiceExt;

use super::*;
use crate::stub::settings;
use crate::trace::TRACE_HEADER;

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn router() -> Observe<Router> {
    let router = Router::new()
        .route(
            "/coupons/{id}",
            get(|Extension(scope): Extension<RequestScope>| async move {
                scope.set_merchant(7);
                scope.trace_id().to_string()
            }),
        )
        .route(
            "/context",
            get(async || {
                let before = goodpon_trace::current();
                // Another poll, on any thread.
                tokio::task::yield_now().await;
                assert_eq!(goodpon_trace::current(), before);
                before.map_or("none".to_owned(), |context| context.to_string())
            }),
        )
        .route("/panic", get(async || -> &str { panic!("the roof") }))
        .route("/never", get(std::future::pending::<()>))
        .route_layer(axum::middleware::from_fn(note_route))
        .fallback(async || StatusCode::NOT_FOUND);
    Observe::new(router, settings())
}

fn answer(router: &Observe<Router>, method: &str, path: &str) -> Response {
    answer_traced(router, method, path, "01")
}

fn answer_traced(router: &Observe<Router>, method: &str, path: &str, flags: &str) -> Response {
    let request = Request::builder().method(method).uri(path);
    let request = request
        .header(
            "traceparent",
            format!("00-{TRACE_ID}-00f067aa0ba902b7-{flags}"),
        )
        .body(Body::empty())
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(router.clone().oneshot(request)).unwrap()
}

#[test]
fn every_answer_has_the_trace_id() {
    let router = router();
    for (path, status) in [("/coupons/1", 200), ("/nowhere", 404), ("/panic", 500)] {
        let response = answer(&router, "GET", path);
        assert_eq!(response.status().as_u16(), status, "{path}");
        let id = &response.headers()[TRACE_HEADER];
        assert_eq!(id, TRACE_ID, "{path}");
    }
    let response = answer(&router, "POST", "/coupons/1");
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(response.headers().contains_key(TRACE_HEADER));
}

#[test]
fn handlers_see_the_scope() {
    let response = answer(&router(), "GET", "/coupons/1");
    assert_eq!(text_of(response), TRACE_ID);
}

fn text_of(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), 100);
    let body = body.now_or_never().unwrap().unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[test]
fn handlers_of_sampled_requests_run_in_the_context_of_their_trace() {
    let router = router();
    let seen = text_of(answer_traced(&router, "GET", "/context", "01"));
    assert!(seen.starts_with(&format!("00-{TRACE_ID}-")), "{seen}");
    assert!(
        !seen.contains("00f067aa0ba902b7"),
        "the parent is a span of the request's own"
    );
    let seen = text_of(answer_traced(&router, "GET", "/context", "00"));
    assert_eq!(seen, "none");
    // Neither an answer nor a panic leaves a context behind.
    answer(&router, "GET", "/panic");
    assert_eq!(goodpon_trace::current(), None);
}

#[test]
fn durations_are_counted_by_route_method_and_status_and_never_by_id() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let router = router();
        for (method, path) in [
            ("GET", "/coupons/1"),
            ("GET", "/coupons/2?secret=x"),
            ("INVENTED", "/coupons/3"),
            ("GET", "/nowhere/4"),
            ("GET", "/panic"),
        ] {
            answer(&router, method, path);
        }
        // A client that hangs up: its request is dropped before it is answered.
        let request = Request::builder().uri("/never").body(Body::empty());
        let unanswered = router.clone().call(request.unwrap()).now_or_never();
        assert!(unanswered.is_none());
    });
    let mut counted: Vec<_> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .filter_map(|(key, _, _, value)| {
            let labels: Vec<_> = key.key().labels().map(|label| label.value()).collect();
            let DebugValue::Histogram(values) = value else {
                return None;
            };
            Some((labels.join(" "), values.len()))
        })
        .collect();
    counted.sort();
    let expected = [
        ("test /coupons/{id} GET 200", 2),
        ("test /coupons/{id} OTHER 405", 1),
        ("test /never GET 499", 1),
        ("test /panic GET 500", 1),
        ("test unmatched GET 404", 1),
    ];
    assert_eq!(counted, expected.map(|(labels, n)| (labels.to_owned(), n)));
}
