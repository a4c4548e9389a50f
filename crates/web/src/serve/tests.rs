#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::address::Peer;
use crate::fault::Faults;
use crate::observe::Observe;
use crate::stub::{PlainFaults, settings};

const LIMITS: Limits = Limits {
    max_connections: 100,
    max_per_address: 100,
    header_timeout: Duration::from_secs(30),
    keep_alive: Duration::from_secs(30),
    shutdown_timeout: Duration::from_secs(30),
};

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<usize>,
    draining: Draining,
}

async fn start(router: Router, limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let service = Observe::new(router, settings());
    let draining = Draining::default();
    let served = serve(listener, service, limits, draining.clone(), async {
        let _ = stopped.await;
    });
    let task = tokio::spawn(served);
    Server {
        draining,
        address,
        stop,
        task,
    }
}

fn echo() -> Router {
    async fn length(request: Request) -> Response {
        let (parts, body) = request.into_parts();
        match crate::body::read(&parts.headers, body, Duration::from_secs(30)).await {
            Ok(bytes) => bytes.len().to_string().into_response(),
            Err(fault) => PlainFaults.render(fault, None),
        }
    }
    async fn peer(Extension(Peer(address)): Extension<Peer>) -> String {
        address.ip().to_string()
    }
    Router::new()
        .route("/", post(length))
        .route("/peer", get(peer))
}

/// Everything the server says to `request` until it closes.
async fn say(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    heard(&mut stream).await
}

