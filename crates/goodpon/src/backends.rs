//! Opens either set of back ends. The embedded database is there at once, servers are waited for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use goodpon_application::Stores;
use goodpon_application::ports::{Clock, Random};
use goodpon_domain::business_time::BusinessZone;
use goodpon_mysql::{OpenError, Store};
use goodpon_scaled::Scaled;
use goodpon_sqlite::{DATABASE_FILE, ReadOnlyStore};
use goodpon_supervise::Supervisor;
use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::clock::SystemClock;
use crate::config::{Servers, Settings};
use crate::failed::Failed;
use crate::health::Present;
use crate::random::SecureRandom;

/// The pause between two attempts to reach a server.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The attempts to reach a server for each line in the log about it.
const ATTEMPTS_PER_LOG_LINE: u32 = 20;

/// The longest wait for Valkey and Kafka at the start. After it the parts that do not need them start without them.
const WAIT_AT_START: Duration = Duration::from_secs(5);

/// The longest wait for the database by a check.
const LONGEST_CHECK: Duration = Duration::from_secs(10);

/// The adapters behind the store ports.
pub enum Backends {
    /// The embedded database.
    Embedded(goodpon_sqlite::Store),
    /// MySQL, Valkey and Kafka.
    Scaled(Scaled),
}

impl Backends {
    /// Opens the back ends of the settings. Waits for servers, and has `health` report that meanwhile.
    ///
    /// # Errors
    /// A setting is wrong, or a server answered with an error that waiting does not mend.
    pub async fn open(
        embedded: Option<&goodpon_sqlite::Store>,
        settings: &Settings,
        health: &Present,
    ) -> Result<Self, Failed> {
        match (embedded, &settings.servers) {
            (None, Some(servers)) => {
                let store = records(servers, &settings.zone)?;
                health.replace(Arc::new(store.clone()));
                wait_for(&store).await?;
                issue_path(&store, servers).await.map(Self::Scaled)
            }
            (Some(store), _) => Ok(Self::Embedded(store.clone())),
            (None, None) => Err(Failed::new("there is no database to serve from")),
        }
    }

    /// The store ports.
    pub fn stores(&self) -> Stores {
        match self {
            Self::Embedded(store) => store.stores(),
            Self::Scaled(scaled) => scaled.stores(),
        }
    }
}

/// Waits until the database can be reached and is up to date.
///
/// # Errors
/// It answered with an error that waiting does not mend.
async fn wait_for(store: &Store) -> Result<(), Failed> {
    let mut asked = 0;
    loop {
        match store.check().await {
            Ok(()) => return Ok(()),
            Err(OpenError::NotMigrated) => say(asked, &OpenError::NotMigrated.to_string()),
            Err(OpenError::Database(reason)) => {
                say(asked, &format!("waiting for the database: {reason}"));
            }
            Err(error) => return Err(Failed::new(error)),
        }
        asked += 1;
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

fn say(asked: u32, what: &str) {
    if asked.is_multiple_of(ATTEMPTS_PER_LOG_LINE) {
        tracing::warn!("{what}");
    }
}

/// Opens the issue path over a database that can be reached. Valkey and Kafka may still be unavailable.
///
/// # Errors
/// A setting is wrong, or the topic must not be used as it is.
async fn issue_path(store: &Store, servers: &Servers) -> Result<Scaled, Failed> {
    let scaled = scaled(store, servers).await?;
    if let Err(problem) = scaled.ready_within(WAIT_AT_START).await {
        if let Some(why) = scaled.refusal() {
            return Err(Failed::new(why));
        }
        tracing::warn!("no coupons are issued yet: {problem}");
    }
    Ok(scaled)
}

/// Opens the data folder to serve it; no other process may.
///
/// # Errors
/// It cannot be used: see [`goodpon_sqlite::OpenError`].
pub fn open_embedded(
    settings: &Settings,
    supervisor: &Supervisor,
) -> Result<goodpon_sqlite::Store, Failed> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SecureRandom);
    goodpon_sqlite::Store::open(
        &settings.data_dir,
        clock,
        random,
        settings.zone.clone(),
        supervisor,
    )
    .map_err(Failed::new)
}

