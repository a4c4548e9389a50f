//! The outermost layer of an API: trace id, duration, access and security log, and an answer even to a panic.

use std::any::Any;
use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{ALLOW, STRICT_TRANSPORT_SECURITY};
use http::{HeaderValue, StatusCode, Uri};
use pin_project_lite::pin_project;
use tower::Service;

use crate::address;
use crate::durations::{Durations, method_label};
use crate::fault::{Fault, Faults};
use crate::headers::complete;
use crate::note::{Cause, Code};
use crate::scope::RequestScope;
use crate::trace::RequestTrace;

/// The longest path in the security log, in bytes. Only paths with something else in the place of an id are longer.
const MAX_LOGGED_PATH: usize = 200;

/// Recorded in place of a status where the client hung up before its answer.
const CLIENT_GONE: u16 = 499;

/// The properties of an API that matter to the observation of its requests.
pub struct ObserveSettings {
    /// The API's name: the label `api` of its figures and the field `api` of its log lines.
    pub api: &'static str,
    /// Renders what the mechanics refuse.
    pub faults: Arc<dyn Faults>,
    /// Names the event of the security log as which every answer with this code is logged, whatever its route.
    pub event_of_code: fn(&str) -> Option<&'static str>,
    /// True if events of the security log name the path, with its ids.
    pub logs_paths: bool,
    /// Max-age of `Strict-Transport-Security` in seconds; 0 sends no such header.
    pub hsts_seconds: u32,
    /// True if the last entry of `X-Forwarded-For` is the client's address, which a proxy sets.
    pub trusts_forwarded_for: bool,
}

struct Shared {
    settings: ObserveSettings,
    durations: Durations,
    hsts: Option<HeaderValue>,
}

/// Gives each request its trace id and scope, and each answer the trace header; measures and logs it.
///
/// It stands around the router rather than within it, where axum copies a layer with each route and again for each request.
#[derive(Clone)]
pub struct Observe<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Observe<S> {
    /// Observes the requests to `inner`.
    pub fn new(inner: S, settings: ObserveSettings) -> Self {
        let hsts = HeaderValue::from_str(&format!("max-age={}", settings.hsts_seconds));
        Self {
            inner,
            shared: Arc::new(Shared {
                durations: Durations::new(settings.api),
                hsts: hsts.ok().filter(|_| settings.hsts_seconds > 0),
                settings,
            }),
        }
    }

    /// The name of the API.
    pub(crate) fn api(&self) -> &'static str {
        self.shared.settings.api
    }

    pub(crate) fn faults(&self) -> Arc<dyn Faults> {
        Arc::clone(&self.shared.settings.faults)
    }
}

impl<S> Service<Request> for Observe<S>
where
    S: Service<Request, Response = Response, Error: Into<Fault>>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Observed<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Ours are always ready.
        self.inner.poll_ready(cx).map(|_| Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let settings = &self.shared.settings;
        let client = client_of(&request, settings.trusts_forwarded_for);
        let scope = RequestScope::new(RequestTrace::of(request.headers()), client);
        let seen = Seen {
            method: method_label(request.method()),
            uri: settings.logs_paths.then(|| request.uri().clone()),
            shared: Arc::clone(&self.shared),
            scope: scope.clone(),
            started: Instant::now(),
            answered: false,
        };
        request.extensions_mut().insert(scope);
        Observed {
            inner: self.inner.call(request),
            seen,
        }
    }
}

pin_project! {
    /// The future of [`Observe`].
    pub struct Observed<F> {
        #[pin]
        inner: F,
        seen: Seen,
    }
}

impl<F, E: Into<Fault>> Future for Observed<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = this.inner;
        // Entered for sampled requests only: the others cause nothing that needs a context.
        let poll = || match this.seen.scope.trace().context {
            None => inner.poll(cx),
            context => goodpon_trace::enter(context, || inner.poll(cx)),
        };
        // After a panic the future is never polled again: what it left half done is dropped with it.
        let mut response = match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => response,
            Ok(Poll::Ready(Err(error))) => this.seen.render(error.into()),
            Err(panic) => this.seen.render(Fault::Panicked(panic_message(&*panic))),
        };
        this.seen.finish(&mut response);
        Poll::Ready(Ok(response))
    }
}

