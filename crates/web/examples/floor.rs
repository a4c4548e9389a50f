//! The floor that `cargo xtask bench` compares with: the product's own serve loop (hyper's HTTP/1 under axum, tokio, mimalloc)
//! reading a POST with JSON and answering the envelope of success, with no layer around it and no store.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use goodpon_web::fault::{Fault, Faults};
use goodpon_web::serve::{Draining, Limits, Unobserved, serve};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    user_id: String,
}

#[derive(Serialize)]
struct Envelope {
    result: &'static str,
    data: &'static str,
    error: Option<()>,
}

/// Refuses without a body.
struct BareFaults;

impl Faults for BareFaults {
    fn render(&self, _: Fault, _: Option<&str>) -> Response {
        StatusCode::BAD_REQUEST.into_response()
    }
}

async fn issue(body: Bytes) -> Response {
    let user = serde_json::from_slice::<Body>(&body).map(|body| body.user_id);
    if !user.is_ok_and(|user| (1..=255).contains(&user.len())) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let envelope = Envelope {
        result: "SUCCESS",
        data: "쿠폰이 정상적으로 발급되었습니다.",
        error: None,
    };
    match serde_json::to_vec(&envelope) {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let router = Router::new().route("/v1/coupon-templates/{couponTemplateId}/issue", post(issue));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let limits = Limits {
        max_connections: 10_000,
        max_per_address: 10_000,
        header_timeout: Duration::from_secs(10),
        keep_alive: Duration::from_secs(10),
        shutdown_timeout: Duration::ZERO,
    };
    // The same line as the product's, so that both are started alike.
    eprintln!(
        r#"{{"message":"ready","partner_addr":"{}"}}"#,
        listener.local_addr()?
    );
    serve(
        listener,
        Unobserved::new(router, "floor", Arc::new(BareFaults)),
        limits,
        Draining::default(),
        std::future::pending(),
    )
    .await;
    Ok(())
}
