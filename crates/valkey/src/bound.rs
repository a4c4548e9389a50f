//! A connection and the identity of its server, as one immutable pair.
//!
//! A client that reconnects by itself could send a call meant for one server to another. Here a connection that fails is
//! given up together with the identity of its server.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use goodpon_application::ports::{StoreError, StoreResult};
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, aio::MultiplexedConnection};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::{
    connection::Shared,
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
