//! Every record port on MySQL and MariaDB, and the records of the issue path scaled out.
//!
//! A transaction reads rows with locks, lets the domain decide, and writes (`session.rs`); it is repeated as a whole
//! where another was first. A redemption reads without locks and writes where what it read still holds. A write that was
//! answered with success is committed; where a COMMIT failed, the error says that it may have happened. Any number of
//! processes may run at once. A connection that was left in the middle of something is never used again, and nothing here
//! decides who comes first: the gate does, and the issuer's transaction holds the limit and the user's one coupon.

mod account;
mod answer;
mod audit;
mod codec;
mod columns;
mod coupon;
mod coupon_state;
mod delivery;
mod fault;
mod gate;
mod health;
mod history;
mod idempotency;
mod issue;
mod ledger;
mod lock;
mod mail;
mod merchant;
mod new_coupon;
mod park;
mod parked;
mod pool;
mod redemption;
mod replay;
mod schema;
#[cfg(any(test, feature = "scratch"))]
pub mod scratch;
mod script;
mod session;
mod sizes;
mod template;
mod template_row;
#[cfg(test)]
mod tests;
mod upkeep;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use goodpon_application::in_flight::InFlight;
use goodpon_application::ports::{Clock, Random, StoreError};
use goodpon_domain::business_time::BusinessZone;
use jiff::{SignedDuration, Timestamp};
use mysql_async::{Opts, OptsBuilder};

use crate::{fault::Fault, pool::Pool};

pub use answer::LONGEST_ISSUE_ANSWER;
pub use delivery::SharedOutbox;
pub use parked::{Parked, Settled, StaysParked};

/// Why a database cannot be worked on. Displays as one line that says what to do, without the password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is none of ours.
    #[error(
        "database-url is not a MySQL URL ({0}): it must read mysql://user:password@host:3306/database, with special characters of user and password percent-encoded"
    )]
    Url(String),
    /// The server is older than what we work on.
    #[error("the database server is {0}: goodpon needs MySQL 8.4 or MariaDB 10.11, or newer")]
    ServerTooOld(String),
    /// A newer program wrote it.
    #[error(
        "the database has schema version {found}, and this goodpon knows versions up to {known}: run the newer goodpon that wrote it"
    )]
    SchemaTooNew {
        /// What is there.
        found: usize,
        /// What this program knows.
        known: usize,
    },
    /// There is no schema, or an older one.
    #[error("the database has not been brought up to date: run `goodpon migrate`")]
    NotMigrated,
    /// Another process holds the lock for longer than we wait.
    #[error("another process has been migrating the database for minutes: look at its log")]
    MigratedElsewhere,
    /// The server knows no such user, password or database.
    #[error("the database server refuses database-url: {0}")]
    Refused(String),
    /// The server cannot be reached, or cannot serve now.
    #[error("the database cannot be used: {0}")]
    Database(String),
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault.is_refusal() {
            true => Self::Refused(fault.to_string()),
            false => Self::Database(fault.to_string()),
        }
    }
}

/// The store. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    zone: BusinessZone,
    in_flight: Arc<InFlight>,
    /// Whether clocks are held against those of the servers. Those of tests stand still and jump.
    trusts_clocks: bool,
}

/// What every connection is told first. Locks are waited for only shortly, for whoever waits is an HTTP request; and
/// whoever stands still in the middle of a transaction loses it, for others wait for what it has locked.
const SETTINGS: [&str; 5] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION innodb_lock_wait_timeout = 2",
    "SET SESSION wait_timeout = 10",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
];

/// Statements that a process keeps prepared, over all of its connections. A server takes 16,382 unless it is told
/// otherwise (`max_prepared_stmt_count`): enough for 31 processes, and those beyond them go on without.
const PREPARED: usize = 512;

/// Statements that a connection keeps prepared: those that a role repeats all the time are some twenty.
fn prepared_per_connection(connections: usize) -> usize {
    (PREPARED / connections.max(1)).clamp(8, 64)
}

impl Store {
    /// A store at `url` (`mysql://user:password@host:port/database`) with at most so many connections. Nothing is
    /// connected yet; see [`Self::check`]. Needs a running tokio.
    ///
    /// # Errors
    /// The URL is none of MySQL's.
    pub fn new(
        url: &str,
        connections: usize,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        zone: BusinessZone,
    ) -> Result<Self, OpenError> {
        let (_, behind_scheme) = url.split_once("://").unwrap_or(("", url));
        let (_, behind_host) = behind_scheme
            .split_once(['/', '?', '#'])
            .unwrap_or_default();
        if behind_host.contains('@') {
            // The driver would take its beginning for a host, and quote its rest as a parameter.
            let reason = "there is a /, ? or # in its user or password";
            return Err(OpenError::Url(reason.into()));
        }
        let opts = Opts::from_url(url).map_err(|error| OpenError::Url(error.to_string()))?;
        if opts.db_name().is_none_or(str::is_empty) {
            return Err(OpenError::Url("it names no database".into()));
        }
        let opts = OptsBuilder::from_opts(opts)
            // What the URL says is meant: the server may name a socket of another machine's or container's.
            .prefer_socket(false)
            .init(SETTINGS.to_vec())
            .stmt_cache_size(prepared_per_connection(connections))
            .tcp_keepalive(Some(Duration::from_secs(10)));
        Ok(Self {
            inner: Arc::new(Inner {
                pool: Pool::new(opts.into(), connections),
                clock,
                random,
                zone,
                in_flight: Arc::default(),
                trusts_clocks: false,
            }),
        })
    }

    /// Takes any time for true, as a test whose clock is not the servers' needs it.
    ///
    /// # Panics
    /// The store is shared already.
    #[cfg(any(test, feature = "scratch"))]
    #[must_use]
    #[allow(clippy::expect_used)]
    pub fn trusting_clocks(mut self) -> Self {
        let inner = Arc::get_mut(&mut self.inner);
        inner.expect("a store that nobody shares yet").trusts_clocks = true;
        self
    }

    /// Whether two clocks, one of a process and one of a server, are no more than `apart`.
    #[must_use]
    pub fn is_near(&self, one: Timestamp, other: Timestamp, apart: SignedDuration) -> bool {
        self.inner.trusts_clocks || one.duration_since(other).unsigned_abs() <= apart.unsigned_abs()
    }

    fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.inner.random.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// A name for a new installation.
    fn installation_name(&self) -> String {
        let mut name = String::new();
        // Writing into a String does not fail.
        let _ = write!(name, "{:016x}", self.random_u64());
        name
    }

    /// The name that this installation was given when its database was made: it tells its keys and messages from
    /// those of others on the same servers.
    ///
    /// # Errors
    /// The database cannot be reached or was not migrated.
    pub async fn installation(&self) -> Result<String, StoreError> {
        let name = self
            .read(|session| {
                Box::pin(session.first("SELECT name FROM installation", (), |row| row.read()))
            })
            .await?;
        name.ok_or_else(|| StoreError::Unexpected("the installation has no name".into()))
    }
}
