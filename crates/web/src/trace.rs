//! The trace that a request belongs to (contract §1, Trace).

use goodpon_trace::{SpanId, TraceContext, TraceId};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header with the trace id, on every answer.
pub const TRACE_HEADER: HeaderName = HeaderName::from_static("x-goodpon-trace-id");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace that a request belongs to, and its place there.
#[derive(Debug, Clone, Copy)]
pub struct RequestTrace {
    /// The id of the client's trace if its `traceparent` is valid, a fresh one otherwise.
    pub id: TraceId,
    /// The client's span that caused the request. `None` without a valid `traceparent`.
    pub client_span: Option<SpanId>,
    /// The context of whatever the request causes, with a span of the request's own as the parent. `None` if the trace is
    /// not sampled: then nothing below needs one.
    pub context: Option<TraceContext>,
}

impl RequestTrace {
    /// Reads the trace from the headers of a request, or begins one that is not sampled.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        match incoming(headers) {
            None => Self {
                id: TraceId::fresh(),
                client_span: None,
                context: None,
            },
            Some(client) => Self {
                id: client.trace_id,
                client_span: Some(client.parent),
                context: client.sampled.then(|| TraceContext {
                    parent: SpanId::fresh(),
                    ..client
                }),
            },
        }
    }
}

/// Reads the context that the client sent. Of several none counts.
fn incoming(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    TraceContext::parse(value.as_bytes())
}

/// Returns the value of [`TRACE_HEADER`].
pub(crate) fn header_value(id: TraceId) -> HeaderValue {
    HeaderValue::from_bytes(id.as_bytes()).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const CLIENT_SPAN: &str = "00f067aa0ba902b7";

    fn of(values: &[&str]) -> RequestTrace {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        RequestTrace::of(&headers)
    }

    #[test]
    fn the_clients_trace_is_taken_and_its_flag_decides_whether_the_context_goes_on() {
        for (flags, is_sampled) in [("01", true), ("00", false)] {
            let trace = of(&[&format!("00-{ID}-{CLIENT_SPAN}-{flags}")]);
            assert_eq!(trace.id.as_str(), ID);
            let client_span = trace.client_span.map(|span| span.to_string());
            assert_eq!(client_span.as_deref(), Some(CLIENT_SPAN));
            assert_eq!(trace.context.is_some(), is_sampled, "{flags}");
        }
    }

    #[test]
    fn what_a_request_causes_has_a_span_of_the_request_as_its_parent() {
        let value = format!("00-{ID}-{CLIENT_SPAN}-01");
        let [one, other] = [of(&[&value]), of(&[&value])].map(|trace| trace.context.unwrap());
        assert_eq!(one.trace_id.as_str(), ID);
        assert!(one.sampled && one.parent.as_str() != CLIENT_SPAN);
        assert_ne!(one.parent, other.parent);
    }

    #[test]
    fn without_one_valid_traceparent_a_trace_begins_that_is_not_sampled() {
        let valid = format!("00-{ID}-{CLIENT_SPAN}-01");
        for values in [&[][..], &["malformed"], &[&valid, &valid]] {
            let trace = of(values);
            assert!(trace.id.as_str() != ID, "{values:?}");
            assert!(trace.client_span.is_none() && trace.context.is_none());
        }
    }

    #[test]
    fn the_header_has_the_digits() {
        let id = TraceId::fresh();
        assert_eq!(header_value(id), id.as_str());
    }
}
