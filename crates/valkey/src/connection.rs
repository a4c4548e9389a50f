//! Maintains a connection to the server: a task makes a pair of a connection and its server's identity ([`Bound`]), checks
//! it until it is given up, and makes the next.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use goodpon_application::ports::StoreResult;
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{
    address::{self, ConfigError},
    bound::{Bound, Shared},
};

/// The time limit for making a pair: connecting, and checking that the server can be used.
const BIND_TIMEOUT: Duration = Duration::from_secs(3);

/// The first and the longest pause between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A Valkey server, to which a connection is maintained as long as a handle lives. Cheap to clone.
#[derive(Clone)]
pub struct Valkey {
    owner: Arc<Owner>,
}

impl fmt::Debug for Valkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Valkey")
            .field("address", &self.shared().address)
            .field("installation", &self.shared().installation)
            .finish_non_exhaustive()
    }
}

struct Owner {
    shared: Arc<Shared>,
    keeper: AbortHandle,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.keeper.abort();
        // The current pair refers to `shared`, which holds the pair: without this they would keep each other alive.
        self.shared
            .current
            .send_modify(|current| *current = Err("the connection was closed".into()));
    }
}

impl Valkey {
    /// Starts to connect, and returns at once; a task keeps trying. `url` is `valkey://[[user]:password@]host[:port]`, with
    /// `valkeys://` over TLS; the name `installation` keeps the keys of installations on one server apart.
    ///
    /// # Errors
    ///
    /// A setting can never work. A server that cannot be used is reported by [`Valkey::bound`] instead.
    ///
    /// # Panics
    ///
    /// It is called outside of a tokio runtime.
    pub fn open(url: &str, installation: &str) -> Result<Self, ConfigError> {
        address::check_installation(installation)?;
        let (client, address) = address::client(url)?;
        let shared = Arc::new(Shared::new(client, address, installation));
        let keep = keep_bound(Arc::clone(&shared), || ());
        let keeper = tokio::spawn(keep).abort_handle();
        Ok(Self {
            owner: Arc::new(Owner { shared, keeper }),
        })
    }

    /// Maintains the connection in the caller's task, in place of the task that [`Valkey::open`] started. It never returns,
    /// and may be called again if it panicked. It calls `checked` after each check of the server.
    pub async fn keep(&self, checked: impl Fn() + Send + Sync) {
        self.owner.keeper.abort();
        keep_bound(Arc::clone(self.shared()), checked).await;
    }

    /// Returns the current pair.
    ///
    /// # Errors
    ///
    /// Unavailable, with the reason why there is none.
    pub fn bound(&self) -> StoreResult<Bound> {
        let current = self.shared().current.borrow();
        current
            .clone()
            .map_err(|reason| self.shared().unavailable(&reason))
    }

    /// Returns the current pair, after waiting for one for up to `within`.
    ///
    /// # Errors
    ///
    /// Those of [`Valkey::bound`], once the time is over.
    pub async fn bound_within(&self, within: Duration) -> StoreResult<Bound> {
        let mut current = self.shared().current.subscribe();
        // The pair that was waited for, even if it is given up again by now: its calls fail, and their callers ask again.
        let found = match timeout(within, current.wait_for(Result::is_ok)).await {
            Ok(Ok(found)) => found.as_ref().ok().cloned(),
            _ => None,
        };
        found.map_or_else(|| self.bound(), Ok)
    }

    /// Returns whether the last attempt to connect failed for a reason against which waiting does not help: a wrong
    /// password, or the server's version or settings. [`Self::bound`] returns the reason.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.shared().is_refused.load(Ordering::Relaxed)
    }

    /// Returns whether the server uses 80 % of its memory or more. The gate then does not remember refusals that would be
    /// answered again anyway.
    #[must_use]
    pub fn is_short_of_memory(&self) -> bool {
        self.shared().is_short_of_memory.load(Ordering::Relaxed)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }
}

/// Makes a pair, checks its server until the pair is given up, and makes the next. Calls `checked` after each check
/// and each try. Goes on with the current pair, if there is one.
async fn keep_bound(shared: Arc<Shared>, checked: impl Fn() + Send + Sync) {
    let current = shared.current.borrow().clone();
    if let Ok(bound) = current {
        bound.check_until_given_up(&checked).await;
    }
    let mut pause = FIRST_PAUSE;
    loop {
        match timeout(BIND_TIMEOUT, Bound::make(&shared)).await {
            Ok(Ok(bound)) => {
                pause = FIRST_PAUSE;
                shared.is_refused.store(false, Ordering::Relaxed);
                tracing::info!(
                    address = shared.address,
                    server = bound.server(),
                    "Valkey is there"
                );
                shared
                    .current
                    .send_modify(|current| *current = Ok(bound.clone()));
                bound.check_until_given_up(&checked).await;
            }
            Ok(Err(unusable)) => {
                shared
                    .is_refused
                    .store(unusable.is_final, Ordering::Relaxed);
                shared.set_unusable(&unusable.reason);
            }
            Err(_) => shared.set_unusable("it does not answer in time"),
        }
        checked();
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
