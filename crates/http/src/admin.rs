//! The admin port, for operators only: whether the process lives, whether it can serve, and its figures.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use goodpon_application::ports::{DependencyHealth, Health};
use goodpon_supervise::{Supervisor, TaskStatus};
use goodpon_web::serve::Unobserved;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

use crate::error::Enveloped;

/// Serves `/livez`, `/readyz` and `/metrics`. `metrics` writes the figures in Prometheus' text format, `is_stopping` says
/// whether new requests should be sent elsewhere, and `supervisor` knows the states of background tasks. A request has to
/// name the host by an address, as `localhost`, or by one of `hosts`: otherwise a page in an operator's browser could have a
/// name of its own lead here, and read all answers.
pub fn service(
    hosts: Vec<String>,
    health: Arc<dyn Health>,
    is_stopping: impl Fn() -> bool + Clone + Send + Sync + 'static,
    supervisor: Supervisor,
    metrics: impl Fn() -> String + Clone + Send + Sync + 'static,
) -> Unobserved {
    let router = Router::new()
        .route(
            "/livez",
            get(async || json(StatusCode::OK, &Readiness::plain("ok"))),
        )
        .route(
            "/readyz",
            get(async move || match is_stopping() {
                true => json(
                    StatusCode::SERVICE_UNAVAILABLE,
                    &Readiness::plain("stopping"),
                ),
                false => readiness(&health.check().await, &supervisor.statuses()),
            }),
        )
        .route(
            "/metrics",
            get(async move || typed("text/plain; version=0.0.4; charset=utf-8", metrics().into())),
        )
        .fallback(async || (StatusCode::NOT_FOUND, "no such path\n"))
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "GET only\n"))
        .layer(from_fn_with_state(Arc::new(hosts), let_in));
    Unobserved::new(router, "unknown", Enveloped::shared())
}

async fn let_in(State(hosts): State<Arc<Vec<String>>>, request: Request, next: Next) -> Response {
    let mut response = match is_known(&hosts, request.headers()) {
        true => next.run(request).await,
        false => (
            StatusCode::MISDIRECTED_REQUEST,
            "no such host: use an address or localhost, or add the name to admin-hosts\n",
        )
            .into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Returns whether the request is for a host of ours. A browser always names one, so a request without is of no page.
fn is_known(hosts: &[String], headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        return true;
    };
    let Some(name) = host.to_str().ok().map(without_port) else {
        return false;
    };
    let bracketed = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let is_address = match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok(),
    };
    is_address
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[derive(Debug, Serialize)]
struct Readiness<'a> {
    status: &'static str,
    /// `ok`, or the problem, by dependency.
    dependencies: BTreeMap<&'a str, &'a str>,
    /// The state of each background task, by its name.
    tasks: BTreeMap<&'a str, TaskView<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskView<'a> {
    state: &'static str,
    restarts: u64,
    /// Its last failure, or trouble that it has overcome since.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a str>,
    /// Seconds since it last finished a round of its work.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_since_last_run: Option<u64>,
}

impl Readiness<'_> {
    fn plain(status: &'static str) -> Self {
        Self {
            status,
            dependencies: BTreeMap::new(),
            tasks: BTreeMap::new(),
        }
    }
}

fn readiness(health: &[DependencyHealth], tasks: &[TaskStatus]) -> Response {
    let mut away = health.iter().filter(|one| one.problem.is_some()).peekable();
    let is_resting = |task: &TaskStatus| task.state == goodpon_supervise::State::Resting;
    let is_impaired = away.peek().is_some() || tasks.iter().any(is_resting);
    // While not everything is down, requests should still be sent here.
    let (status, word) = match (is_impaired, away.any(|one| one.is_vital)) {
        (false, _) => (StatusCode::OK, "ok"),
        (true, false) => (StatusCode::OK, "degraded"),
        (true, true) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let dependencies = health
        .iter()
        .map(|one| (one.name, one.problem.as_deref().unwrap_or("ok")))
        .collect();
    let tasks = tasks.iter().map(|task| {
        let view = TaskView {
            state: task.state.name(),
            restarts: task.restarts,
            last_error: task.last_error.as_deref(),
            seconds_since_last_run: task.last_run.map(|ago| ago.as_secs()),
        };
        (task.name, view)
    });
    json(
        status,
        &Readiness {
            status: word,
            dependencies,
            tasks: tasks.collect(),
        },
    )
}

fn json(status: StatusCode, body: &Readiness<'_>) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => (status, typed("application/json", bytes.into())).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn typed(content_type: &'static str, bytes: Bytes) -> Response {
    let mut response = bytes.into_response();
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn names_that_no_setting_lists_are_not_ours() {
        let hosts = ["metrics.example".to_owned()];
        let known = |host: &str| {
            let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
            is_known(&hosts, &headers)
        };
        for host in [
            "localhost",
            "LocalHost:9090",
            "127.0.0.1",
            "10.0.0.7:9090",
            "[::1]:9090",
            "[::1]",
            "Metrics.Example:9090",
        ] {
            assert!(known(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            ":9090",
            "[evil]",
        ] {
            assert!(!known(host), "{host}");
        }
        assert!(is_known(&[], &HeaderMap::new()));
    }

    #[tokio::test]
    async fn readiness_names_what_is_away() {
        let dependency = |name, problem: Option<&str>| DependencyHealth {
            name,
            problem: problem.map(str::to_owned),
            is_vital: name == "database",
        };
        let good = readiness(&[dependency("database", None)], &[]);
        assert_eq!(good.status(), StatusCode::OK);
        let away = [
            dependency("database", None),
            dependency("kafka", Some("no broker answers")),
        ];
        let poor = readiness(&away, &[]);
        assert_eq!(poor.status(), StatusCode::OK);
        let body = poor.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            body,
            r#"{"status":"degraded","dependencies":{"database":"ok","kafka":"no broker answers"},"tasks":{}}"#
        );
        let away = [
            dependency("database", Some("disk is full")),
            dependency("mail", None),
        ];
        let bad = readiness(&away, &[]);
        assert_eq!(bad.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = bad.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            body,
            r#"{"status":"unavailable","dependencies":{"database":"disk is full","mail":"ok"},"tasks":{}}"#
        );
    }

    #[tokio::test]
    async fn readiness_shows_the_states_of_background_tasks() {
        use goodpon_supervise::State;
        let task = |name, state, last_error: Option<&str>| TaskStatus {
            name,
            state,
            restarts: u64::from(last_error.is_some()),
            last_error: last_error.map(str::to_owned),
            last_run: (state == State::Running).then(|| Duration::from_secs(3)),
        };
        let running = task("outbox", State::Running, None);
        let good = readiness(&[], std::slice::from_ref(&running));
        let body = good.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            body,
            r#"{"status":"ok","dependencies":{},"tasks":{"outbox":{"state":"running","restarts":0,"secondsSinceLastRun":3}}}"#
        );
        let resting = task("gates", State::Resting, Some("panic: no gate"));
        let poor = readiness(&[], &[running, resting]);
        assert_eq!(poor.status(), StatusCode::OK);
        let body = poor.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["status"], "degraded");
        assert_eq!(body["tasks"]["gates"]["lastError"], "panic: no gate");
    }
}
