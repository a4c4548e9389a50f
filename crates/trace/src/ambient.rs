//! The context in which the current code runs.

use std::cell::Cell;
use std::pin::pin;

use crate::TraceContext;

thread_local! {
    static CURRENT: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

/// Returns the context in which the current code runs. `None` where there is none: the work belongs to no trace, or to
/// one that is not sampled.
#[must_use]
pub fn current() -> Option<TraceContext> {
    // While a thread ends, its variables are gone.
    CURRENT.try_with(Cell::get).ok().flatten()
}

/// Runs `run` in `context`; behind it, also where it panics, the context is the one from before.
pub fn enter<T>(context: Option<TraceContext>, run: impl FnOnce() -> T) -> T {
    let _before = Before(CURRENT.try_with(|current| current.replace(context)).ok());
    run()
}

/// Restores a context when it is dropped.
struct Before(Option<Option<TraceContext>>);

impl Drop for Before {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            let _ = CURRENT.try_with(|current| current.set(before));
        }
    }
}

/// Runs a future in `context`, on whichever thread it is polled. Tasks that it spawns do not inherit the context.
pub async fn scope<F: Future>(context: Option<TraceContext>, future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| enter(context, || future.as_mut().poll(cx))).await
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use futures::future::{join, poll_fn};

    use super::*;
    use crate::{SpanId, TraceId};

    fn context() -> Option<TraceContext> {
        Some(TraceContext {
            trace_id: TraceId::fresh(),
            parent: SpanId::fresh(),
            sampled: true,
        })
    }

    /// Returns the context before and after the future gave way to others.
    async fn seen_around_a_pause() -> [Option<TraceContext>; 2] {
        let before = current();
        let mut paused = false;
        poll_fn(|cx| match std::mem::replace(&mut paused, true) {
            true => std::task::Poll::Ready(()),
            false => {
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            }
        })
        .await;
        [before, current()]
    }

    #[tokio::test]
    async fn futures_that_take_turns_each_see_their_own_context() {
        let (one, other) = (context(), context());
        let both = join(
            scope(one, seen_around_a_pause()),
            join(scope(other, seen_around_a_pause()), seen_around_a_pause()),
        );
        assert_eq!(both.await, ([one; 2], ([other; 2], [None; 2])));
        assert_eq!(current(), None);
    }

    #[test]
    fn scopes_nest_and_end_with_a_panic() {
        let (outer, inner) = (context(), context());
        enter(outer, || {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                enter(inner, || {
                    assert_eq!(current(), inner);
                    std::panic::resume_unwind(Box::new(()))
                })
            }));
            assert!(panicked.is_err());
            assert_eq!(current(), outer);
            enter(None, || assert_eq!(current(), None));
        });
        assert_eq!(current(), None);
    }
}
