//! Headers that every answer carries.

use goodpon_trace::TraceId;
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue};

use crate::trace::{self, TRACE_HEADER};

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Adds trace id, `nosniff` and `no-store`. Caches do not know the headers that authenticate a request, so they would give
/// one client's answers to others; an answer that may be kept says so itself.
pub(crate) fn complete(headers: &mut HeaderMap, trace_id: TraceId) {
    headers.insert(TRACE_HEADER, trace::header_value(trace_id));
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
}
