//! One reading for all who ask at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Something that is read whenever it is asked for. Requests that come while it is read share the reading that begins
/// next: they wait for two readings at most, get nothing older than themselves, and however many there are, one reading
/// follows the other. A request that finds nobody reading reads in its own task, which costs it nothing.
pub(crate) struct SharedReading<T>(Mutex<State<T>>);

struct State<T> {
    /// Whether somebody reads, and hands over to a task while others wait.
    is_reading: bool,
    /// Those who want what a reading finds that begins from now on.
    waiting: Vec<oneshot::Sender<T>>,
}

impl<T> Default for SharedReading<T> {
    fn default() -> Self {
        Self(Mutex::new(State {
            is_reading: false,
            waiting: Vec::new(),
        }))
    }
}

impl<T: Clone + Send + 'static> SharedReading<T> {
    /// Returns what a reading finds that begins after this call; `None` where that reading is broken off.
    pub(crate) async fn ask<F, R>(self: &Arc<Self>, read: R) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
        R: Fn() -> F + Clone + Send + 'static,
    {
        let told = {
            let mut state = self.lock();
            std::mem::replace(&mut state.is_reading, true).then(|| {
                let (tell, told) = oneshot::channel();
                state.waiting.push(tell);
                told
            })
        };
        match told {
            Some(told) => told.await.ok(),
            None => Some(First::new(self, read).read().await),
        }
    }

    /// Begins a reading that nobody waits for, unless there is one.
    pub(crate) fn refresh<F, R>(self: &Arc<Self>, read: R)
    where
        F: Future<Output = T> + Send + 'static,
        R: Fn() -> F + Clone + Send + 'static,
    {
        if !std::mem::replace(&mut self.lock().is_reading, true) {
            let first = First::new(self, read);
            tokio::spawn(async move { first.read().await });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that reads for itself. Once it has read, or went away, others that wait are left to a task.
struct First<T, F, R>
where
    T: Clone + Send + 'static,
    F: Future<Output = T> + Send + 'static,
    R: Fn() -> F + Clone + Send + 'static,
{
    shared: Arc<SharedReading<T>>,
    read: R,
}

impl<T, F, R> First<T, F, R>
where
    T: Clone + Send + 'static,
    F: Future<Output = T> + Send + 'static,
    R: Fn() -> F + Clone + Send + 'static,
{
    fn new(shared: &Arc<SharedReading<T>>, read: R) -> Self {
        let shared = Arc::clone(shared);
        Self { shared, read }
    }

    async fn read(self) -> T {
        (self.read)().await
    }
}

impl<T, F, R> Drop for First<T, F, R>
where
    T: Clone + Send + 'static,
    F: Future<Output = T> + Send + 'static,
    R: Fn() -> F + Clone + Send + 'static,
{
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.waiting.is_empty() {
            state.is_reading = false;
            return;
        }
        drop(state);
        let reading = Reading {
            shared: Arc::clone(&self.shared),
            is_over: false,
        };
        // Without a runtime, which is being shut down, nobody waits any more: dropping the reading says so.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(reading.go_on(self.read.clone()));
        }
    }
}

/// The task that reads. Dropped in the middle, it leaves nobody waiting and the place free for another.
struct Reading<T: Clone + Send + 'static> {
    shared: Arc<SharedReading<T>>,
    is_over: bool,
}

impl<T: Clone + Send + 'static> Drop for Reading<T> {
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.shared.lock();
            state.is_reading = false;
            state.waiting.clear();
        }
    }
}

impl<T: Clone + Send + 'static> Reading<T> {
    /// Reads until nobody waits any more.
    async fn go_on<F: Future<Output = T> + Send + 'static>(mut self, read: impl Fn() -> F + Send) {
        loop {
            let waiting = {
                let mut state = self.shared.lock();
                if state.waiting.is_empty() {
                    // Under the same lock, so that a request that comes now reads for itself.
                    state.is_reading = false;
                    self.is_over = true;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let found = read().await;
            for tell in waiting {
                // A request that was given up needs no answer.
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
    ) -> impl Fn() -> futures::future::BoxFuture<'static, usize> + Clone + Send + 'static {
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

    /// Asks in a task of its own, and lets it come as far as it can.
    async fn asked(
        shared: &Arc<SharedReading<usize>>,
        begun: &Arc<AtomicUsize>,
        permits: &Arc<Semaphore>,
    ) -> tokio::task::JoinHandle<Option<usize>> {
        let (shared, read) = (Arc::clone(shared), counted(begun, permits));
        let asking = tokio::spawn(async move { shared.ask(read).await });
        tokio::task::yield_now().await;
        asking
    }

    #[tokio::test]
    async fn requests_share_the_reading_that_begins_after_them() {
        let (begun, permits) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let shared = Arc::new(SharedReading::default());
        let first = asked(&shared, &begun, &permits).await;
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        let mut later = Vec::new();
        for _ in 0..8 {
            later.push(asked(&shared, &begun, &permits).await);
        }
        shared.refresh(counted(&begun, &permits));
        permits.add_permits(2);
        assert_eq!(first.await.unwrap(), Some(0));
        for one in later {
            assert_eq!(one.await.unwrap(), Some(1), "not the one begun before");
        }
        permits.add_permits(1);
        let third = shared.ask(counted(&begun, &permits)).await;
        assert_eq!(third, Some(2), "nobody refreshes what is being read");
    }

    #[tokio::test]
    async fn a_request_that_goes_away_leaves_the_reading_to_others() {
        let (begun, permits) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let shared = Arc::new(SharedReading::default());
        let first = asked(&shared, &begun, &permits).await;
        let second = asked(&shared, &begun, &permits).await;
        first.abort();
        permits.add_permits(1);
        assert_eq!(second.await.unwrap(), Some(1));
        permits.add_permits(1);
        let third = shared.ask(counted(&begun, &permits)).await;
        assert_eq!(third, Some(2));
    }

    #[tokio::test]
    async fn a_reading_that_is_broken_off_leaves_nobody_waiting() {
        let shared = Arc::new(SharedReading::<usize>::default());
        let panics = || async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        };
        let (one, other) = (Arc::clone(&shared), Arc::clone(&shared));
        let first = tokio::spawn(async move { one.ask(panics).await });
        let second = tokio::spawn(async move { other.ask(panics).await });
        assert!(first.await.is_err());
        assert_eq!(second.await.unwrap(), None);
        assert_eq!(shared.ask(|| async { 7 }).await, Some(7));
    }
}