async fn heard(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Returns whether an answer is the rendered fault of that name, with our trace id.
fn is_rendered(answer: &str, status: &str, fault: &str) -> bool {
    answer.starts_with(&format!("HTTP/1.1 {status} "))
        && answer.contains("\r\nx-goodpon-trace-id: ")
        && answer.ends_with(&format!("\r\n\r\n{fault}"))
}

#[tokio::test]
async fn requests_know_their_peer() {
    let server = start(echo(), LIMITS).await;
    let answer = say(
        &server,
        b"GET /peer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn what_is_no_http_gets_a_rendered_400() {
    let server = start(echo(), LIMITS).await;
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1_000_000));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(100_000));
    for request in [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
        &many,
        &large,
        &long,
    ] {
        let answer = say(&server, request.as_bytes()).await;
        assert!(is_rendered(&answer, "400", "MalformedHead"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_sends_10_mb_sees_the_413_and_that_the_connection_ends() {
    let server = start(echo(), LIMITS).await;
    let mut request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\n".to_vec();
    request.resize(request.len() + 10_000_000, b'x');
    let answer = say(&server, &request).await;
    assert!(is_rendered(&answer, "413", "BodyTooLarge"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");

    let mut request =
        b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..100 {
        request.extend_from_slice(b"186a0\r\n");
        request.resize(request.len() + 100_000, b'x');
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let answer = say(&server, &request).await;
    assert!(is_rendered(&answer, "413", "BodyTooLarge"), "{answer}");
}

#[tokio::test]
async fn a_client_that_asks_before_sending_too_much_is_refused_at_once() {
    let server = start(echo(), LIMITS).await;
    let request =
        b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 10000000\r\n\r\n";
    let answer = say(&server, request).await;
    assert!(is_rendered(&answer, "413", "BodyTooLarge"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn an_answer_before_the_body_has_come_ends_the_connection_and_says_so() {
    let server = start(echo().fallback(async || "early"), LIMITS).await;
    // The first breaks off, the second is not waited for.
    for (path, status) in [("/", "400 Bad Request"), ("/early", "200 OK")] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nkim");
        stream.write_all(head.as_bytes()).await.unwrap();
        if path == "/" {
            stream.shutdown().await.unwrap();
        }
        let answer = heard(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn what_hyper_lets_pass_and_the_protocol_forbids_is_a_400() {
    let server = start(echo(), LIMITS).await;
    let post = "POST / HTTP/1.1\r\nhost: x\r\n";
    for request in [
        "GET /peer HTTP/1.1\r\n\r\n".to_owned(),
        "GET /peer HTTP/1.1\nhost: x\n\n".to_owned(),
        "GET /peer HTTP/1.1\r\nhost: x\r\nx: a\ncontent-length: 5\r\n\r\n".to_owned(),
        "GET /peer HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(),
        "GET /peer HTTP/1.1\r\nhost: a, b\r\n\r\n".to_owned(),
        format!("{post}transfer-encoding: gzip, chunked\r\n\r\n3\r\nkim\r\n0\r\n\r\n"),
        format!("{post}transfer-encoding: chunked, chunked\r\n\r\n3\r\nkim\r\n0\r\n\r\n"),
        format!("{post}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{post}transfer-encoding: gzip\r\n\r\n"),
    ] {
        let answer = say(&server, request.as_bytes()).await;
        assert!(
            is_rendered(&answer, "400", "MalformedHead"),
            "{request} {answer}"
        );
        for header in [
            "connection: close",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
        ] {
            assert!(
                answer.contains(&format!("\r\n{header}\r\n")),
                "{request} {answer}"
            );
        }
    }
    let old = say(&server, b"GET /peer HTTP/1.0\r\n\r\n").await;
    assert!(old.ends_with("127.0.0.1"), "{old}");
    let chunked = format!(
        "{post}connection: close\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nkim\r\n0\r\n\r\n"
    );
    let answer = say(&server, chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_request_that_says_its_length_twice_is_refused_and_the_last_of_its_connection() {
    let server = start(echo(), LIMITS).await;
    let hidden = "GET /peer HTTP/1.1\r\nhost: x\r\n\r\n";
    for lengths in [
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "content-length: 5\r\ntransfer-encoding: chunked",
    ] {
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\n{lengths}\r\n\r\n");
        let answer = say(&server, format!("{head}0\r\n\r\n{hidden}").as_bytes()).await;
        assert!(is_rendered(&answer, "400", "MalformedHead"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        // Where it was not waited for, hyper goes by the coding; the connection ends all the same.
        let first = "GET /peer HTTP/1.1\r\nhost: x\r\n\r\n";
        let both = format!("{first}{head}0\r\n\r\n{hidden}");
        let answer = say(&server, both.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{answer}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_and_an_idle_connection_are_closed() {
    let header_timeout = Duration::from_millis(50);
    let idle = b"GET /peer HTTP/1.1\r\nhost: x\r\n\r\n";
    let short_heads = Limits {
        header_timeout,
        ..LIMITS
    };
    let short_rests = Limits {
        keep_alive: header_timeout,
        ..LIMITS
    };
    for (limits, request) in [
        (short_heads, &b""[..]),
        (short_heads, b"GET / HT"),
        (short_rests, idle),
    ] {
        let server = start(echo(), limits).await;
        let said = timeout(Duration::from_secs(10), say(&server, request));
        said.await.expect("the connection stays open");
    }
    // Neither is taken for the other.
    for (limits, request) in [(short_heads, &idle[..]), (short_rests, b"GET / HT")] {
        let server = start(echo(), limits).await;
        let said = timeout(Duration::from_millis(300), say(&server, request));
        assert!(said.await.is_err(), "closed too early");
    }
}

#[tokio::test]
async fn one_address_has_its_share_of_the_connections() {
    let limits = Limits {
        max_per_address: 2,
        ..LIMITS
    };
    let server = start(echo(), limits).await;
    let request = b"GET /peer HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream.read_exact(&mut [0; 64]).await.unwrap();
        held.push(stream);
    }
    let mut further = TcpStream::connect(server.address).await.unwrap();
    assert!(matches!(further.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    // The place of one that went is another's, as soon as the server has seen it go.
    held.pop();
    timeout(Duration::from_secs(10), async {
        loop {
            let mut next = TcpStream::connect(server.address).await.unwrap();
            let _ = next.write_all(request).await;
            if next.read_exact(&mut [0; 64]).await.is_ok() {
                break;
            }
        }
    })
    .await
    .expect("the place came back");
}

#[tokio::test]
async fn beyond_the_limit_connections_wait_for_their_turn() {
    let limits = Limits {
        max_connections: 1,
        ..LIMITS
    };
    let server = start(echo(), limits).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    let request = b"GET /peer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    first.write_all(b"GET /peer HTTP/1.1\r\n").await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(request).await.unwrap();
    first
        .write_all(b"host: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(heard(&mut first).await.ends_with("127.0.0.1"));
    assert!(heard(&mut second).await.ends_with("127.0.0.1"));
}

/// Waits for a notification, which a broken guard may never send.
async fn notified(notify: &Notify) {
    timeout(Duration::from_secs(10), notify.notified())
        .await
        .expect("a notification");
}

/// A route that notifies once it has begun, and waits until it is notified.
fn slow() -> (Router, Arc<Notify>, Arc<Notify>, Arc<AtomicBool>) {
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let done = Arc::new(AtomicBool::new(false));
    let (beginning, awaited, finished) =
        (Arc::clone(&begun), Arc::clone(&go_on), Arc::clone(&done));
    let router = Router::new().route(
        "/",
        get(move || async move {
            beginning.notify_one();
            notified(&awaited).await;
            finished.store(true, Ordering::SeqCst);
            "finished"
        }),
    );
    (router, begun, go_on, done)
}

#[tokio::test]
async fn a_client_that_sends_no_more_gets_its_answer() {
    let (router, begun, go_on, _) = slow();
    let large = "x".repeat(8_000_000);
    let expected = large.len();
    let large = router.route("/large", get(async move || large));
    let server = start(large, LIMITS).await;
    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        stream
    };
    let mut waits = ask("/").await;
    notified(&begun).await;
    go_on.notify_one();
    assert!(heard(&mut waits).await.ends_with("finished"));
    // It reads late what does not fit into any buffer.
    let mut late = ask("/large").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let answer = heard(&mut late).await;
    assert!(answer.ends_with("xxx") && answer.len() > expected);
}

#[tokio::test]
async fn no_work_is_done_for_a_client_that_is_gone() {
    struct NotifyOnDrop(Arc<Notify>);
    impl Drop for NotifyOnDrop {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (begun, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (beginning, dropping) = (Arc::clone(&begun), Arc::clone(&dropped));
    let router = Router::new().fallback(move || async move {
        let _dropping = NotifyOnDrop(dropping);
        beginning.notify_one();
        std::future::pending::<()>().await;
    });
    let server = start(router, LIMITS).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    notified(&begun).await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    timeout(Duration::from_secs(10), dropped.notified())
        .await
        .expect("the request was given up");
}

#[tokio::test]
async fn a_shutdown_finishes_what_runs_and_refuses_what_is_new() {
    let (router, begun, go_on, _) = slow();
    let server = start(router.merge(echo()), LIMITS).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /peer HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 64];
    idle.read_exact(&mut head).await.unwrap();
    let mut running = TcpStream::connect(server.address).await.unwrap();
    running
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    notified(&begun).await;
    server.stop.send(()).unwrap();
    heard(&mut idle).await;
    assert!(TcpStream::connect(server.address).await.is_err());
    go_on.notify_one();
    let answer = heard(&mut running).await;
    assert!(answer.ends_with("finished"));
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(server.task.await.unwrap(), 0);
}

#[tokio::test]
async fn a_shutdown_drops_what_does_not_end() {
    let (router, begun, _go_on, done) = slow();
    let shutdown_timeout = Duration::from_millis(50);
    let limits = Limits {
        shutdown_timeout,
        ..LIMITS
    };
    let server = start(router, limits).await;
    let mut running = TcpStream::connect(server.address).await.unwrap();
    running
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    notified(&begun).await;
    server.stop.send(()).unwrap();
    assert_eq!(server.task.await.unwrap(), 1);
    assert!(!done.load(Ordering::SeqCst));
}

#[tokio::test]
async fn while_it_drains_each_answer_is_the_last_of_its_connection() {
    let server = start(echo(), LIMITS).await;
    let request = b"GET /peer HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    kept.write_all(request).await.unwrap();
    let mut answer = [0; 15];
    kept.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    server.draining.begin();
    // On the connection of before, and on one of its own.
    kept.write_all(request).await.unwrap();
    let rest = heard(&mut kept).await;
    let last = rest.split("HTTP/1.1 200 OK").nth(1).unwrap_or_default();
    assert!(last.to_lowercase().contains("connection: close"), "{rest}");
    let anew = say(&server, request).await;
    assert!(anew.to_lowercase().contains("connection: close"), "{anew}");
}
