//! Keys whose requests are on their way through this process: a second one waits for the first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How long a request waits for another one with its key before it is told to come again.
const WAIT_FOR_FIRST: Duration = Duration::from_secs(1);

/// The keys whose requests are on their way through this process, and what tells those who wait of their end.
#[derive(Default)]
pub struct InFlight(Mutex<HashMap<[u8; 16], Option<watch::Sender<()>>>>);

/// Held by the request that was first; dropped when it is answered or given up.
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
            Entry::Vacant(place) => {
                // Few keys are ever waited for: what that takes is made by the first who waits.
                place.insert(None);
                Ok(Claim {
                    key,
                    keys: Arc::clone(self),
                })
            }
        }
    }

    /// Whether a request with that key is on its way.
    pub fn contains(&self, key: [u8; 16]) -> bool {
        self.lock().contains_key(&key)
    }

    /// Claims the key, waiting a little for another request that has it. `None`: that one still runs.
    pub async fn claim(self: &Arc<Self>, key: [u8; 16]) -> Option<Claim> {
        let mut first = match self.try_claim(key) {
            Ok(claim) => return Some(claim),
            Err(first) => first,
        };
        let wait = async {
            loop {
                // Errs as soon as the claim is dropped; nothing is ever sent.
                while first.changed().await.is_ok() {}
                match self.try_claim(key) {
                    Ok(claim) => return claim,
                    Err(next) => first = next,
                }
            }
        };
        tokio::time::timeout(WAIT_FOR_FIRST, wait).await.ok()
    }
}
