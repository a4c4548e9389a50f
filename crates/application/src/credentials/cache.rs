//! What the store said of shops' credentials lately.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use tokio::sync::{Mutex, Semaphore};

use super::form::ClientId;
use crate::ports::Credentials;

/// How long credentials are believed without asking the store: well within the 5 seconds after which
/// a revoked secret must be dead everywhere.
const BELIEVED_FOR: Duration = Duration::from_secs(2);

/// How long a client id that the store did not know is refused without asking again.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);

const CACHED_CLIENTS: usize = 10_000;
const CACHED_UNKNOWN: usize = 10_000;

/// How many look-ups run at a time for addresses that fail too often.
const SPARING_LOOKUPS: usize = 2;

/// What the store said of clients lately. Bounded, and of clients that it does not know only the id is kept.
pub struct CredentialCache {
    pub(super) known: Cache<ClientId, Arc<Known>>,
    pub(super) unknown: Cache<ClientId, Instant>,
    pub(super) sparing: Semaphore,
}

pub(super) struct Known {
    /// Of before the question, so that what the read missed is not believed for longer.
    pub(super) asked: Instant,
    pub(super) credentials: Credentials,
    /// Held while the store is asked about this client.
    pub(super) asking: Arc<Mutex<()>>,
}

impl Default for CredentialCache {
    fn default() -> Self {
        Self {
            known: Cache::new(CACHED_CLIENTS),
            unknown: Cache::new(CACHED_UNKNOWN),
            sparing: Semaphore::new(SPARING_LOOKUPS),
        }
    }
}

impl CredentialCache {
    /// Forgets a client, for its secrets have changed.
    pub fn forget(&self, client_id: &str) {
        if let Some(client_id) = ClientId::read(client_id.as_bytes()) {
            self.known.remove(&client_id);
        }
    }

    pub(super) fn is_unknown(&self, client_id: ClientId) -> bool {
        let asked = self.unknown.get(&client_id);
        asked.is_some_and(|asked| asked.elapsed() < UNKNOWN_FOR)
    }
}

impl Known {
    /// Whether the store was asked so lately that it need not be asked again.
    pub(super) fn is_believed(&self) -> bool {
        self.asked.elapsed() < BELIEVED_FOR
    }
}
