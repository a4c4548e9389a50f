//! One read that serves all callers who wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A value that is read anew for each request, by at most one read at a time. Requests that come during a read share the
/// read that begins next. So a request waits for at most two reads, and its value is never older than the request. A
/// request that comes while no read runs reads in its own task, without any delay.
pub(crate) struct SharedReading<T>(Mutex<State<T>>);

struct State<T> {
    /// A read runs. Its end starts the next one, in a task, if requests wait.
    is_reading: bool,
    /// The requests that wait for the read that begins next.
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
    /// Returns the result of a read that begins after this call; `None` if that read is aborted or panics.
    pub(crate) async fn ask<F, R>(self: &Arc<Self>, read: R) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
        R: Fn() -> F + Clone + Send + 'static,
    {
        let next_result = {
            let mut state = self.lock();
            std::mem::replace(&mut state.is_reading, true).then(|| {
                let (sender, receiver) = oneshot::channel();
                state.waiting.push(sender);
                receiver
            })
        };
        match next_result {
            Some(receiver) => receiver.await.ok(),
            None => Some(OwnRead::new(self, read).run().await),
        }
    }

    /// Begins a read in the background, unless one runs.
    pub(crate) fn refresh<F, R>(self: &Arc<Self>, read: R)
    where
        F: Future<Output = T> + Send + 'static,
        R: Fn() -> F + Clone + Send + 'static,
    {
        if !std::mem::replace(&mut self.lock().is_reading, true) {
            let own = OwnRead::new(self, read);
            tokio::spawn(async move { own.run().await });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The read of a request that found no read running. When it ends, or its request is dropped, a task reads for the requests
/// that wait.
struct OwnRead<T, F, R>
where
    T: Clone + Send + 'static,
    F: Future<Output = T> + Send + 'static,
    R: Fn() -> F + Clone + Send + 'static,
{
    shared: Arc<SharedReading<T>>,
    read: R,
}

impl<T, F, R> OwnRead<T, F, R>
where
    T: Clone + Send + 'static,
    F: Future<Output = T> + Send + 'static,
    R: Fn() -> F + Clone + Send + 'static,
{
    fn new(shared: &Arc<SharedReading<T>>, read: R) -> Self {
        let shared = Arc::clone(shared);
        Self { shared, read }
    }

    async fn run(self) -> T {
        (self.read)().await
    }
}

impl<T, F, R> Drop for OwnRead<T, F, R>
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
        let reads = ReadsForOthers {
            shared: Arc::clone(&self.shared),
            is_over: false,
        };
        // There is no runtime while it is being shut down. Then `reads` is dropped, which ends the waiting.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(reads.run(self.read.clone()));
        }
    }
}

/// The reads of a task for the requests that wait. If it is dropped in the middle, the waiting requests get `None`, and the
/// next request reads for itself.
struct ReadsForOthers<T: Clone + Send + 'static> {
    shared: Arc<SharedReading<T>>,
    is_over: bool,
}

impl<T: Clone + Send + 'static> Drop for ReadsForOthers<T> {
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.shared.lock();
            state.is_reading = false;
            state.waiting.clear();
        }
    }
}

impl<T: Clone + Send + 'static> ReadsForOthers<T> {
    /// Reads until no request waits any more.
    async fn run<F: Future<Output = T> + Send + 'static>(mut self, read: impl Fn() -> F + Send) {
        loop {
            let waiting = {
                let mut state = self.shared.lock();
                if state.waiting.is_empty() {
                    // Under the lock under which it was empty, so that the next request reads for itself.
                    state.is_reading = false;
                    self.is_over = true;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let result = read().await;
            for sender in waiting {
                // It fails if the request was dropped.
                let _ = sender.send(result.clone());
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

    /// Makes a read that counts itself and waits for a permit.
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

    /// Asks in a task of its own, and lets it run until it waits.
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
            assert_eq!(
                one.await.unwrap(),
                Some(1),
                "not the read that began before"
            );
        }
        permits.add_permits(1);
        let third = shared.ask(counted(&begun, &permits)).await;
        assert_eq!(third, Some(2), "no refresh begins while a read runs");
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
