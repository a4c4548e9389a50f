//! The way to the back ends: the embedded database is there at once, servers are waited for.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use goodpon_application::audit::Difference;
use goodpon_application::ports::{DependencyHealth, Health, StoreError, StoreResult};
use goodpon_mysql::{OpenError, Store};
use goodpon_scaled::Scaled;

use crate::config::{Servers, Settings};
use crate::failed::Failed;
use crate::wiring;

/// How often a server that is not there yet is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How often it is said that it is not there yet: every so many times.
const SAY_EVERY: u32 = 20;

/// How long Valkey and Kafka are waited for at the start; what does not need them goes on without them.
const WAIT_AT_START: Duration = Duration::from_secs(5);

/// The health of what is there: of the database alone while the rest waits for it.
pub struct Present(RwLock<Arc<dyn Health>>);

impl Present {
    /// That of `first`.
    pub fn new(first: Arc<dyn Health>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(first)))
    }

    /// From now on that of `next`.
    pub fn replace(&self, next: Arc<dyn Health>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    fn get(&self) -> Arc<dyn Health> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Health for Present {
    async fn check(&self) -> Vec<DependencyHealth> {
        self.get().check().await
    }

    async fn audit(&self) -> StoreResult<Vec<Difference>> {
        self.get().audit().await
    }
}

/// What is told before anything is there.
pub struct Starting;

#[async_trait]
impl Health for Starting {
    async fn check(&self) -> Vec<DependencyHealth> {
        vec![DependencyHealth {
            name: "database",
            problem: Some("goodpon is starting".into()),
            is_vital: true,
        }]
    }

    async fn audit(&self) -> StoreResult<Vec<Difference>> {
        Err(StoreError::Unexpected("goodpon is starting".into()))
    }
}

/// Waits until the database is there and up to date.
///
/// # Errors
/// It is there, and will not do however long one waits.
pub async fn wait_for(store: &Store) -> Result<(), Failed> {
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
pub async fn issue_path(store: &Store, servers: &Servers) -> Result<Scaled, Failed> {
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
