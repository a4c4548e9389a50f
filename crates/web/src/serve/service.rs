//! Services that a listener can serve.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use http::Request;
use tower::Service;

use crate::fault::{Fault, Faults};
use crate::observe::Observe;

/// A service that can be served.
pub trait Serve:
    Service<Request<Body>, Response = Response, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
    /// The name of the service in figures and access log.
    fn api(&self) -> &'static str;

    /// The way in which the service renders what is refused before it sees a request.
    fn faults(&self) -> Arc<dyn Faults>;
}

impl<S> Serve for Observe<S>
where
    S: Service<Request<Body>, Response = Response, Error: Into<Fault>, Future: Send>
        + Clone
        + Send
        + 'static,
{
    fn api(&self) -> &'static str {
        Observe::api(self)
    }

    fn faults(&self) -> Arc<dyn Faults> {
        Observe::faults(self)
    }
}

/// A router that is served without trace ids, logs and figures of its requests.
#[derive(Clone)]
pub struct Unobserved {
    router: Router,
    api: &'static str,
    faults: Arc<dyn Faults>,
}

impl Unobserved {
    /// Serves `router` under the name `api`.
    pub fn new(router: Router, api: &'static str, faults: Arc<dyn Faults>) -> Self {
        Self {
            router,
            api,
            faults,
        }
    }
}

impl Service<Request<Body>> for Unobserved {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.router.call(request)
    }
}

impl Serve for Unobserved {
    fn api(&self) -> &'static str {
        self.api
    }

    fn faults(&self) -> Arc<dyn Faults> {
        Arc::clone(&self.faults)
    }
}
