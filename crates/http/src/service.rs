//! The layers around the router of either API.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use goodpon_web::fault::Faults;
use goodpon_web::observe::{Observe, ObserveSettings};
use goodpon_web::time_limit::TimeLimit;

/// One API, ready to be served.
pub type Api = Observe<TimeLimit<Router>>;

/// Settings of an API that an operator may choose.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// The longest time that a request may take in all.
    pub request_timeout: Duration,
    /// The longest time that its body may take to arrive.
    pub body_timeout: Duration,
    /// True if the API's documentation is served.
    pub docs: bool,
    /// Max-age of `Strict-Transport-Security` in seconds; 0 sends no such header.
    pub hsts_seconds: u32,
    /// True if the last entry of `X-Forwarded-For` is the client's address.
    pub trusts_forwarded_for: bool,
}

/// The properties of an API that no operator chooses.
pub(crate) struct ApiProfile {
    /// The API's name in figures and logs.
    pub(crate) name: &'static str,
    pub(crate) faults: Arc<dyn Faults>,
    /// Names the event of the security log as which every answer with this code is logged.
    pub(crate) event_of_code: fn(&str) -> Option<&'static str>,
    /// True if events of the security log name the path.
    pub(crate) logs_paths: bool,
}

/// Wraps the time limit and the observation of requests around a router.
pub(crate) fn around(router: Router, settings: &ApiSettings, profile: ApiProfile) -> Api {
    let settings_of_observe = ObserveSettings {
        api: profile.name,
        faults: profile.faults,
        event_of_code: profile.event_of_code,
        logs_paths: profile.logs_paths,
        hsts_seconds: settings.hsts_seconds,
        trusts_forwarded_for: settings.trusts_forwarded_for,
    };
    let limited = TimeLimit::new(router, settings.request_timeout);
    Observe::new(limited, settings_of_observe)
}
