//! Maintains a connection to the server: a task makes a pair of a connection and its server's identity ([`Bound`]), checks
//! it until it is given up, and makes the next.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use goodpon_application::ports::{StoreError, StoreResult};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    address::{self, ConfigError},
    bound::Bound,
    info,
};

/// The time limit for making a pair: connecting, and checking that the server can be used.
const BIND_TIMEOUT: Duration = Duration::from_secs(3);

/// The first and the longest pause between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The interval between two log lines about failed calls.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(1);

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

/// The state that all pairs of a process share.
pub(crate) struct Shared {
    pub(crate) client: redis::Client,
    pub(crate) address: String,
    pub(crate) installation: String,
    /// The current pair, or the reason why there is none.
    pub(crate) current: watch::Sender<Result<Bound, Arc<str>>>,
    is_refused: AtomicBool,
    pub(crate) is_short_of_memory: AtomicBool,
    failure_logged_at: std::sync::Mutex<Option<Instant>>,
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
        metrics::describe_counter!(
            "goodpon_valkey_errors_total",
            "Calls to Valkey that failed, by kind"
        );
        metrics::describe_gauge!(
            "goodpon_valkey_memory_used_ratio",
            "Used memory of Valkey as a share of maxmemory; 0 where it has no limit"
        );
        let shared = Arc::new(Shared {
            client,
            address,
            installation: installation.to_owned(),
            current: watch::Sender::new(Err("not yet connected".into())),
            is_refused: AtomicBool::new(false),
            is_short_of_memory: AtomicBool::new(false),
            failure_logged_at: std::sync::Mutex::new(None),
        });
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
        let _ = timeout(within, current.wait_for(Result::is_ok)).await;
        self.bound()
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

impl Shared {
    pub(crate) fn unavailable(&self, reason: &str) -> StoreError {
        StoreError::Unavailable {
            reason: format!("Valkey at {}: {reason}", self.address),
            may_have_happened: false,
        }
    }

    /// Records the reason why there is no pair, and logs it if it has changed.
    fn set_unusable(&self, reason: &str) {
        let is_new = self.current.send_if_modified(|current| match current {
            Err(before) if **before == *reason => false,
            current => {
                *current = Err(reason.into());
                true
            }
        });
        if is_new {
            tracing::warn!(address = self.address, reason, "Valkey cannot be used");
        }
    }

    pub(crate) fn note_memory(&self, usable: &info::Usable) {
        let is_short = usable.is_short_of_memory();
        let was_short = self.is_short_of_memory.swap(is_short, Ordering::Relaxed);
        if is_short && !was_short {
            tracing::warn!(
                address = self.address,
                used = usable.memory_used,
                "Valkey is short of memory: refusals that would be answered again anyway are not remembered"
            );
        }
        metrics::gauge!("goodpon_valkey_memory_used_ratio").set(usable.memory_used.unwrap_or(0.0));
    }

    /// Counts a failed call, and logs it unless one was logged within the last second.
    pub(crate) fn note_failure(&self, kind: &str, error: &StoreError) {
        metrics::counter!("goodpon_valkey_errors_total", "kind" => kind.to_owned()).increment(1);
        let Ok(mut last) = self.failure_logged_at.lock() else {
            return;
        };
        if last.is_none_or(|last| last.elapsed() >= FAILURE_LOG_INTERVAL) {
            *last = Some(Instant::now());
            tracing::error!(address = self.address, kind, %error, "Valkey refused or failed");
        }
    }
}

/// Makes a pair, checks its server until the pair is given up, and makes the next. Calls `checked` after each check. Goes
/// on with the current pair, if there is one.
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
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
