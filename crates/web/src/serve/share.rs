//! Bounds the connections of one address to a listener, so that no client keeps all others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::address::as_one_client;

/// The number of connections by address. It holds no more addresses than there are connections.
#[derive(Debug, Clone)]
pub(super) struct Shares {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    max_per_address: usize,
}

/// One connection of an address, which is counted until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Shares,
    address: IpAddr,
}

impl Shares {
    pub(super) fn new(max_per_address: usize) -> Self {
        Self {
            taken: Arc::default(),
            max_per_address,
        }
    }

    /// Counts a connection of the address, unless that has reached its bound.
    pub(super) fn take(&self, client: IpAddr) -> Option<Share> {
        let address = as_one_client(client);
        let mut taken = self.lock();
        let count = taken.entry(address).or_default();
        if *count >= self.max_per_address {
            return None;
        }
        *count += 1;
        Some(Share {
            shares: self.clone(),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn each_address_has_its_share_and_gets_it_back() {
        let shares = Shares::new(2);
        let take = |address: &str| shares.take(address.parse().unwrap());
        let held = [take("10.0.0.1"), take("::ffff:10.0.0.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(take("10.0.0.1").is_none());
        assert!(take("10.0.0.2").is_some());
        let network = [take("2001:db8::1"), take("2001:db8::ffff:1")];
        assert!(network.iter().all(Option::is_some));
        assert!(take("2001:db8::2").is_none());
        assert!(take("2001:db8:0:1::2").is_some());
        drop(held);
        assert!(take("10.0.0.1").is_some());
        drop(network);
        assert!(shares.lock().is_empty());
    }
}
