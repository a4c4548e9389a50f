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

use futures::FutureExt;
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

/// The time for which a stop leaves connections alone, so that a request that is on its way to one is answered.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(100);

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
    let mut clients = Clients::new(service, limits, draining);
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &clients.slots) => accepted,
        };
        match accepted {
            Ok(accepted) => clients.serve(accepted),
            Err(_) => tokio::select! {
                () = &mut shutdown => break,
                () = tokio::time::sleep(ACCEPT_PAUSE) => {}
            },
        }
    }
    clients.draining.begin();
    // Those that wait to be accepted would be reset with the listener.
    while let Some(Ok(accepted)) = accept(&listener, &clients.slots).now_or_never() {
        clients.serve(accepted);
    }
    drop(listener);
    clients.finish().await
}

/// The connections of one listener.
struct Clients<S> {
    service: S,
    limits: Limits,
    draining: Draining,
    http: http1::Builder,
    shares: Shares,
    slots: Arc<Semaphore>,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
}

/// A connection that was accepted, its peer, and the slot that it occupies.
type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

/// Waits for a free slot first: without one, clients wait in the backlog instead of being refused.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> io::Result<Accepted> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await.inspect_err(|error| {
        tracing::warn!(%error, "a connection could not be accepted");
    })?;
    Ok((stream, peer, slot))
}

impl<S: Serve> Clients<S> {
    fn new(service: S, limits: Limits, draining: Draining) -> Self {
        let mut http = http1::Builder::new();
        // The connection has timers of its own.
        http.header_read_timeout(None)
            .half_close(true)
            .max_header_size(MAX_HEAD)
            .max_buf_size(READ_BUFFER);
        Self {
            service,
            limits,
            draining,
            http,
            shares: Shares::new(limits.max_per_address),
            slots: Arc::new(Semaphore::new(
                limits.max_connections.min(Semaphore::MAX_PERMITS),
            )),
            graceful: GracefulShutdown::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Answers the requests of a connection in a task of its own.
    fn serve(&mut self, (stream, peer, slot): Accepted) {
        let Some(share) = self.shares.take(peer.ip()) else {
            count_cut(self.service.api(), "address_share");
            return;
        };
        let client = Client {
            stream,
            peer,
            draining: self.draining.clone(),
            _share: share,
            _slot: slot,
        };
        let (http, service) = (self.http.clone(), self.service.clone());
        let watcher = self.graceful.watcher();
        self.tasks
            .spawn(client.exchange(http, service, self.limits, watcher));
        while self.tasks.try_join_next().is_some() {}
    }

    /// Closes idle connections, those that are new a moment later, and finishes running requests. Returns the number of
    /// connections that it had to drop.
    async fn finish(mut self) -> usize {
        tokio::time::sleep(FIRST_REQUEST_GRACE).await;
        let ended = tokio::time::timeout(self.limits.shutdown_timeout, self.graceful.shutdown());
        if ended.await.is_ok() {
            return 0;
        }
        while self.tasks.try_join_next().is_some() {}
        let dropped = self.tasks.len();
        self.tasks.shutdown().await;
        dropped
    }
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
