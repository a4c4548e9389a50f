//! Figures of requests and connections.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use http::Method;
use metrics::Histogram;

const DURATION: &str = "goodpon_http_request_duration_seconds";
const CUT: &str = "goodpon_http_connections_cut_total";

/// The label of requests whose path matched no route.
pub(crate) const UNMATCHED: &str = "unmatched";

/// The label of methods that a client invented, and of what is no HTTP.
pub(crate) const OTHER_METHOD: &str = "OTHER";

/// The reasons for which a connection is cut.
const CUT_REASONS: [&str; 2] = ["address_share", "slow_reader"];

/// Counts a connection that was ended without an answer, or in the middle of one.
pub(crate) fn count_cut(api: &'static str, reason: &'static str) {
    metrics::counter!(CUT, "api" => api, "reason" => reason).increment(1);
}

/// Counts a request that no service saw: neither its method nor its time is known.
pub(crate) fn count_refused(api: &'static str, status: u16) {
    histogram(api, UNMATCHED, OTHER_METHOD, status).record(Duration::ZERO);
}

fn histogram(api: &'static str, route: &str, method: &'static str, status: u16) -> Histogram {
    metrics::histogram!(
        DURATION,
        "api" => api,
        "route" => route.to_owned(),
        "method" => method,
        "status" => status.to_string()
    )
}

/// The label for a method. A client may invent methods, which must not become labels.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::HEAD => "HEAD",
        Method::PATCH => "PATCH",
        _ => OTHER_METHOD,
    }
}

/// The duration histograms of one API, kept so that a request finds its own without allocating.
pub(crate) struct Durations {
    api: &'static str,
    by_route: RwLock<HashMap<Box<str>, OfRoute>>,
}

/// Method, status and histogram. A route has a handful of them: a short list is searched faster than a map.
type OfRoute = Vec<(&'static str, u16, Histogram)>;

impl Durations {
    pub(crate) fn new(api: &'static str) -> Self {
        for reason in CUT_REASONS {
            // Stands there from the start, so that a rate is seen from the first.
            let _ = metrics::counter!(CUT, "api" => api, "reason" => reason);
        }
        Self {
            api,
            by_route: RwLock::default(),
        }
    }

    pub(crate) fn record(
        &self,
        route: &str,
        method: &'static str,
        status: u16,
        duration: Duration,
    ) {
        let known = self.by_route.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(route).and_then(|of_route| {
            let found = of_route
                .iter()
                .find(|(m, s, _)| (*m, *s) == (method, status));
            found.map(|(_, _, histogram)| histogram)
        });
        if let Some(histogram) = found {
            return histogram.record(duration);
        }
        drop(known);
        let histogram = histogram(self.api, route, method, status);
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
