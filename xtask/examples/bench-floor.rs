//! The floor that `cargo xtask bench` compares with: the HTTP stack of the product (hyper's HTTP/1 loop under axum, tokio, mimalloc) reading a POST
//! with JSON and answering the envelope of success, with no middleware and no store.

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
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
    // The limits of the product's listeners.
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .max_buf_size(64 * 1024);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    // The same line as the product's, so that both are started alike.
    eprintln!(
        r#"{{"message":"ready","partner_addr":"{}"}}"#,
        listener.local_addr()?
    );
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
    }
}
