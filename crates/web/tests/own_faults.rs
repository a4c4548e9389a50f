//! A service of pages stands on this crate alone: its faults are HTML, whichever layer meets them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use goodpon_web::fault::{Fault, Faults};
use goodpon_web::observe::{Observe, ObserveSettings, note_route};
use goodpon_web::serve::{Draining, Limits, serve};
use goodpon_web::time_limit::TimeLimit;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Pages;

impl Faults for Pages {
    fn render(&self, fault: Fault, route: Option<&str>) -> Response {
        let status = match fault {
            Fault::MalformedHead => StatusCode::BAD_REQUEST,
            Fault::TimeLimit => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let page = format!("<h1>{}</h1>", route.unwrap_or("no route"));
        (status, Html(page)).into_response()
    }
}

fn pages() -> Observe<TimeLimit<Router>> {
    let router = Router::new()
        .route("/never", get(std::future::pending::<()>))
        .route("/panic", get(async || -> &str { panic!("the roof") }))
        .route_layer(axum::middleware::from_fn(note_route));
    let settings = ObserveSettings {
        api: "pages",
        faults: Arc::new(Pages),
        event_of_code: |_| None,
        logs_paths: false,
        hsts_seconds: 0,
        trusts_forwarded_for: false,
    };
    Observe::new(TimeLimit::new(router, Duration::from_millis(50)), settings)
}

#[tokio::test]
async fn each_fault_is_a_page() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits {
        max_connections: 10,
        max_per_address: 10,
        header_timeout: Duration::from_secs(30),
        keep_alive: Duration::from_secs(30),
        shutdown_timeout: Duration::ZERO,
    };
    let draining = Draining::default();
    tokio::spawn(serve(
        listener,
        pages(),
        limits,
        draining,
        std::future::pending(),
    ));
    for (head, status, page) in [
        ("nonsense", "400 Bad Request", "<h1>no route</h1>"),
        (
            "GET /panic HTTP/1.1",
            "400 Bad Request",
            "<h1>no route</h1>",
        ),
        (
            "GET /panic HTTP/1.1\r\nhost: x\r\nconnection: close",
            "500 Internal Server Error",
            "<h1>/panic</h1>",
        ),
        (
            "GET /never HTTP/1.1\r\nhost: x\r\nconnection: close",
            "503 Service Unavailable",
            "<h1>/never</h1>",
        ),
    ] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = format!("{head}\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let starts = answer.starts_with(&format!("HTTP/1.1 {status}\r\n"));
        assert!(starts && answer.ends_with(page), "{head} {answer}");
        for header in ["content-type: text/html", "x-goodpon-trace-id: "] {
            assert!(answer.contains(header), "{head} {answer}");
        }
    }
}
