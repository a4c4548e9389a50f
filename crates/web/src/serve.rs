//! The accept loop of one listener: limits on connections and headers, and a shutdown that finishes running requests
//! (contract §1, Limits).

mod draining;
mod handler;
mod head;
mod service;
mod share;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::connection::{Connection, Patience};
use crate::durations::count_cut;
pub use draining::Draining;
use handler::Handler;
pub use service::{Serve, Unobserved};
use share::{Share, Shares};

/// The largest head of a request, and the read buffer of a connection, in bytes.
const MAX_HEAD: usize = 32 * 1024;
const READ_BUFFER: usize = 64 * 1024;

/// The most that the system keeps of an answer that its client has not read, in bytes. Left to itself it grows to megabytes.
const SEND_BUFFER: usize = 64 * 1024;

/// The pause after a failed accept: it fails for lack of file handles, which only time gives back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The limits of one listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most connections at once; further ones wait in the listener's backlog.
    pub max_connections: usize,
    /// The most of those for one address (of IPv6 one /64); further ones are closed at once.
    pub max_per_address: usize,
    /// The longest time for a request's head.
    pub header_timeout: Duration,
    /// The longest time for which a connection may stay idle between two requests.
    pub keep_alive: Duration,
    /// The longest time for which a shutdown waits for running requests before it drops them.
    pub shutdown_timeout: Duration,
}

/// Serves `service` on `listener` until `shutdown` is done, then stops accepting, closes idle
/// connections and finishes running requests. A request that arrives while it is `draining` is the last of its connection.
/// Returns the number of connections that it had to drop.
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
        let Some(share) = shares.take(peer.ip()) else {
            count_cut(service.api(), "address_share");
            continue;
        };
        let client = Client {
            stream,
            peer,
            draining: draining.clone(),
            _share: share,
            _slot: slot,
        };
        tasks.spawn(client.exchange(http.clone(), service.clone(), limits, graceful.watcher()));
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

/// A connection that was accepted, and the slot and share that it occupies.
struct Client {
    stream: TcpStream,
    peer: SocketAddr,
    draining: Draining,
    // Before the slot, for fields are dropped in their order: a connection that gets the slot has to find the share given
    // back, or it is refused although its address has room.
    _share: Share,
    _slot: OwnedSemaphorePermit,
}

impl Client {
    /// Answers the client's requests until one of both ends the connection.
    async fn exchange(
        self,
        http: http1::Builder,
        service: impl Serve,
        limits: Limits,
        watcher: Watcher,
    ) {
        // Answers go out without either of these options too.
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
        let connection = Connection::new(self.stream, service.api(), service.faults(), patience);
        let handler = Handler {
            service,
            peer: self.peer,
            draining: self.draining,
            watch: connection.watch(),
        };
        let exchange = http.serve_connection(TokioIo::new(connection), handler);
        if let Err(error) = watcher.watch(exchange).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

#[cfg(test)]
mod tests;
