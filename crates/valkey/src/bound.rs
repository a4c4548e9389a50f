//! A connection and the identity of its server, as one immutable pair.
//!
//! A client that reconnects by itself could send a call meant for one server to another. Here a connection that fails is
//! given up together with the identity of its server.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use goodpon_application::ports::{StoreError, StoreResult};
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, aio::MultiplexedConnection};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::{
    fault,
    info::{self, Unusable},
    names,
    script::{Reply, ScriptCall},
};

/// The time limit for connecting, and for each answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The interval at which the current pair's server is asked for its identity and its memory.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The largest number of requests that wait to be written to the connection.
const MAX_QUEUED_REQUESTS: usize = 1024;

/// The interval between two log lines about failed calls.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The state that all pairs of a process share.
pub(crate) struct Shared {
    pub(crate) client: redis::Client,
    pub(crate) address: String,
    pub(crate) installation: String,
    /// The current pair, or the reason why there is none.
    pub(crate) current: watch::Sender<Result<Bound, Arc<str>>>,
    pub(crate) is_refused: AtomicBool,
    pub(crate) is_short_of_memory: AtomicBool,
    failure_logged_at: Mutex<Option<Instant>>,
}

impl Shared {
    pub(crate) fn new(client: redis::Client, address: String, installation: &str) -> Self {
        Self {
            client,
            address,
            installation: installation.to_owned(),
            current: watch::Sender::new(Err("not yet connected".into())),
            is_refused: AtomicBool::new(false),
            is_short_of_memory: AtomicBool::new(false),
            failure_logged_at: Mutex::new(None),
        }
    }

    pub(crate) fn unavailable(&self, reason: &str) -> StoreError {
        StoreError::Unavailable {
            reason: format!("Valkey at {}: {reason}", self.address),
            may_have_happened: false,
        }
    }

    /// Records the reason why there is no pair, and logs it if it has changed.
    pub(crate) fn set_unusable(&self, reason: &str) {
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

/// A connection and the identity of its server. It never reconnects: calls on a pair that was given up fail, and never
/// reach another server. Cheap to clone.
#[derive(Clone)]
pub struct Bound {
    pair: Arc<Pair>,
}

struct Pair {
    connection: MultiplexedConnection,
    server: String,
    shared: Arc<Shared>,
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound")
            .field("server", &self.server())
            .finish_non_exhaustive()
    }
}

impl Bound {
    /// Connects, and checks that the server can hold gates.
    pub(crate) async fn make(shared: &Arc<Shared>) -> Result<Self, Unusable> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_pipeline_buffer_size(MAX_QUEUED_REQUESTS);
        let unusable = |error| fault::connect_failure(&error);
        let mut connection = shared
            .client
            .get_multiplexed_async_connection_with_config(&settings)
            .await
            .map_err(unusable)?;
        let answer: String = redis::cmd("INFO")
            .query_async(&mut connection)
            .await
            .map_err(unusable)?;
        let usable = info::examine(&answer)?;
        if let Some(warning) = &usable.warning {
            tracing::warn!(address = shared.address, "Valkey: {warning}");
        }
        shared.note_memory(&usable);
        let pair = Pair {
            connection,
            server: usable.server,
            shared: Arc::clone(shared),
        };
        Ok(Self {
            pair: Arc::new(pair),
        })
    }

    /// Returns the identity that the server reported right after the connection was made: run id and replication id.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.pair.server
    }

    /// Checks that the server takes writes and still has the same identity, by a write and an INFO.
    ///
    /// # Errors
    ///
    /// Unavailable, if it does not.
    pub async fn prove_writable(&self) -> StoreResult<()> {
        let key = names::of_installation(&self.shared().installation, "beat");
        let mut set = redis::cmd("SET");
        set.arg(key).arg("1").arg("PX").arg(10_000);
        self.query::<()>(&set).await?;
        self.check_server().await
    }

    /// Gives the pair up if the server has another identity, or can hold no gates now.
    async fn check_server(&self) -> StoreResult<()> {
        let answer: String = self.query(&redis::cmd("INFO")).await?;
        let reason = match info::examine(&answer) {
            Ok(usable) if usable.server == self.server() => {
                self.shared().note_memory(&usable);
                return Ok(());
            }
            Ok(_) => "it is not the server any more that it was".to_owned(),
            Err(unusable) => unusable.reason,
        };
        self.give_up(&reason);
        Err(self.shared().unavailable(&reason))
    }

    /// Checks the server once a second until the pair is given up, and calls `checked` after each check.
    pub(crate) async fn check_until_given_up(&self, checked: &(impl Fn() + Sync)) {
        let mut current = self.shared().current.subscribe();
        let mut ticks = interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = current.wait_for(Result::is_err) => return,
                _ = ticks.tick() => {}
            }
            // An error was logged where it was found.
            let _ = self.check_server().await;
            checked();
        }
    }

    /// Gives the pair up: [`Valkey::bound`] does not return it any more, and a new one is made.
    pub(crate) fn give_up(&self, reason: &str) {
        let was_current = self.shared().current.send_if_modified(|current| {
            let is_this = matches!(current, Ok(bound) if Arc::ptr_eq(&bound.pair, &self.pair));
            if is_this {
                *current = Err(reason.into());
            }
            is_this
        });
        if was_current {
            let address = &self.shared().address;
            tracing::warn!(address, server = self.server(), reason, "Valkey is lost");
        }
    }

    /// Runs a script, and loads it first if the server does not know it.
    pub(crate) async fn run(&self, call: ScriptCall) -> StoreResult<Reply> {
        let mut answer = self.send(call.command()).await;
        if matches!(&answer, Err(error) if fault::is_unknown_script(error)) {
            self.query::<()>(&call.load_command()).await?;
            answer = self.send(call.command()).await;
        }
        Reply::new(answer.map_err(|error| self.fail(&error))?)
    }

    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> StoreResult<T> {
        self.send(command).await.map_err(|error| self.fail(&error))
    }

    async fn send<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        command.query_async(&mut self.pair.connection.clone()).await
    }

    /// Counts and logs the error of a call, gives the pair up if the error spoils its connection, and returns the error
    /// for the caller.
    fn fail(&self, error: &redis::RedisError) -> StoreError {
        let failed = fault::classify(error);
        self.shared().note_failure(&failed.kind, &failed.error);
        if failed.spoils_connection {
            self.give_up(&fault::text(error));
        }
        failed.error
    }

    pub(crate) fn is_short_of_memory(&self) -> bool {
        self.shared().is_short_of_memory.load(Ordering::Relaxed)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.pair.shared
    }
}
