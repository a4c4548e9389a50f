//! The outermost layer of both APIs: trace id, duration, access log, and an answer even to a panic.

mod security;

use std::any::Any;
use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use metrics::Histogram;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::answer::{Answer, CodeInBody};
use crate::error::{ApiError, Cause, ErrorCode};
use crate::idempotency;
use crate::rate_limit::last_forwarded;
use crate::serve::Peer;
use crate::trace::{TRACE_HEADER, TraceId};

const DURATION: &str = "goodpon_http_request_duration_seconds";
const CUT: &str = "goodpon_http_connections_cut_total";
const UNMATCHED: &str = "unmatched";

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// The longest path in the security log, in bytes. Paths that have a route of ours are shorter unless an id is none.
const LONGEST_PATH: usize = 200;

/// Recorded in place of a status where the client hung up before its answer.
const CLIENT_GONE: u16 = 499;

/// What the layers of one request know of it in common; an extension of every request.
#[derive(Debug, Clone)]
pub struct RequestScope(Arc<ScopeState>);

#[derive(Debug)]
struct ScopeState {
    trace_id: TraceId,
    /// Where it came from, as far as that is known.
    client: Option<IpAddr>,
    /// 0 until a merchant is known.
    merchant: AtomicI64,
    /// 0 until an account is known.
    account: AtomicI64,
    /// Empty until a shop's client id is known.
    client_id: OnceLock<HeaderValue>,
    /// Empty but for calls that name somebody whom an audit would ask for.
    subject: OnceLock<String>,
    /// Empty where the route says which event of the security log the request is.
    event: OnceLock<&'static str>,
    /// Empty until a route is known.
    route: OnceLock<MatchedPath>,
    /// Empty but for a call that bears a valid key, once it is authenticated.
    idempotency_key: OnceLock<HeaderValue>,
    /// Empty where errors are told in the envelope.
    error_page: OnceLock<ErrorPage>,
}

/// Makes a page of an error's answer, for what a person's browser shows.
type ErrorPage = fn(Response) -> Response;

impl RequestScope {
    fn new(trace_id: TraceId, client: Option<IpAddr>) -> Self {
        Self(Arc::new(ScopeState {
            trace_id,
            client,
            merchant: AtomicI64::new(0),
            account: AtomicI64::new(0),
            client_id: OnceLock::new(),
            subject: OnceLock::new(),
            event: OnceLock::new(),
            route: OnceLock::new(),
            idempotency_key: OnceLock::new(),
            error_page: OnceLock::new(),
        }))
    }

    /// The request's trace id.
    pub fn trace_id(&self) -> &TraceId {
        &self.0.trace_id
    }

    /// Tells whose request it is, for the access log.
    pub fn set_merchant(&self, merchant: i64) {
        self.0.merchant.store(merchant, Ordering::Relaxed);
    }

    /// Notes by whose account the request is made, for the access log.
    pub(crate) fn set_account(&self, account: i64) {
        self.0.account.store(account, Ordering::Relaxed);
    }

    /// Notes the client id of the request, once it has the form of one, for the access log.
    pub(crate) fn set_client_id(&self, client_id: &HeaderValue) {
        self.0.client_id.get_or_init(|| client_id.clone());
    }

    /// Notes which event of the security log the request turned out to be.
    pub(crate) fn set_event(&self, event: &'static str) {
        self.0.event.get_or_init(|| event);
    }

    /// Notes the e-mail address that the request is about, masked, for the security log.
    pub(crate) fn set_email(&self, email: &str) {
        self.0.subject.get_or_init(|| security::masked(email));
    }

    /// Tells which route the request took, for the figures and the access log.
    pub fn set_route(&self, route: &MatchedPath) {
        self.0.route.get_or_init(|| route.clone());
    }

    /// Has the request's idempotency key echoed on its answer, whichever layer gives that (contract §3.1).
    pub(crate) fn echo(&self, idempotency_key: &HeaderValue) {
        let echo = &self.0.idempotency_key;
        echo.get_or_init(|| idempotency_key.clone());
    }

    /// Has errors of the request shown as `page` makes them, whichever layer tells them.
    pub(crate) fn show_errors_as(&self, page: ErrorPage) {
        self.0.error_page.get_or_init(|| page);
    }

