//! Every record port on MySQL and MariaDB, and the records of the scaled-out issue path.
//!
//! A transaction reads rows with locks, lets the domain decide, and writes (`session.rs`); if another transaction was
//! first, the whole is repeated. A redemption reads without locks, and writes only if the rows are unchanged. A write that
//! was answered with success is committed; if a COMMIT failed, the error says that the write may have happened. Any number
//! of processes may run at once. A connection that was abandoned in the middle of a statement or transaction is never used
//! again. The order of issues is not decided here but by the gate; the issuer's transaction enforces the limit and the one
//! coupon per user.

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
pub mod metric;
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

pub use answer::MAX_ISSUE_ANSWER_BYTES;
pub use delivery::LeasedMails;
pub use parked::{Parked, Settled, StaysParked};

/// Why a database cannot be used. Displays as one line that says what to do, without the password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not a MySQL URL, or names no database.
    #[error(
        "database-url is not a MySQL URL ({0}): it must read mysql://user:password@host:3306/database, with special characters of user and password percent-encoded"
    )]
    Url(String),
    /// The server is older than the oldest supported version.
    #[error("the database server is {0}: goodpon needs MySQL 8.4 or MariaDB 10.11, or newer")]
    ServerTooOld(String),
    /// A newer program wrote the schema, and this one cannot work on it.
    #[error(
        "the database has schema version {found}, and this goodpon knows versions up to {known}: run the newer goodpon that wrote it"
    )]
    SchemaTooNew {
        /// The version of the schema.
        found: usize,
        /// The newest version that this program knows.
        known: usize,
    },
    /// There is no schema, or an older one.
    #[error("the database has not been migrated: run `goodpon migrate`")]
    NotMigrated,
    /// Another process has held the migration lock for longer than this one waits.
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

impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        Self::Unavailable {
            reason: error.to_string(),
            may_have_happened: false,
        }
    }
}

/// The store. Clones share its connections.
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
    /// True in tests, whose clock stands still and jumps: clocks are not compared with those of the servers.
    skips_clock_checks: bool,
}

/// The settings of every connection. Waits for locks are short, because an HTTP request waits. A connection that is idle
/// within a transaction is closed by the server after 10 s, because others wait for its locks.
const SESSION_SETTINGS: [&str; 5] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION innodb_lock_wait_timeout = 2",
    "SET SESSION wait_timeout = 10",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
];

/// The most statements that a process keeps prepared, over all its connections. By default a server allows 16,382
/// (`max_prepared_stmt_count`): enough for 31 processes. Any further process sends its statements as text.
const MAX_PREPARED_STATEMENTS: usize = 512;

/// Returns the most statements that a connection keeps prepared. A process repeats some twenty all the time.
fn prepared_per_connection(connections: usize) -> usize {
    (MAX_PREPARED_STATEMENTS / connections.max(1)).clamp(8, 64)
}

impl Store {
    /// Makes a store at `url` (`mysql://user:password@host:port/database`) with at most `connections` connections.
    /// Connects to nothing yet; [`Self::check`] does. Needs a running tokio runtime.
    ///
    /// # Errors
    /// [`OpenError::Url`].
    pub fn new(
        url: &str,
        connections: usize,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        zone: BusinessZone,
    ) -> Result<Self, OpenError> {
        let (_, after_scheme) = url.split_once("://").unwrap_or(("", url));
        let (_, after_host) = after_scheme.split_once(['/', '?', '#']).unwrap_or_default();
        if after_host.contains('@') {
            // The driver would take the first part of the password for a host, and quote the rest in its error.
            let reason = "there is a /, ? or # in its user or password";
            return Err(OpenError::Url(reason.into()));
        }
        let opts = Opts::from_url(url).map_err(|error| OpenError::Url(error.to_string()))?;
        if opts.db_name().is_none_or(str::is_empty) {
            return Err(OpenError::Url("it names no database".into()));
        }
        let opts = OptsBuilder::from_opts(opts)
            // Stays with the URL: the server may name a socket that exists only on its own machine or container.
            .prefer_socket(false)
            .init(SESSION_SETTINGS.to_vec())
            .stmt_cache_size(prepared_per_connection(connections))
            .tcp_keepalive(Some(Duration::from_secs(10)));
        Ok(Self {
            inner: Arc::new(Inner {
                pool: Pool::new(opts.into(), connections),
                clock,
                random,
                zone,
                in_flight: Arc::default(),
                skips_clock_checks: false,
            }),
        })
    }

    /// Turns the comparison of clocks off, for a test whose clock is not the servers'.
    ///
    /// # Panics
    /// The store was cloned already.
    #[cfg(any(test, feature = "scratch"))]
    #[must_use]
    #[allow(clippy::expect_used)]
    pub fn trusting_clocks(mut self) -> Self {
        let inner = Arc::get_mut(&mut self.inner);
        inner.expect("a store without clones").skips_clock_checks = true;
        self
    }

    /// Returns whether two times, one by a process's clock and one by a server's, are no more than `apart`.
    #[must_use]
    pub fn is_near(&self, one: Timestamp, other: Timestamp, apart: SignedDuration) -> bool {
        self.inner.skips_clock_checks
            || one.duration_since(other).unsigned_abs() <= apart.unsigned_abs()
    }

    fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.inner.random.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// Draws a name for a new installation.
    fn draw_installation_name(&self) -> String {
        let mut name = String::new();
        // Writing into a String does not fail.
        let _ = write!(name, "{:016x}", self.random_u64());
        name
    }

    /// Returns the name that this installation got when its database was created. It distinguishes the installation's
    /// keys in Valkey and messages in Kafka from those of other installations on the same servers.
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
