//! The connections to the server: a bounded number, kept open while they are used.
//!
//! The driver's own pool is not used: if a waiter is woken after its future was dropped, the wake-up is lost, and the next
//! waiter waits although a connection is idle.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use mysql_async::{Conn, Opts, prelude::Queryable};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::fault::{Fault, Result};

/// A connection that was idle for longer is pinged before it is used.
const MAX_IDLE_WITHOUT_PING: Duration = Duration::from_secs(1);

/// The longest wait for the answer to a ping; a connection that was cut silently never answers.
const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection that was idle for longer is closed when another one is returned. The server closes it after 10 s.
const MAX_IDLE: Duration = Duration::from_secs(8);

/// The connections of a store.
pub(crate) struct Pool {
    opts: Opts,
    permits: Arc<Semaphore>,
    /// Idle connections in the order of their last use, the most recent last.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    conn: Conn,
    since: Instant,
}

/// The permit to use one connection; dropping it lets the next waiter have one.
pub(crate) struct ConnectionPermit {
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    /// Makes a pool of at most `connections` connections; opens none yet.
    pub(crate) fn new(opts: Opts, connections: usize) -> Self {
        Self {
            opts,
            permits: Arc::new(Semaphore::new(connections.max(1))),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Takes a connection, first come, first served. Waits without a limit; the caller sets one.
    pub(crate) async fn take(&self) -> Result<(Conn, ConnectionPermit)> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = ConnectionPermit {
            _permit: permit.map_err(|_| Fault::NoConnection)?,
        };
        if let Some(Idle { mut conn, since }) = self.pop() {
            if since.elapsed() < MAX_IDLE_WITHOUT_PING || answers_ping(&mut conn).await {
                return Ok((conn, permit));
            }
            close(conn);
            // The others have been idle for even longer.
            self.close_idle();
        }
        Ok((Conn::new(self.opts.clone()).await?, permit))
    }

    /// Keeps a connection for the next use; no statement or transaction is open in it.
    pub(crate) fn give_back(&self, conn: Conn) {
        let since = Instant::now();
        let mut idle = self.idle();
        let is_old = |idle: &Idle| since.duration_since(idle.since) > MAX_IDLE;
        let old = idle.iter().take_while(|idle| is_old(idle)).count();
        let old: Vec<Idle> = idle.drain(..old).collect();
        idle.push(Idle { conn, since });
        drop(idle);
        for Idle { conn, .. } in old {
            close(conn);
        }
    }

    /// Closes all idle connections: when one is lost, the others are likely to be lost too.
    pub(crate) fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.idle());
        for Idle { conn, .. } in idle {
            close(conn);
        }
    }

    fn pop(&self) -> Option<Idle> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes idle connections older.
    #[cfg(test)]
    pub(crate) fn age_idle(&self, by: Duration) {
        for idle in self.idle().iter_mut() {
            idle.since -= by;
        }
    }

    /// Returns the number of idle connections, and the number of free permits.
    #[cfg(test)]
    pub(crate) fn idle_and_free(&self) -> (usize, usize) {
        (self.idle().len(), self.permits.available_permits())
    }
}

async fn answers_ping(conn: &mut Conn) -> bool {
    let answer = tokio::time::timeout(PING_TIMEOUT, conn.ping()).await;
    matches!(answer, Ok(Ok(())))
}

/// Closes a connection without waiting, even in the middle of a statement: polling the disconnect once marks it as closed,
/// and sends the goodbye if the socket takes it.
pub(crate) fn close(conn: Conn) {
    let _ = conn.disconnect().now_or_never();
}
