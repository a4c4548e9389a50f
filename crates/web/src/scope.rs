//! The facts about a request that its layers share.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::MatchedPath;
use goodpon_trace::TraceId;
use http::{HeaderName, HeaderValue};

use crate::durations::UNMATCHED;
use crate::trace::RequestTrace;

/// The facts about a request that its layers share, mostly for its log lines; an extension of every request.
#[derive(Debug, Clone)]
pub struct RequestScope(Arc<ScopeState>);

#[derive(Debug)]
struct ScopeState {
    trace: RequestTrace,
    /// The address that it came from, as far as that is known.
    client: Option<IpAddr>,
    /// 0 until a merchant is known.
    merchant: AtomicI64,
    /// 0 until an account is known.
    account: AtomicI64,
    /// Empty until a client id is known.
    client_id: OnceLock<HeaderValue>,
    /// The masked e-mail address that the request is about. Empty for most requests.
    subject: OnceLock<String>,
    /// The event of the security log as which changes on its route are logged.
    route_event: OnceLock<&'static str>,
    /// The event as which this request is logged, where that is not its route's.
    own_event: OnceLock<&'static str>,
    /// Empty until a route is known.
    route: OnceLock<MatchedPath>,
    /// A header that every answer to the request carries.
    echo: OnceLock<(HeaderName, HeaderValue)>,
}

impl RequestScope {
    pub(crate) fn new(trace: RequestTrace, client: Option<IpAddr>) -> Self {
        Self(Arc::new(ScopeState {
            trace,
            client,
            merchant: AtomicI64::new(0),
            account: AtomicI64::new(0),
            client_id: OnceLock::new(),
            subject: OnceLock::new(),
            route_event: OnceLock::new(),
            own_event: OnceLock::new(),
            route: OnceLock::new(),
            echo: OnceLock::new(),
        }))
    }

    /// The request's trace id.
    pub fn trace_id(&self) -> &TraceId {
        &self.0.trace.id
    }

    /// The trace that the request belongs to, and its place there.
    pub fn trace(&self) -> &RequestTrace {
        &self.0.trace
    }

    /// Notes the merchant that the request is about.
    pub fn set_merchant(&self, merchant: i64) {
        self.0.merchant.store(merchant, Ordering::Relaxed);
    }

    /// Notes the account by which the request is made.
    pub fn set_account(&self, account: i64) {
        self.0.account.store(account, Ordering::Relaxed);
    }

    /// Notes the client id of the request.
    pub fn set_client_id(&self, client_id: &HeaderValue) {
        self.0.client_id.get_or_init(|| client_id.clone());
    }

    /// Has the request logged as this event of the security log, as all changes on its route are.
    pub fn set_route_event(&self, event: &'static str) {
        self.0.route_event.get_or_init(|| event);
    }

    /// Has the request logged as this event of the security log, in place of its route's.
    pub fn set_event(&self, event: &'static str) {
        self.0.own_event.get_or_init(|| event);
    }

    /// Notes the e-mail address that the request is about, masked.
    pub fn set_email(&self, email: &str) {
        self.0.subject.get_or_init(|| masked(email));
    }

    /// Notes the route that the request took.
    pub fn set_route(&self, route: &MatchedPath) {
        self.0.route.get_or_init(|| route.clone());
    }

    /// Has every answer to the request carry this header, whichever layer gives that answer.
    pub fn echo(&self, name: HeaderName, value: &HeaderValue) {
        self.0.echo.get_or_init(|| (name, value.clone()));
    }

    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.0.client
    }

    pub(crate) fn merchant(&self) -> Option<i64> {
        Some(self.0.merchant.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    pub(crate) fn account(&self) -> Option<i64> {
        Some(self.0.account.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    pub(crate) fn client_id(&self) -> Option<&str> {
        let client_id = self.0.client_id.get()?;
        client_id.to_str().ok()
    }

    pub(crate) fn subject(&self) -> Option<&str> {
        self.0.subject.get().map(String::as_str)
    }

    pub(crate) fn event(&self) -> Option<&'static str> {
        let own = self.0.own_event.get();
        own.or_else(|| self.0.route_event.get()).copied()
    }

    /// The pattern of the request's route.
    pub(crate) fn route(&self) -> Option<&str> {
        self.0.route.get().map(MatchedPath::as_str)
    }

    /// The pattern of the request's route as a label.
    pub(crate) fn route_label(&self) -> &str {
        self.route().unwrap_or(UNMATCHED)
    }

    pub(crate) fn echoed(&self) -> Option<&(HeaderName, HeaderValue)> {
        self.0.echo.get()
    }
}

/// The longest domain of an e-mail address in the log, in characters.
const MAX_LOGGED_DOMAIN: usize = 100;

/// An e-mail address by its first letter and its domain, as in `k…@example.com`.
fn masked(email: &str) -> String {
    let (local, domain) = email.trim().rsplit_once('@').unwrap_or((email.trim(), ""));
    let first = local.chars().next().map(String::from).unwrap_or_default();
    let domain: String = domain.chars().take(MAX_LOGGED_DOMAIN).collect();
    format!("{first}…@{domain}")
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_merchant_is_known_once_it_is_noted() {
        let scope = RequestScope::new(RequestTrace::of(&HeaderMap::new()), None);
        assert_eq!(scope.merchant(), None);
        scope.clone().set_merchant(5);
        assert_eq!(scope.merchant(), Some(5));
    }

    #[test]
    fn an_event_of_the_request_comes_before_its_routes() {
        let scope = RequestScope::new(RequestTrace::of(&HeaderMap::new()), None);
        assert_eq!(scope.event(), None);
        scope.set_route_event("verification");
        assert_eq!(scope.event(), Some("verification"));
        scope.set_event("password_set");
        assert_eq!(scope.event(), Some("password_set"));
    }

    #[test]
    fn an_e_mail_address_is_logged_by_its_first_letter_and_domain() {
        assert_eq!(masked("kim@shop.example"), "k…@shop.example");
        assert_eq!(masked("김@shop.example"), "김…@shop.example");
        assert_eq!(masked(""), "…@");
        assert_eq!(masked("hunter2"), "h…@");
    }
}
