//! One reading for all who ask at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Something that is read whenever it is asked for. Requests that come while it is read share the reading that begins
/// next: they wait for two readings at most, get nothing older than themselves, and however many there are, one reading
/// follows the other.
pub(crate) struct Shared<T>(Mutex<State<T>>);

struct State<T> {
    /// Whether a task reads, and goes on as long as somebody waits.
    is_reading: bool,
    /// Who wants what a reading finds that begins from now on.
    waiting: Vec<oneshot::Sender<T>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::new(State {
            is_reading: false,
            waiting: Vec::new(),
        }))
    }
}

impl<T: Clone + Send + 'static> Shared<T> {
    /// What a reading finds that begins after this call. The sender is dropped where that reading is broken off.
    pub(crate) fn ask<F>(
        self: &Arc<Self>,
        read: impl Fn() -> F + Send + 'static,
    ) -> oneshot::Receiver<T>
    where
        F: Future<Output = T> + Send,
    {
        let (tell, told) = oneshot::channel();
        let is_reading = {
            let mut state = self.lock();
            state.waiting.push(tell);
            std::mem::replace(&mut state.is_reading, true)
        };
        if !is_reading {
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                let reading = Reading {
                    shared: &shared,
                    is_over: false,
                };
                reading.go_on(read).await;
            });
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that reads. Dropped in the middle, it leaves nobody waiting and the place free for another.
struct Reading<'a, T: Clone + Send + 'static> {
    shared: &'a Shared<T>,
    is_over: bool,
}

impl<T: Clone + Send + 'static> Drop for Reading<'_, T> {
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.shared.lock();
            state.is_reading = false;
            state.waiting.clear();
        }
    }
}

impl<T: Clone + Send + 'static> Reading<'_, T> {
    /// Reads until nobody waits any more.
    async fn go_on<F: Future<Output = T> + Send>(mut self, read: impl Fn() -> F + Send) {
        loop {
            let waiting = {
                let mut state = self.shared.lock();
                if state.waiting.is_empty() {
                    // Under the same lock, so that a request that comes now starts the next.
                    state.is_reading = false;
                    self.is_over = true;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let found = read().await;
            for tell in waiting {
                // Who has stopped waiting needs no answer.
                let _ = tell.send(found.clone());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// A reading that counts itself and waits for a permit.
    fn counted(
        begun: &Arc<AtomicUsize>,
        permits: &Arc<Semaphore>,
    ) -> impl Fn() -> futures::future::BoxFuture<'static, usize> + Send + 'static {
        let (begun, permits) = (Arc::clone(begun), Arc::clone(permits));
        move || {
            let number = begun.fetch_add(1, Ordering::SeqCst);
            let permits = Arc::clone(&permits);
            Box::pin(async move {
                permits.acquire().await.unwrap().forget();
                number
            })
        }
    }

    #[tokio::test]
    async fn requests_share_the_reading_that_begins_after_them() {
        let (begun, permits) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let shared = Arc::new(Shared::default());
        let first = shared.ask(counted(&begun, &permits));
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let later: Vec<_> = (0..8)
            .map(|_| shared.ask(counted(&begun, &permits)))
            .collect();
        permits.add_permits(2);
        assert_eq!(first.await.unwrap(), 0);
        for one in later {
            assert_eq!(one.await.unwrap(), 1, "not the one that had begun before");
        }
        permits.add_permits(1);
        assert_eq!(shared.ask(counted(&begun, &permits)).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_reading_that_is_broken_off_leaves_nobody_waiting() {
        let shared = Arc::new(Shared::<usize>::default());
        let panics = || async { panic!("on purpose") };
        assert!(shared.ask(panics).await.is_err());
        assert_eq!(shared.ask(|| async { 7 }).await.unwrap(), 7);
    }
}
