//! A request that is no HTTP is answered in the envelope and has its line in the access log. This test is alone in its
//! process: whether a log line is on is decided once for the whole process, and another test that reaches it first, without
//! a subscriber, could switch it off.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use goodpon_http::error::Enveloped;
use goodpon_web::serve::{Draining, Limits, Unobserved, serve};
use metrics_util::debugging::DebuggingRecorder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The lines of a log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Write::write(&mut *lines, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8(lines.clone()).unwrap()
    }
}

#[tokio::test]
async fn a_request_that_is_no_http_is_enveloped_logged_and_counted() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let recorder = DebuggingRecorder::new();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let limits = Limits {
        max_connections: 100,
        max_per_address: 100,
        header_timeout: Duration::from_secs(30),
        keep_alive: Duration::from_secs(30),
        shutdown_timeout: Duration::from_secs(30),
    };
    let service = Unobserved::new(Router::new(), "test", Enveloped::shared());
    tokio::spawn(serve(
        listener,
        service,
        limits,
        Draining::default(),
        std::future::pending(),
    ));
    client.write_all(b"nonsense\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\"error\":{\"code\":\"BAD_REQUEST\""));
    let (_, trace_id) = answer.split_once("x-goodpon-trace-id: ").unwrap();
    let trace_id = &trace_id[..32];
    let log = lines.text();
    let of_request: Vec<_> = log.lines().filter(|line| line.contains(trace_id)).collect();
    assert_eq!(of_request.len(), 1, "{log}");
    for part in [
        "access:",
        "api=\"test\"",
        "route=\"unmatched\"",
        "status=400",
    ] {
        assert!(of_request[0].contains(part), "{part} is not in {log}");
    }
    let counted = recorder.snapshotter().snapshot().into_vec();
    let labels: Vec<Vec<_>> = counted
        .iter()
        .map(|(key, ..)| key.key().labels().map(|label| label.value()).collect())
        .collect();
    assert_eq!(labels, [["test", "unmatched", "OTHER", "400"]]);
}
