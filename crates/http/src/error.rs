//! Failures on their way to the client, and the answers made of them.

use std::fmt;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use goodpon_application::Failure;
use goodpon_application::ports::StoreError;
use goodpon_web::fault::{Fault, Faults, RETRY_AFTER_SECONDS};
use goodpon_web::input::Malformed;
use goodpon_web::note::Cause;
use http::HeaderValue;
use http::header::RETRY_AFTER;
use jiff::SignedDuration;

use crate::answer::Answer;
use crate::error_code::{ErrorCode, FieldError, INVALID_VALUE};

/// A failure on its way to the client.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The code that is answered.
    pub code: ErrorCode,
    /// The fields at fault; `None` is `error.data` null.
    pub fields: Option<Vec<FieldError>>,
    /// Whole seconds for `Retry-After`; without, [`RETRY_AFTER_SECONDS`] where the code asks to retry.
    pub retry_after: Option<u64>,
    cause: Option<Cause>,
}

impl ApiError {
    /// A failure without fields.
    pub const fn new(code: ErrorCode) -> Self {
        Self {
            code,
            fields: None,
            retry_after: None,
            cause: None,
        }
    }

    /// BAD_REQUEST with `error.data` null, as for a body that is no JSON object.
    pub const fn bad_request() -> Self {
        Self::new(ErrorCode::BadRequest)
    }

    /// `code` with these fields at fault.
    pub fn with_fields(code: ErrorCode, fields: Vec<FieldError>) -> Self {
        Self {
            fields: Some(fields),
            ..Self::new(code)
        }
    }

    /// Too many requests; worth another try after `seconds`.
    pub const fn too_many_requests(seconds: u64) -> Self {
        Self {
            code: ErrorCode::TooManyRequests,
            fields: None,
            retry_after: Some(seconds),
            cause: None,
        }
    }

    /// Too many requests; worth another try after `wait`.
    pub fn too_many_requests_for(wait: SignedDuration) -> Self {
        let seconds = wait.as_secs() + i64::from(wait.subsec_nanos() > 0);
        Self::too_many_requests(u64::try_from(seconds).unwrap_or(0).max(1))
    }

    /// Something unforeseen. `cause` is logged with the request's trace id and never sent to the client.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(ErrorCode::InternalServerError).because(cause)
    }

    /// Something needed is down or overloaded. `cause` is logged and never sent.
    pub fn unavailable(cause: impl fmt::Display) -> Self {
        Self::new(ErrorCode::ServiceUnavailable).because(cause)
    }

    /// Adds a cause, which is logged with the request's trace id and never sent to the client.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(Cause(cause.to_string()));
        self
    }

    /// The failure of a use case, whose refusals get their codes from `code`.
    pub fn of<R, E: Into<Self>>(failure: Failure<R>, code: impl FnOnce(R) -> E) -> Self {
        match failure {
            Failure::Refused(refusal) => code(refusal).into(),
            Failure::Store(error) => error.into(),
        }
    }

    /// Renders the answer, without `Retry-After`.
    pub fn answer(&self) -> Answer {
        Answer::failure(self.code, self.fields.as_deref())
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

/// A dependency that is down is a 503, whether the effect may still come or not; anything unforeseen a 500.
impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable { .. } => Self::unavailable(error),
            StoreError::Unexpected(_) => Self::internal(error),
        }
    }
}

impl From<Malformed> for ApiError {
    fn from(malformed: Malformed) -> Self {
        let fields = match malformed {
            Malformed::Body => return Self::bad_request(),
            Malformed::Fields(faults) => faults.into_iter().map(|fault| FieldError {
                field: fault.field,
                message: fault.message.unwrap_or(INVALID_VALUE),
            }),
        };
        Self::with_fields(ErrorCode::BadRequest, fields.collect())
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        let error = match fault {
            Fault::MalformedHead | Fault::BodyIncomplete => Self::bad_request(),
            Fault::BodyTooLarge => Self::new(ErrorCode::PayloadTooLarge),
            Fault::TooManyRequests { retry_after } => Self::too_many_requests(retry_after),
            Fault::BodyMemoryFull | Fault::TimeLimit => Self::new(ErrorCode::ServiceUnavailable),
            Fault::Panicked(_) => Self::new(ErrorCode::InternalServerError),
        };
        match fault.cause() {
            Some(cause) => error.because(cause),
            None => error,
        }
    }
}

/// Renders faults of the mechanics in the envelope of the APIs.
#[derive(Debug, Clone, Copy)]
pub struct Enveloped;

impl Enveloped {
    /// As an API gives it to the mechanics.
    pub fn shared() -> Arc<dyn Faults> {
        Arc::new(Self)
    }
}

impl Faults for Enveloped {
    fn render(&self, fault: Fault, _: Option<&str>) -> Response {
        ApiError::from(fault).into_response()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.answer().into_response();
        if self.code.asks_to_retry() {
            let seconds = self.retry_after.unwrap_or(RETRY_AFTER_SECONDS);
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use http::StatusCode;

    use super::*;

    #[test]
    fn every_answer_is_sound_json_of_its_status() {
        for &code in ErrorCode::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error());
            let answer = ApiError::new(code).answer();
            assert_eq!(answer.status(), code.status());
            let json: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(json["result"], "ERROR");
            assert_eq!(json["error"]["code"], code.code());
            assert_eq!(json["error"]["message"], code.message());
            assert!(json["error"]["data"].is_null() && json["data"].is_null());
        }
    }

    #[test]
    fn three_codes_say_when_to_retry() {
        for &code in ErrorCode::ALL {
            let response = ApiError::new(code).into_response();
            let says_when = response.headers().contains_key(RETRY_AFTER);
            assert_eq!(says_when, [429, 503, 409].contains(&code.status().as_u16()));
        }
        let response = ApiError::too_many_requests(17).into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "17");
    }

    #[test]
    fn every_fault_of_the_mechanics_has_its_code() {
        for (fault, code) in [
            (Fault::MalformedHead, ErrorCode::BadRequest),
            (Fault::BodyIncomplete, ErrorCode::BadRequest),
            (Fault::BodyTooLarge, ErrorCode::PayloadTooLarge),
            (
                Fault::TooManyRequests { retry_after: 7 },
                ErrorCode::TooManyRequests,
            ),
            (Fault::BodyMemoryFull, ErrorCode::ServiceUnavailable),
            (Fault::TimeLimit, ErrorCode::ServiceUnavailable),
            (
                Fault::Panicked("the roof".to_owned()),
                ErrorCode::InternalServerError,
            ),
        ] {
            let is_ours = code.status().is_server_error();
            let response = Enveloped.render(fault.clone(), None);
            assert_eq!(response.status(), code.status(), "{fault:?}");
            assert_eq!(response.extensions().get::<Cause>().is_some(), is_ours);
            let error = ApiError::from(fault);
            assert_eq!(error.code, code);
            let is_limit = code == ErrorCode::TooManyRequests;
            assert_eq!(error.retry_after, is_limit.then_some(7));
        }
        let late = Enveloped.render(Fault::TimeLimit, None);
        assert_eq!(late.headers()[RETRY_AFTER], "1");
        assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn a_cause_stays_out_of_the_body() {
        let response = ApiError::internal("disk on fire").into_response();
        assert_eq!(
            response.extensions().get::<Cause>().unwrap().0,
            "disk on fire"
        );
        let error = ApiError::internal("disk on fire");
        assert!(!String::from_utf8_lossy(error.answer().body()).contains("fire"));
    }
}