/// Checks that this program works on the database of the settings, which may be served meanwhile and of an older version.
///
/// # Errors
/// It was changed by a newer program so that this one does not work on it any more, or it cannot be read.
pub async fn check(settings: &Settings) -> Result<(), Failed> {
    let Some(servers) = &settings.servers else {
        return match ReadOnlyStore::open(&settings.data_dir) {
            Ok(_)
            | Err(
                goodpon_sqlite::OpenError::Missing(_)
                | goodpon_sqlite::OpenError::SchemaTooOld { .. },
            ) => Ok(()),
            Err(error) => Err(Failed::new(error)),
        };
    };
    let store = records(servers, &settings.zone)?;
    match tokio::time::timeout(LONGEST_CHECK, store.check()).await {
        Ok(checked) => checked.map_err(Failed::new),
        Err(_) => Err(Failed::new("the database does not answer")),
    }
}

/// Opens the data folder to read it, also while it is served.
///
/// # Errors
/// As [`open_embedded`].
pub fn open_read_only(data_dir: &Path) -> Result<ReadOnlyStore, Failed> {
    ReadOnlyStore::open(data_dir).map_err(|error| {
        match denied_to_this_user(&error, data_dir) {
            true => Failed::new(format!(
                "the data folder {} is closed to this user: run this as the user that runs `goodpon serve`",
                data_dir.display()
            )),
            false => Failed::new(error),
        }
    })
}

/// Returns whether the error is a lack of permissions. SQLite does not distinguish that from other causes, and needs to write
/// beside the database even to read it.
fn denied_to_this_user(error: &goodpon_sqlite::OpenError, data_dir: &Path) -> bool {
    let database = data_dir.join(DATABASE_FILE);
    let denied = |path: &Path, wanted| access(path, wanted) == Err(Errno::ACCESS);
    match error {
        // A file in a folder that may not be searched looks missing.
        goodpon_sqlite::OpenError::Missing(_) => denied(&database, Access::EXISTS),
        goodpon_sqlite::OpenError::Database(_) => {
            denied(&database, Access::READ_OK | Access::WRITE_OK)
                || denied(data_dir, Access::WRITE_OK | Access::EXEC_OK)
        }
        _ => false,
    }
}

/// A store on the MySQL of the settings. Nothing is connected yet.
///
/// # Errors
/// The URL is not one of MySQL.
pub fn records(servers: &Servers, zone: &BusinessZone) -> Result<Store, Failed> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SecureRandom));
    let connections = servers.database_connections;
    Store::new(
        &servers.database_url,
        connections,
        clock,
        random,
        zone.clone(),
    )
    .map_err(Failed::new)
}

/// Opens the issue path over a store that is ready.
///
/// # Errors
/// A setting is wrong, or the database is not available any more.
pub async fn scaled(store: &Store, servers: &Servers) -> Result<Scaled, Failed> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SecureRandom));
    Scaled::open(
        store.clone(),
        &servers.valkey_url,
        &servers.cluster,
        servers.accept_risks,
        clock,
        random,
    )
    .await
    .map_err(Failed::new)
}

/// A store as the commands of maintenance open it.
pub enum OfflineStore {
    /// In a data folder.
    Folder(ReadOnlyStore),
    /// On a server.
    Server(Store),
}

impl OfflineStore {
    /// Opens the store of the settings; one in a folder only for reading.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn open(settings: &Settings) -> Result<Self, Failed> {
        let Some(servers) = &settings.servers else {
            return open_read_only(&settings.data_dir).map(Self::Folder);
        };
        let store = records(servers, &settings.zone)?;
        store.check().await.map_err(Failed::new)?;
        Ok(Self::Server(store))
    }

    /// The store's name in messages.
    pub fn name(&self, data_dir: &Path) -> String {
        match self {
            Self::Folder(_) => data_dir.display().to_string(),
            Self::Server(_) => "the database".into(),
        }
    }
}