    fn merchant(&self) -> Option<i64> {
        Some(self.0.merchant.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    fn account(&self) -> Option<i64> {
        Some(self.0.account.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    fn client_id(&self) -> Option<&str> {
        let client_id = self.0.client_id.get()?;
        client_id.to_str().ok()
    }
}

/// Wraps the whole service of one API in [`Observe`]: around the router rather than within it, where a layer
/// would be copied with each route and again for each request.
#[derive(Debug, Clone)]
pub struct ObserveLayer {
    durations: Arc<Durations>,
    hsts: Option<HeaderValue>,
    trusts_forwarded_for: bool,
}

impl ObserveLayer {
    /// For the API of that name, which is the label `api` of its figures.
    pub fn new(api: &'static str) -> Self {
        metrics::describe_histogram!(
            DURATION,
            metrics::Unit::Seconds,
            "Time from a request's head to its answer's head"
        );
        metrics::describe_counter!(
            CUT,
            "Connections ended by the server, by reason: address_share (the address had its share), slow_reader"
        );
        Self {
            durations: Arc::new(Durations {
                api,
                by_route: RwLock::default(),
            }),
            hsts: None,
            trusts_forwarded_for: false,
        }
    }

    /// Has browsers told to come by HTTPS only for that long; 0 is not to tell.
    #[must_use]
    pub fn with_hsts(self, seconds: u32) -> Self {
        let value = HeaderValue::from_str(&format!("max-age={seconds}"));
        Self {
            hsts: value.ok().filter(|_| seconds > 0),
            ..self
        }
    }

    /// Takes the last entry of `X-Forwarded-For` for the client's address, where a proxy sets it.
    #[must_use]
    pub fn trusting_forwarded_for(self, trusts_forwarded_for: bool) -> Self {
        Self {
            trusts_forwarded_for,
            ..self
        }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observe {
            inner,
            durations: Arc::clone(&self.durations),
            hsts: self.hsts.clone(),
            trusts_forwarded_for: self.trusts_forwarded_for,
        }
    }
}

/// Gives each request its trace id and scope, and each answer the trace header; measures and logs it.
#[derive(Debug, Clone)]
pub struct Observe<S> {
    inner: S,
    durations: Arc<Durations>,
    hsts: Option<HeaderValue>,
    trusts_forwarded_for: bool,
}

impl<S> Observe<S> {
    /// The name of the API, which is the label `api` of its figures.
    pub(crate) fn api(&self) -> &'static str {
        self.durations.api
    }
}

impl<S> Service<Request> for Observe<S>
where
    S: Service<Request, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Observed<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let client = client_of(&request, self.trusts_forwarded_for);
        let scope = RequestScope::new(TraceId::of(request.headers()), client);
        let seen = Seen {
            durations: Arc::clone(&self.durations),
            hsts: self.hsts.clone(),
            method: method_label(request.method()),
            // Events of the partner API name the client id alone.
            uri: (self.durations.api != "partner").then(|| request.uri().clone()),
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

impl<F, E> Future for Observed<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = this.inner;
        // After a panic the future is never polled again: what it left half done is dropped with it.
        let mut response = match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(poll) => ready!(poll)?,
            Err(panic) => {
                let error = ApiError::new(ErrorCode::InternalServerError);
                error.because(panic_message(&*panic)).into_response()
            }
        };
        this.seen.finish(&mut response);
        Poll::Ready(Ok(response))
    }
}

/// What is remembered of a request until it is answered.
struct Seen {
    durations: Arc<Durations>,
    hsts: Option<HeaderValue>,
    method: &'static str,
    uri: Option<Uri>,
    scope: RequestScope,
    started: Instant,
    answered: bool,
}

impl Seen {
    fn finish(&mut self, response: &mut Response) {
        self.amend(response);
        let trace_id = self.scope.trace_id();
        let status = response.status().as_u16();
        if let Some(Cause(cause)) = response.extensions_mut().remove() {
            let (trace_id, route) = (trace_id.as_str(), self.route());
            if status == 503 {
                tracing::warn!(trace_id, route, cause, "request refused");
            } else {
                tracing::error!(trace_id, route, cause, "request failed");
            }
        }
        self.answered = true;
        let code = response.extensions_mut().remove::<CodeInBody>();
        self.record(status, code.as_ref().map(CodeInBody::as_str));
    }

    /// What holds for every answer, whichever layer gives it.
    fn amend(&self, response: &mut Response) {
        let scope = &self.scope.0;
        if let Some(page) = scope.error_page.get()
            && !response.status().is_success()
            && response
                .headers()
                .get(CONTENT_TYPE)
                .is_some_and(|kind| kind == "application/json")
        {
            *response = page(std::mem::take(response));
        }
        let is_wrong_method = response.status() == StatusCode::METHOD_NOT_ALLOWED;
        let headers = response.headers_mut();
        complete(headers, scope.trace_id);
        if let Some(hsts) = &self.hsts {
            headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        if let Some(key) = scope.idempotency_key.get() {
            headers.insert(idempotency::KEY, key.clone());
        }
        // The router adds it to whatever a wrong method is answered, and so would tell known paths from
        // unknown ones before authentication.
        if !is_wrong_method {
            headers.remove(ALLOW);
        }
    }

    fn route(&self) -> &str {
        let route = self.scope.0.route.get();
        route.map_or(UNMATCHED, MatchedPath::as_str)
    }

    fn record(&self, status: u16, code: Option<&str>) {
        let duration = self.started.elapsed();
        let route = self.route();
        self.durations.record(route, self.method, status, duration);
        tracing::info!(
            target: "access",
            trace_id = self.scope.trace_id().as_str(),
            api = self.durations.api,
            client = self.scope.0.client.map(tracing::field::display),
            account = self.scope.account(),
            client_id = self.scope.client_id(),
            merchant = self.scope.merchant(),
            method = self.method,
            route,
            status,
            code,
            duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        );
        let noted = self.scope.0.event.get().copied();
        let by_route = || security::event_of(self.durations.api, self.method, route, code);
        if let Some(event) = noted.or_else(by_route) {
            self.record_event(event, status, code);
        }
    }

    /// Who did what, from where, and how it ended. The path names secrets, members and templates by their ids.
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
            client = self.scope.0.client.map(tracing::field::display),
            account = self.scope.account(),
            client_id = self.scope.client_id(),
            merchant = self.scope.merchant(),
            subject = self.scope.0.subject.get().map(String::as_str),
            path = path.map(|path| path.get(..LONGEST_PATH).unwrap_or(path)),
        );
    }
}

