//! For tests: faults rendered by the names of their variants.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::fault::{Fault, Faults};
use crate::observe::ObserveSettings;

pub(crate) struct PlainFaults;

impl Faults for PlainFaults {
    fn render(&self, fault: Fault, _: Option<&str>) -> Response {
        let status = match fault {
            Fault::MalformedHead | Fault::BodyIncomplete => StatusCode::BAD_REQUEST,
            Fault::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Fault::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Fault::BodyMemoryFull | Fault::TimeLimit => StatusCode::SERVICE_UNAVAILABLE,
            Fault::Panicked(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, format!("{fault:?}")).into_response()
    }
}

/// An API with the name `test`.
pub(crate) fn settings() -> ObserveSettings {
    ObserveSettings {
        api: "test",
        faults: Arc::new(PlainFaults),
        event_of_code: |_| None,
        logs_paths: true,
        hsts_seconds: 0,
        trusts_forwarded_for: false,
    }
}
