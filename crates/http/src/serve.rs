//! The accept loop of one listener: limits on connections and headers, and a shutdown that finishes what
//! runs (contract §1, Limits).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower::Service;

use crate::connection::Connection;
use crate::observe::Observe;

/// The largest head of a request, and the read buffer of a connection, in bytes.
const MAX_HEAD: usize = 32 * 1024;
const READ_BUFFER: usize = 64 * 1024;

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
    /// How long a request's head may take, and how long a connection may stay idle.
    pub header_timeout: Duration,
    /// How long a shutdown waits for running requests before it drops them.
    pub shutdown_timeout: Duration,
}

/// Serves `service` on `listener` until `shutdown` is done, then stops accepting, closes idle
/// connections and finishes what runs. Returns how many connections it had to drop.
pub async fn serve(
    listener: TcpListener,
    service: impl Serve,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> usize {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(MAX_HEAD)
        .max_buf_size(READ_BUFFER);
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
        let handler = Handler {
            service: service.clone(),
            peer,
        };
        tasks.spawn(converse(
            http.clone(),
            stream,
            handler,
            graceful.watcher(),
            slot,
        ));
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

async fn converse(
    http: http1::Builder,
    stream: TcpStream,
    handler: Handler<impl Serve>,
    watcher: Watcher,
    slot: OwnedSemaphorePermit,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let client = Connection::new(stream, handler.service.api());
    let connection = http.serve_connection(TokioIo::new(client), handler);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
    drop(slot);
}

/// Hands the requests of one connection to the service.
struct Handler<S> {
    service: S,
    peer: SocketAddr,
}

impl<S: Serve> hyper::service::Service<Request<Incoming>> for Handler<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(self.peer));
        // Ours are always ready.
        self.service.clone().call(request)
    }
}

#[cfg(test)]
mod tests;
