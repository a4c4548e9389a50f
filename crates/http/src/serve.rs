//! The accept loop of one listener: limits on connections and headers, and a shutdown that finishes what
//! runs (contract §1, Limits).

mod handler;
mod head;
mod share;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower::Service;

use crate::connection::{Connection, Patience};
use crate::observe::{Observe, count_cut};
use handler::Handler;
use share::{Place, Shares};

/// The largest head of a request, and the read buffer of a connection, in bytes.
const MAX_HEAD: usize = 32 * 1024;
const READ_BUFFER: usize = 64 * 1024;

/// What the system keeps of an answer that its client has not read, in bytes. Left to itself it grows to megabytes.
const SEND_BUFFER: usize = 64 * 1024;

/// The pause after a failed accept: it fails for want of file handles, which only time gives back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The peer's address: an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A service that can be served: a router, or one of our APIs.
pub trait Serve:
    Service<Request<Body>, Response = Response, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
    /// The name under which the figures and the access log know it.
    fn api(&self) -> &'static str;
}

impl Serve for Router {
    fn api(&self) -> &'static str {
        "unknown"
    }
}

impl<S> Serve for Observe<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    fn api(&self) -> &'static str {
        Observe::api(self)
    }
}

/// What one listener grants its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; further ones wait in the listener's backlog.
    pub max_connections: usize,
    /// Of those, how many the clients of one address (of IPv6 one /64) may have; further ones are closed at once.
    pub max_per_address: usize,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a connection may stay idle between two requests.
    pub keep_alive: Duration,
    /// How long a shutdown waits for running requests before it drops them.
    pub shutdown_timeout: Duration,
}

/// Whether the process is about to stop and still serves; all clones say the same.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// From now on it is.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves `service` on `listener` until `shutdown` is done, then stops accepting, closes idle
/// connections and finishes what runs. A request that comes while it is `draining` is the last of its connection.
/// Returns how many connections it had to drop.
pub async fn serve(
    listener: TcpListener,
    service: impl Serve,
    limits: Limits,
    draining: Draining,
    shutdown: impl Future<Output = ()>,
) -> usize {
    let mut http = http1::Builder::new();
    // The connection has timers of its own.
    http.header_read_timeout(None)
        .half_close(true)
        .max_header_size(MAX_HEAD)
        .max_buf_size(READ_BUFFER);
    let shares = Shares::new(limits.max_per_address);
    let slots = Arc::new(Semaphore::new(
        limits.max_connections.min(Semaphore::MAX_PERMITS),
    ));
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Ok((stream, peer, slot)) = accepted else {
            tokio::select! {
                () = &mut shutdown => break,
                () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
            }
        };
        let Some(place) = shares.take(peer.ip()) else {
            count_cut(service.api(), "address_share");
            continue;
        };
        let client = Client {
            stream,
            peer,
            draining: draining.clone(),
            _slot: slot,
            _place: place,
        };
        tasks.spawn(client.converse(http.clone(), service.clone(), limits, graceful.watcher()));
        while tasks.try_join_next().is_some() {}
    }
    drop(listener);
    if tokio::time::timeout(limits.shutdown_timeout, graceful.shutdown())
        .await
        .is_ok()
    {
        return 0;
    }
    while tasks.try_join_next().is_some() {}
    let dropped = tasks.len();
    tasks.shutdown().await;
    dropped
}

/// Waits for a free slot first: without one, clients wait in the backlog instead of being refused.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await.inspect_err(|error| {
        tracing::warn!(%error, "a connection could not be accepted");
    })?;
    Ok((stream, peer, slot))
}

/// A connection that was accepted, and the places that it takes.
struct Client {
    stream: TcpStream,
    peer: SocketAddr,
    draining: Draining,
    _slot: OwnedSemaphorePermit,
    _place: Place,
}

impl Client {
    async fn converse(
        self,
        http: http1::Builder,
        service: impl Serve,
        limits: Limits,
        watcher: Watcher,
    ) {
        // Neither is needed to answer.
        if let Err(error) = self.stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        if let Err(error) = set_socket_send_buffer_size(&self.stream, SEND_BUFFER) {
            tracing::debug!(%error, "SO_SNDBUF could not be set");
        }
        let patience = Patience {
            head: limits.header_timeout,
            idle: limits.keep_alive,
        };
        let connection = Connection::new(self.stream, service.api(), patience);
        let handler = Handler {
            service,
            peer: self.peer,
            draining: self.draining,
            watch: connection.watch(),
        };
        let conversation = http.serve_connection(TokioIo::new(connection), handler);
        if let Err(error) = watcher.watch(conversation).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

#[cfg(test)]
mod tests;
