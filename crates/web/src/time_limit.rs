//! A bound on how long a request may take, the reading of its body included.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower::Service;

use crate::fault::Fault;

/// Ends a request that takes too long with [`Fault::TimeLimit`], its effect open.
#[derive(Debug, Clone)]
pub struct TimeLimit<S> {
    inner: S,
    limit: Duration,
}

impl<S> TimeLimit<S> {
    /// Requests to `inner` may take `limit`.
    pub const fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit }
    }
}

impl<S> Service<Request> for TimeLimit<S>
where
    S: Service<Request, Response = Response, Error: Into<Fault>>,
{
    type Response = Response;
    type Error = Fault;
    type Future = TimeLimited<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        TimeLimited {
            inner: self.inner.call(request),
            limit: self.limit,
            timer: None,
        }
    }
}

pin_project! {
    /// The future of [`TimeLimit`].
    pub struct TimeLimited<F> {
        #[pin]
        inner: F,
        limit: Duration,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<F, E: Into<Fault>> Future for TimeLimited<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, Fault>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.inner.poll(cx) {
            return Poll::Ready(output.map_err(Into::into));
        }
        // Set only now, for an answer that was given at once needs no timer.
        if this.timer.is_none() {
            this.timer.set(Some(sleep(*this.limit)));
        }
        match this.timer.as_pin_mut().map(|timer| timer.poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(Fault::TimeLimit)),
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use http::StatusCode;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_ends_with_a_fault() {
        let router = Router::new()
            .route("/never", get(std::future::pending::<()>))
            .route("/soon", get(|| sleep(Duration::from_secs(9))));
        let limited = TimeLimit::new(router, Duration::from_secs(10));
        let ask = |path: &str| {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            limited.clone().oneshot(request)
        };
        assert_eq!(ask("/soon").await.unwrap().status(), StatusCode::OK);
        assert_eq!(ask("/never").await.unwrap_err(), Fault::TimeLimit);
    }
}
