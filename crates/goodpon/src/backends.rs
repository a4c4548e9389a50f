//! The way to the back ends: the embedded database is there at once, servers are waited for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use goodpon_application::Stores;
use goodpon_mysql::{OpenError, Store};
use goodpon_scaled::Scaled;

use crate::config::{Servers, Settings};
use crate::failed::Failed;
use crate::health::Present;
use crate::wiring;

/// How often a server that is not there yet is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How often it is said that it is not there yet: every so many times.
const SAY_EVERY: u32 = 20;

/// How long Valkey and Kafka are waited for at the start; what does not need them goes on without them.
const WAIT_AT_START: Duration = Duration::from_secs(5);

/// What stands behind the ports.
pub enum Backends {
    /// The embedded database.
    Embedded(goodpon_sqlite::Store),
    /// MySQL, Valkey and Kafka.
    Scaled(Scaled),
}

impl Backends {
    /// Opens what the settings name; servers are waited for, and `health` says so meanwhile.
    ///
    /// # Errors
    /// A setting is wrong, or what is there will not do however long one waits.
    pub async fn open(
        embedded: Option<&goodpon_sqlite::Store>,
        settings: &Settings,
        health: &Present,
    ) -> Result<Self, Failed> {
        match (embedded, &settings.servers) {
            (None, Some(servers)) => {
                let store = wiring::records(servers, &settings.zone)?;
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

/// Waits until the database is there and up to date.
///
/// # Errors
/// It is there, and will not do however long one waits.
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
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn say(asked: u32, what: &str) {
    if asked.is_multiple_of(SAY_EVERY) {
        tracing::warn!("{what}");
    }
}

/// The issue path over a database that is there. Valkey and Kafka may still be away.
///
/// # Errors
/// A setting is wrong, or the topic must not be used as it is.
async fn issue_path(store: &Store, servers: &Servers) -> Result<Scaled, Failed> {
    let scaled = wiring::scaled(store, servers).await?;
    if let Err(problem) = scaled.ready_within(WAIT_AT_START).await {
        if let Some(why) = scaled.refusal() {
            return Err(Failed::new(why));
        }
        tracing::warn!("no coupons are issued yet: {problem}");
    }
    Ok(scaled)
}

/// A store to look at, and to keep in order, from the command line.
pub enum Place {
    /// In a data folder.
    Folder(goodpon_sqlite::Store),
    /// On a server.
    Server(Store),
}

impl Place {
    /// Opens what the settings name; a folder for reading.
    ///
    /// # Errors
    /// It cannot be used.
    pub async fn open(settings: &Settings) -> Result<Self, Failed> {
        let Some(servers) = &settings.servers else {
            return wiring::open_read_only(&settings.data_dir).map(Self::Folder);
        };
        let store = wiring::records(servers, &settings.zone)?;
        store.check().await.map_err(Failed::new)?;
        Ok(Self::Server(store))
    }

    /// What it is called.
    pub fn name(&self, data_dir: &Path) -> String {
        match self {
            Self::Folder(_) => data_dir.display().to_string(),
            Self::Server(_) => "the database".into(),
        }
    }
}
