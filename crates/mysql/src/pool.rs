//! Connections to the server: so many at most, and kept open while they are used.
//!
//! The driver has a pool, but one whose places are not RAII: a waiter that is called and has given up takes the call
//! along, and the next one waits beside an idle connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use mysql_async::{Conn, Opts, prelude::Queryable};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::fault::{Fault, Result};

/// A connection that was idle for longer is asked first whether it still stands.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// How long its answer is waited for. A way that was cut in silence gives none.
const ASKED_WITHIN: Duration = Duration::from_millis(500);

/// A connection that was idle for longer is closed, when another is given back. The server closes it after ten.
const KEPT_FOR: Duration = Duration::from_secs(8);

/// The connections of a store.
pub(crate) struct Pool {
    opts: Opts,
    places: Arc<Semaphore>,
    /// The latest used last.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    conn: Conn,
    since: Instant,
}

/// The right to one connection, as long as it lives.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    /// A pool of at most so many connections, of which there is none yet.
    pub(crate) fn new(opts: Opts, connections: usize) -> Self {
        Self {
            opts,
            places: Arc::new(Semaphore::new(connections.max(1))),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// A connection, in the order of asking. Waits as long as it must.
    pub(crate) async fn take(&self) -> Result<(Conn, Place)> {
        let permit = Arc::clone(&self.places).acquire_owned().await;
        let place = Place {
            _permit: permit.map_err(|_| Fault::NoConnection)?,
        };
        if let Some(Idle { mut conn, since }) = self.pop() {
            if since.elapsed() < TRUSTED_FOR || stands(&mut conn).await {
                return Ok((conn, place));
            }
            close(conn);
            // The others were idle for longer.
            self.close_idle();
        }
        Ok((Conn::new(self.opts.clone()).await?, place))
    }

    /// Keeps a connection in which nothing is under way for the next.
    pub(crate) fn give_back(&self, conn: Conn) {
        let since = Instant::now();
        let mut idle = self.idle();
        let is_old = |idle: &Idle| since.duration_since(idle.since) > KEPT_FOR;
        let old = idle.iter().take_while(|idle| is_old(idle)).count();
        let old: Vec<Idle> = idle.drain(..old).collect();
        idle.push(Idle { conn, since });
        drop(idle);
        for Idle { conn, .. } in old {
            close(conn);
        }
    }

    /// Closes what is idle: where one connection is lost, the others are likely to be.
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

    /// How many connections are idle, and how many more could be taken at once.
    #[cfg(test)]
    pub(crate) fn idle_and_free(&self) -> (usize, usize) {
        (self.idle().len(), self.places.available_permits())
    }
}

async fn stands(conn: &mut Conn) -> bool {
    let answer = tokio::time::timeout(ASKED_WITHIN, conn.ping()).await;
    matches!(answer, Ok(Ok(())))
}

/// Closes a connection without waiting for anything, whatever is under way in it: one look at the farewell marks it as
/// closed, and sends it where the server is listening.
pub(crate) fn close(conn: Conn) {
    let _ = conn.disconnect().now_or_never();
}
