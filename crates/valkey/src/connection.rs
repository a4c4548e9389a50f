//! The connection, and the server that it leads to, as one immutable pair.
//!
//! A client that reconnects behind one's back would let a call meant for one server reach another. Here a connection
//! that fails is given up with all that was known of its server, and a task makes a new pair.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use goodpon_application::ports::{StoreError, StoreResult};
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, aio::MultiplexedConnection};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use crate::{
    address::{self, ConfigError},
    fault, info,
    info::WhyNot,
    names,
    script::{Call, Reply},
};

/// For a connection to be made, and for each answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// For a connection to be made and its server to be found usable.
const BOUND_WITHIN: Duration = Duration::from_secs(3);

/// Between two tries to connect, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often a bound server is asked who it is and how much memory it uses.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Requests that may wait to be written to the connection.
const QUEUE: usize = 1024;

/// A Valkey server that is connected to for as long as a handle lives. Cheap to clone.
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
        // The present pair knows what is shared, which would otherwise keep each other alive.
        self.shared
            .present
            .send_modify(|present| *present = Err("the connection was closed".into()));
    }
}

/// What all pairs of a process have in common.
pub(crate) struct Shared {
    pub(crate) client: redis::Client,
    address: String,
    pub(crate) installation: String,
    present: watch::Sender<Result<Bound, Arc<str>>>,
    is_refused: AtomicBool,
    is_short_of_memory: AtomicBool,
    complained_at: std::sync::Mutex<Option<Instant>>,
}

/// A connection and the server that it leads to. It is dropped, never mended; whoever holds on to one that was given
/// up gets errors, no other server. Cheap to clone.
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

impl Valkey {
    /// Begins to connect, and keeps at it. `url` is `valkey://[[user]:password@]host[:port]`, with
    /// `valkeys://` over TLS; `installation` tells those that share a server apart.
    ///
    /// # Errors
    ///
    /// Settings that can never work. A server that cannot be used is no error here: [`Valkey::bound`] tells.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
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
            present: watch::Sender::new(Err("not yet connected".into())),
            is_refused: AtomicBool::new(false),
            is_short_of_memory: AtomicBool::new(false),
            complained_at: std::sync::Mutex::new(None),
        });
        let keeper = tokio::spawn(keep_bound(Arc::clone(&shared))).abort_handle();
        Ok(Self {
            owner: Arc::new(Owner { shared, keeper }),
        })
    }

    /// The present pair.
    ///
    /// # Errors
    ///
    /// Unavailable, saying why there is none.
    pub fn bound(&self) -> StoreResult<Bound> {
        let present = self.shared().present.borrow();
        present
            .clone()
            .map_err(|reason| self.shared().unavailable(&reason))
    }

    /// The present pair, waiting for one up to `within`.
    ///
    /// # Errors
    ///
    /// As of [`Valkey::bound`], once the time is over.
    pub async fn bound_within(&self, within: Duration) -> StoreResult<Bound> {
        let mut present = self.shared().present.subscribe();
        let _ = timeout(within, present.wait_for(Result::is_ok)).await;
        self.bound()
    }

    /// Whether the server answered the last try to connect with what no waiting helps against: a wrong password, a
    /// version or a setting of its own. [`Self::bound`] tells which.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.shared().is_refused.load(Ordering::Relaxed)
    }

    /// Whether the server uses 80 % of its memory or more. The gate then spares what comes again by itself.
    #[must_use]
    pub fn is_short_of_memory(&self) -> bool {
        self.shared().is_short_of_memory.load(Ordering::Relaxed)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }
}

impl Shared {
    fn unavailable(&self, reason: &str) -> StoreError {
        StoreError::Unavailable {
            reason: format!("Valkey at {}: {reason}", self.address),
            may_have_happened: false,
        }
    }

    /// Tells why there is no pair; in the log only when that has changed.
    fn set_unusable(&self, reason: &str) {
        let is_new = self.present.send_if_modified(|present| match present {
            Err(there) if **there == *reason => false,
            there => {
                *there = Err(reason.into());
                true
            }
        });
        if is_new {
            tracing::warn!(address = self.address, reason, "Valkey cannot be used");
        }
    }

    fn note_memory(&self, usable: &info::Usable) {
        let is_short = usable.is_short_of_memory();
        let was_short = self.is_short_of_memory.swap(is_short, Ordering::Relaxed);
        if is_short && !was_short {
            tracing::warn!(
                address = self.address,
                used = usable.memory_used,
                "Valkey is short of memory: refusals that come again by themselves are not remembered"
            );
        }
        metrics::gauge!("goodpon_valkey_memory_used_ratio").set(usable.memory_used.unwrap_or(0.0));
    }

