//! Answers to requests that no service gets to see.

use axum::response::Response;
use goodpon_trace::TraceId;
use http::HeaderValue;
use http::header::CONNECTION;

use crate::durations::{self, OTHER_METHOD, UNMATCHED};
use crate::fault::{Fault, Faults};
use crate::headers::complete;

/// Refuses a head that is no sound HTTP, and logs and counts that. The connection has to end with the answer, for where the
/// next request begins is uncertain.
pub(crate) fn malformed(api: &'static str, faults: &dyn Faults, trace_id: TraceId) -> Response {
    let mut response = faults.render(Fault::MalformedHead, None);
    let status = response.status().as_u16();
    durations::count_refused(api, status);
    tracing::info!(
        target: "access",
        trace_id = trace_id.as_str(),
        api,
        method = OTHER_METHOD,
        route = UNMATCHED,
        status,
        duration_us = 0_u64,
    );
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    complete(headers, trace_id);
    response
}
