//! A queue of passwords that wait to be hashed, in which networks take turns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use goodpon_application::network::Network;
use goodpon_application::ports::{StoreError, StoreResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most passwords of one network that wait.
const MAX_WAITING_PER_NETWORK: usize = 32;

/// A queue. At most one password of each network waits for the head of the queue, the others of that network wait for it.
/// Only the head waits for a permit to run, so that several queues with the same permits take turns, whatever their
/// length.
pub struct Queue {
    max_networks: usize,
    lines: Mutex<HashMap<Network, Line>>,
    head: Semaphore,
}

/// The waiting passwords of one network.
struct Line {
    waiting: usize,
    /// Held by the password that waits for the head of the queue.
    front: Arc<Semaphore>,
}

impl Queue {
    /// Makes a queue in which up to `max_networks` networks may wait at a time.
    pub fn for_networks(max_networks: usize) -> Self {
        Self {
            max_networks,
            lines: Mutex::default(),
            head: Semaphore::new(1),
        }
    }

    /// Waits for one of the permits of `running`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] at once, if the most networks, or the most passwords of this network, wait already.
    pub async fn wait(
        &self,
        network: Network,
        running: &Arc<Semaphore>,
    ) -> StoreResult<OwnedSemaphorePermit> {
        let (_waiting, front) = self.join(network)?;
        let closed = |_| StoreError::Unexpected("password hashing has ended".into());
        let _front_of_line = front.acquire().await.map_err(closed)?;
        let _head_of_queue = self.head.acquire().await.map_err(closed)?;
        Arc::clone(running).acquire_owned().await.map_err(closed)
    }

    fn join(&self, network: Network) -> StoreResult<(Waiting<'_>, Arc<Semaphore>)> {
        let mut lines = self.lines();
        let is_full = match lines.get(&network) {
            Some(line) => line.waiting >= MAX_WAITING_PER_NETWORK,
            None => lines.len() >= self.max_networks,
        };
        if is_full {
            return Err(StoreError::Unavailable {
                reason: "too many passwords wait to be hashed".into(),
                may_have_happened: false,
            });
        }
        let line = lines.entry(network).or_insert_with(|| Line {
            waiting: 0,
            front: Arc::new(Semaphore::new(1)),
        });
        line.waiting += 1;
        let front = Arc::clone(&line.front);
        let queue = self;
        Ok((Waiting { queue, network }, front))
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Network, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A password in its network's line. It leaves the line when this is dropped: once it may run, or when its caller is
/// dropped.
struct Waiting<'a> {
    queue: &'a Queue,
    network: Network,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut lines = self.queue.lines();
        if let Some(line) = lines.get_mut(&self.network) {
            line.waiting -= 1;
            if line.waiting == 0 {
                lines.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    fn network(last: u8) -> Network {
        Network::of([192, 0, 2, last].into())
    }

    /// Waits for the password that is next; fails the test if it is not.
    async fn within_a_minute<T, E: std::fmt::Debug>(
        waiting: impl Future<Output = Result<T, E>>,
    ) -> T {
        let waiting = tokio::time::timeout(Duration::from_secs(60), waiting);
        waiting.await.expect("it is next").unwrap()
    }

    #[tokio::test]
    async fn networks_take_turns_however_much_one_of_them_sends() {
        let queue = Queue::for_networks(2);
        let running = Arc::new(Semaphore::new(1));
        let held = Arc::clone(&running).acquire_owned().await.unwrap();
        let mut flood: Vec<_> = (0..MAX_WAITING_PER_NETWORK)
            .map(|_| Box::pin(queue.wait(network(1), &running)))
            .collect();
        for waiting in &mut flood {
            assert!(futures::poll!(waiting).is_pending());
        }
        let one_more = queue.wait(network(1), &running).now_or_never();
        assert!(matches!(one_more, Some(Err(_))), "its line is full");
        let mut other = Box::pin(queue.wait(network(2), &running));
        assert!(futures::poll!(&mut other).is_pending());
        let third = queue.wait(network(3), &running).now_or_never();
        assert!(matches!(third, Some(Err(_))), "no third network");
        drop(held);
        let first = within_a_minute(flood.remove(0)).await;
        for waiting in &mut flood {
            assert!(futures::poll!(waiting).is_pending());
        }
        drop(first);
        let second = within_a_minute(other).await;
        drop(second);
        for waiting in flood {
            drop(within_a_minute(waiting).await);
        }
        assert!(queue.lines().is_empty());
    }

    #[tokio::test]
    async fn a_dropped_waiter_leaves_its_line() {
        let queue = Queue::for_networks(1);
        let running = Arc::new(Semaphore::new(1));
        let held = Arc::clone(&running).acquire_owned().await.unwrap();
        let mut waiting = Box::pin(queue.wait(network(1), &running));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(waiting);
        assert!(queue.lines().is_empty());
        drop(held);
        drop(within_a_minute(queue.wait(network(2), &running)).await);
    }
}