/// The facts about a request that are kept until it is answered.
struct Seen {
    shared: Arc<Shared>,
    method: &'static str,
    uri: Option<Uri>,
    scope: RequestScope,
    started: Instant,
    answered: bool,
}

impl Seen {
    #[cold]
    fn render(&self, fault: Fault) -> Response {
        let cause = fault.cause();
        let faults = &self.shared.settings.faults;
        let mut response = faults.render(fault, self.scope.route());
        if let Some(cause) = cause {
            response.extensions_mut().insert(Cause(cause));
        }
        response
    }

    fn finish(&mut self, response: &mut Response) {
        self.amend(response);
        let status = response.status().as_u16();
        if let Some(Cause(cause)) = response.extensions_mut().remove() {
            self.log_cause(status, &cause);
        }
        self.answered = true;
        let code = response.extensions_mut().remove::<Code>();
        self.record(status, code.as_ref().map(Code::as_str));
    }

    /// Adds what holds for every answer, whichever layer gives it.
    fn amend(&self, response: &mut Response) {
        let is_wrong_method = response.status() == StatusCode::METHOD_NOT_ALLOWED;
        let headers = response.headers_mut();
        complete(headers, *self.scope.trace_id());
        if let Some(hsts) = &self.shared.hsts {
            headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        if let Some((name, value)) = self.scope.echoed() {
            headers.insert(name, value.clone());
        }
        // The router adds it to every answer to a wrong method, also to a refusal before authentication, which would
        // thus show that the path is known.
        if !is_wrong_method {
            headers.remove(ALLOW);
        }
    }

    fn log_cause(&self, status: u16, cause: &str) {
        let trace_id = self.scope.trace_id().as_str();
        let route = self.scope.route_label();
        if status == 503 {
            tracing::warn!(trace_id, route, cause, "request refused");
        } else {
            tracing::error!(trace_id, route, cause, "request failed");
        }
    }

    fn record(&self, status: u16, code: Option<&str>) {
        let duration = self.started.elapsed();
        let route = self.scope.route_label();
        let Shared {
            settings,
            durations,
            ..
        } = &*self.shared;
        durations.record(route, self.method, status, duration);
        tracing::info!(
            target: "access",
            trace_id = self.scope.trace_id().as_str(),
            api = settings.api,
            client = self.scope.client().map(tracing::field::display),
            account = self.scope.account(),
            client_id = self.scope.client_id(),
            merchant = self.scope.merchant(),
            method = self.method,
            route,
            status,
            code,
            duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        );
        let by_code = code.and_then(settings.event_of_code);
        if let Some(event) = by_code.or_else(|| self.scope.event()) {
            self.record_event(event, status, code);
        }
    }

    /// Logs for audits the actor, the action, its origin and its outcome. The path names secrets, members and templates by
    /// their ids; neither passwords nor tokens nor secrets are logged.
    fn record_event(&self, event: &str, status: u16, code: Option<&str>) {
        let outcome = match status {
            200..400 => "done",
            CLIENT_GONE => "not_awaited",
            _ => code.unwrap_or("refused"),
        };
        let path = self.uri.as_ref().map(Uri::path);
        tracing::info!(
            target: "security",
            trace_id = self.scope.trace_id().as_str(),
            event,
            outcome,
            client = self.scope.client().map(tracing::field::display),
            account = self.scope.account(),
            client_id = self.scope.client_id(),
            merchant = self.scope.merchant(),
            subject = self.scope.subject(),
            path = path.map(|path| path.get(..MAX_LOGGED_PATH).unwrap_or(path)),
        );
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        if !self.answered {
            self.record(CLIENT_GONE, None);
        }
    }
}

fn client_of(request: &Request, trusts_forwarded_for: bool) -> Option<IpAddr> {
    let (headers, extensions) = (request.headers(), request.extensions());
    let sender = address::sender(headers, extensions, trusts_forwarded_for);
    sender.map(|client| client.to_canonical())
}

/// Notes in the scope of a request which route it took: for routes whose handlers do not note it themselves.
pub async fn note_route(request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    if let (Some(scope), Some(route)) = (
        extensions.get::<RequestScope>(),
        extensions.get::<MatchedPath>(),
    ) {
        scope.set_route(route);
    }
    next.run(request).await
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}

#[cfg(test)]
mod tests;