    /// Logs what a server complains about, at most once a second.
    fn complain(&self, kind: &str, error: &StoreError) {
        metrics::counter!("goodpon_valkey_errors_total", "kind" => kind.to_owned()).increment(1);
        let Ok(mut last) = self.complained_at.lock() else {
            return;
        };
        if last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            *last = Some(Instant::now());
            tracing::error!(address = self.address, kind, %error, "Valkey refused or failed");
        }
    }
}

/// Makes a pair, watches over it until it is given up, and makes the next.
async fn keep_bound(shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match timeout(BOUND_WITHIN, Bound::make(&shared)).await {
            Ok(Ok(bound)) => {
                pause = FIRST_PAUSE;
                shared.is_refused.store(false, Ordering::Relaxed);
                tracing::info!(
                    address = shared.address,
                    server = bound.server(),
                    "Valkey is there"
                );
                shared
                    .present
                    .send_modify(|present| *present = Ok(bound.clone()));
                bound.watch_over().await;
            }
            Ok(Err(why_not)) => {
                shared.is_refused.store(why_not.is_final, Ordering::Relaxed);
                shared.set_unusable(&why_not.reason);
            }
            Err(_) => shared.set_unusable("it does not answer in time"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl Bound {
    async fn make(shared: &Arc<Shared>) -> Result<Self, WhyNot> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWERS_WITHIN))
            .set_response_timeout(Some(ANSWERS_WITHIN))
            .set_pipeline_buffer_size(QUEUE);
        let why_not = |error| fault::why_not_connected(&error);
        let mut connection = shared
            .client
            .get_multiplexed_async_connection_with_config(&settings)
            .await
            .map_err(why_not)?;
        let answer: String = redis::cmd("INFO")
            .query_async(&mut connection)
            .await
            .map_err(why_not)?;
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

    /// Who the server said that it is, right after the connection was made: run id and replication id.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.pair.server
    }

    /// Proves that the server takes writes and is still the one that it was.
    ///
    /// # Errors
    ///
    /// Unavailable where it is not so.
    pub async fn prove_writable(&self) -> StoreResult<()> {
        let key = names::of_installation(&self.shared().installation, "beat");
        let mut set = redis::cmd("SET");
        set.arg(key).arg("1").arg("PX").arg(10_000);
        self.query::<()>(&set).await?;
        self.look_at_server().await
    }

    /// Gives the pair up if the server is no longer the one that it was, or no gate can stand there now.
    async fn look_at_server(&self) -> StoreResult<()> {
        let answer: String = self.query(&redis::cmd("INFO")).await?;
        let reason = match info::examine(&answer) {
            Ok(usable) if usable.server == self.server() => {
                self.shared().note_memory(&usable);
                return Ok(());
            }
            Ok(_) => "it is not the server any more that it was".to_owned(),
            Err(why_not) => why_not.reason,
        };
        self.give_up(&reason);
        Err(self.shared().unavailable(&reason))
    }

    /// Looks at the server every now and then, until the pair is given up.
    async fn watch_over(&self) {
        let mut present = self.shared().present.subscribe();
        let mut ticks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = present.wait_for(Result::is_err) => return,
                _ = ticks.tick() => {}
            }
            // What is wrong was told where it was found.
            let _ = self.look_at_server().await;
        }
    }

    /// The pair is not handed out any more; a new one is made.
    pub(crate) fn give_up(&self, reason: &str) {
        let was_present = self.shared().present.send_if_modified(|present| {
            let is_this = matches!(present, Ok(there) if Arc::ptr_eq(&there.pair, &self.pair));
            if is_this {
                *present = Err(reason.into());
            }
            is_this
        });
        if was_present {
            let address = &self.shared().address;
            tracing::warn!(address, server = self.server(), reason, "Valkey is lost");
        }
    }

    /// Runs a script, which the server may have to be told first.
    pub(crate) async fn run(&self, call: Call) -> StoreResult<Reply> {
        let mut answer = self.send(call.command()).await;
        if matches!(&answer, Err(error) if fault::is_unknown_script(error)) {
            self.query::<()>(&call.introduction()).await?;
            answer = self.send(call.command()).await;
        }
        Reply::new(answer.map_err(|error| self.judge(&error))?)
    }

    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> StoreResult<T> {
        self.send(command).await.map_err(|error| self.judge(&error))
    }

    async fn send<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        command.query_async(&mut self.pair.connection.clone()).await
    }

    fn judge(&self, error: &redis::RedisError) -> StoreError {
        let fault = fault::judge(error);
        self.shared().complain(&fault.kind, &fault.error);
        if fault.spoils_connection {
            self.give_up(&fault::words(error));
        }
        fault.error
    }

    pub(crate) fn is_short_of_memory(&self) -> bool {
        self.shared().is_short_of_memory.load(Ordering::Relaxed)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.pair.shared
    }
}