/// The address that a request comes from: the last hop's, or what a trusted proxy says.
fn client_of(request: &Request, trusts_forwarded_for: bool) -> Option<IpAddr> {
    let forwarded = match trusts_forwarded_for {
        true => last_forwarded(request.headers()),
        false => None,
    };
    let peer = || Some(request.extensions().get::<Peer>()?.0.ip());
    forwarded.or_else(peer).map(|client| client.to_canonical())
}

/// Adds what every answer of both APIs carries. What authenticates a request is no header that caches know, so they would
/// give one shop's answers to others; only the docs say themselves how long they may be kept.
fn complete(headers: &mut HeaderMap, trace_id: TraceId) {
    headers.insert(TRACE_HEADER, trace_id.to_header_value());
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
}

/// Refuses what is no sound HTTP and what no service gets to see. Returns the answer, after which the connection ends,
/// and its headers.
pub(crate) fn refuse(api: &'static str, trace_id: TraceId) -> (HeaderMap, Answer) {
    let answer = ApiError::bad_request().answer();
    record_refusal(api, trace_id, answer.status());
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    complete(&mut headers, trace_id);
    (headers, answer)
}

/// Counts a connection that was ended without an answer, or in the middle of one.
pub(crate) fn count_cut(api: &'static str, reason: &'static str) {
    metrics::counter!(CUT, "api" => api, "reason" => reason).increment(1);
}

/// Counts and logs a refusal of what was no HTTP: neither its method nor its time is known.
fn record_refusal(api: &'static str, trace_id: TraceId, status: StatusCode) {
    let (method, status) = ("OTHER", status.as_u16());
    let histogram = metrics::histogram!(
        DURATION,
        "api" => api,
        "route" => UNMATCHED,
        "method" => method,
        "status" => status.to_string()
    );
    histogram.record(Duration::ZERO);
    tracing::info!(
        target: "access",
        trace_id = trace_id.as_str(),
        api,
        method,
        route = UNMATCHED,
        status,
        duration_us = 0_u64,
    );
}

impl Drop for Seen {
    fn drop(&mut self) {
        if !self.answered {
            self.record(CLIENT_GONE, None);
        }
    }
}

/// Tells the scope of a request which route it took: for routes whose handlers do not tell it themselves.
pub(crate) async fn tell_route(request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    if let (Some(scope), Some(route)) = (extensions.get::<RequestScope>(), extensions.get()) {
        scope.set_route(route);
    }
    next.run(request).await
}

/// The duration histograms of one API, kept so that a request looks its own up without allocating.
struct Durations {
    api: &'static str,
    by_route: RwLock<HashMap<Box<str>, OfRoute>>,
}

/// A route has a handful of methods and statuses: a short list is searched faster than a map.
type OfRoute = Vec<(&'static str, u16, Histogram)>;

impl Durations {
    fn record(&self, route: &str, method: &'static str, status: u16, duration: Duration) {
        let known = self.by_route.read().unwrap_or_else(PoisonError::into_inner);
        let histogram = known.get(route).and_then(|of_route| {
            let found = of_route
                .iter()
                .find(|(m, s, _)| (*m, *s) == (method, status));
            found.map(|(_, _, histogram)| histogram)
        });
        if let Some(histogram) = histogram {
            return histogram.record(duration);
        }
        drop(known);
        let histogram = metrics::histogram!(
            DURATION,
            "api" => self.api,
            "route" => route.to_owned(),
            "method" => method,
            "status" => status.to_string()
        );
        histogram.record(duration);
        let mut known = self
            .by_route
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // Two first requests at once may both add theirs; they are handles of the same histogram.
        known
            .entry(route.into())
            .or_default()
            .push((method, status, histogram));
    }
}

impl std::fmt::Debug for Durations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Durations")
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

/// A client may invent methods; what it invents must not become a label.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::HEAD => "HEAD",
        Method::PATCH => "PATCH",
        _ => "OTHER",
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests;
