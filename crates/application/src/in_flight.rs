//! The idempotency keys of requests that this process is handling: a second request with a key waits for the first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// The longest wait of a request for an earlier one with its key; after that it is answered 409.
const MAX_WAIT_FOR_FIRST: Duration = Duration::from_secs(1);

/// The keys of requests that this process is handling. Each has a channel that closes when its request ends, once
/// another request waits for that.
#[derive(Default)]
pub struct InFlight(Mutex<HashMap<[u8; 16], Option<watch::Sender<()>>>>);

/// Held by the first request with a key, and dropped when that is answered or given up.
pub struct Claim {
    key: [u8; 16],
    keys: Arc<InFlight>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.key);
    }
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], Option<watch::Sender<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_claim(self: &Arc<Self>, key: [u8; 16]) -> Result<Claim, watch::Receiver<()>> {
        use std::collections::hash_map::Entry;
        match self.lock().entry(key) {
            Entry::Occupied(mut first) => {
                let end = first.get_mut().get_or_insert_with(|| watch::channel(()).0);
                Err(end.subscribe())
            }
            Entry::Vacant(vacant) => {
                // Few keys are ever waited for, so the first request that waits makes the channel.
                vacant.insert(None);
                Ok(Claim {
                    key,
                    keys: Arc::clone(self),
                })
            }
        }
    }

    /// Returns whether this process is handling a request with that key.
    pub fn contains(&self, key: [u8; 16]) -> bool {
        self.lock().contains_key(&key)
    }

    /// Claims the key, and waits up to a second for another request that has it. Returns `None` if that request is still
    /// running then.
    pub async fn claim(self: &Arc<Self>, key: [u8; 16]) -> Option<Claim> {
        let mut first = match self.try_claim(key) {
            Ok(claim) => return Some(claim),
            Err(first) => first,
        };
        let wait = async {
            loop {
                // Nothing is ever sent: an error means that the claim was dropped.
                while first.changed().await.is_ok() {}
                match self.try_claim(key) {
                    Ok(claim) => return claim,
                    Err(next) => first = next,
                }
            }
        };
        tokio::time::timeout(MAX_WAIT_FOR_FIRST, wait).await.ok()
    }
}
