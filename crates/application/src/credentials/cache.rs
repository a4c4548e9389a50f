//! The cache of shops' credentials.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use tokio::sync::{Mutex, Semaphore};

use super::form::ClientId;
use crate::ports::Credentials;

/// The age up to which cached credentials are used without a read: well within the 5 seconds after which a revoked
/// secret must be refused by every process (contract §3).
const MAX_AGE: Duration = Duration::from_secs(2);

/// The age up to which a client id that the store did not know is refused without a read.
const MAX_UNKNOWN_AGE: Duration = Duration::from_secs(1);

const MAX_KNOWN_CLIENTS: usize = 10_000;
const MAX_UNKNOWN_CLIENTS: usize = 10_000;

/// The most reads that run at a time for addresses that fail too often.
const MAX_SPARING_READS: usize = 2;

/// The credentials that the store returned lately, and the client ids that it did not know. Both are bounded.
pub struct CredentialCache {
    pub(super) known: Cache<ClientId, Arc<CachedCredentials>>,
    pub(super) unknown: Cache<ClientId, Instant>,
    pub(super) sparing_reads: Semaphore,
}

pub(super) struct CachedCredentials {
    /// The time just before the read, so that a change which the read missed is not missed for longer than the bounds.
    pub(super) read_at: Instant,
    pub(super) credentials: Credentials,
    /// Locked while this client's credentials are read.
    pub(super) reading: Arc<Mutex<()>>,
}

impl Default for CredentialCache {
    fn default() -> Self {
        Self {
            known: Cache::new(MAX_KNOWN_CLIENTS),
            unknown: Cache::new(MAX_UNKNOWN_CLIENTS),
            sparing_reads: Semaphore::new(MAX_SPARING_READS),
        }
    }
}

impl CredentialCache {
    /// Forgets a client whose secrets have changed.
    pub fn forget(&self, client_id: &str) {
        if let Some(client_id) = ClientId::read(client_id.as_bytes()) {
            self.known.remove(&client_id);
        }
    }

    pub(super) fn is_unknown(&self, client_id: ClientId) -> bool {
        let read_at = self.unknown.get(&client_id);
        read_at.is_some_and(|read_at| read_at.elapsed() < MAX_UNKNOWN_AGE)
    }
}

impl CachedCredentials {
    pub(super) fn is_fresh(&self) -> bool {
        self.read_at.elapsed() < MAX_AGE
    }
}
