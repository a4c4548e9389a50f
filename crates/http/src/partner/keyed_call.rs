//! Calls that may carry an idempotency key (contract §3.1), and the answers to a repeated request.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use goodpon_application::idempotency::{self, Idempotency, Outcome, Peek};
use goodpon_application::ports::StoreResult;
use goodpon_web::input::Malformed;
use http::{HeaderValue, StatusCode};

use super::caller::KeyedRequest;
use crate::answer::Answer;
use crate::error::ApiError;
use crate::error_code::ErrorCode;
use crate::idempotency::{REPLAYED, echo, key};

/// A call that may carry an idempotency key, with the renderer of its outcomes.
pub(super) struct KeyedCall<T> {
    /// `None` where the request carries no key.
    pub(super) idempotency: Option<Idempotency<T>>,
    render: Arc<dyn Fn(&T) -> Answer + Send + Sync>,
}

impl<T: 'static> KeyedCall<T> {
    /// Reads the request's key and has every answer echo it.
    ///
    /// # Errors
    /// `INVALID_IDEMPOTENCY_KEY`.
    pub(super) fn of(
        request: &KeyedRequest,
        render: impl Fn(&T) -> Answer + Send + Sync + 'static,
    ) -> Result<Self, ApiError> {
        let render: Arc<dyn Fn(&T) -> Answer + Send + Sync> = Arc::new(render);
        let Some(key) = key(&request.parts.headers)? else {
            let idempotency = None;
            return Ok(Self {
                idempotency,
                render,
            });
        };
        echo(&request.parts, key);
        let rendering = Arc::clone(&render);
        let idempotency = Idempotency::new(
            request.client_id(),
            request.parts.method.as_str(),
            &request.fields().canonical_path(),
            key.as_bytes(),
            &request.body,
            Arc::new(move |outcome: &T| stored(&rendering(outcome))),
        );
        Ok(Self {
            idempotency: Some(idempotency),
            render,
        })
    }

    /// Answers a request that ran, or whose key had been used.
    pub(super) fn respond(&self, outcome: StoreResult<Outcome<T>>) -> Result<Response, ApiError> {
        match outcome? {
            Outcome::Ran(outcome) => Ok((self.render)(&outcome).into_response()),
            Outcome::Replayed(answer) => replay(answer),
            Outcome::PayloadMismatch => Err(mismatch()),
            Outcome::Processing => Err(processing()),
        }
    }

    /// Answers a malformed request. If its key has an answer already, that one is given instead of the faults (contract
    /// §3.1).
    pub(super) fn refuse(
        &self,
        malformed: Malformed,
        known: StoreResult<Peek>,
    ) -> Result<Response, ApiError> {
        match known? {
            Peek::Free => Err(malformed.into()),
            Peek::Finished(answer) => replay(answer),
            Peek::PayloadMismatch => Err(mismatch()),
            Peek::Processing => Err(processing()),
        }
    }
}

/// The answer in the form in which a store keeps it.
fn stored(answer: &Answer) -> idempotency::Answer {
    idempotency::Answer {
        status: answer.status().as_u16(),
        body: answer.body().clone(),
    }
}

fn replay(answer: idempotency::Answer) -> Result<Response, ApiError> {
    let status = StatusCode::from_u16(answer.status).map_err(ApiError::internal)?;
    let mut response = Answer::stored(status, answer.body).into_response();
    let replayed = HeaderValue::from_static("true");
    response.headers_mut().insert(REPLAYED, replayed);
    Ok(response)
}

fn mismatch() -> ApiError {
    ApiError::new(ErrorCode::IdempotentRequestPayloadMismatch)
}

fn processing() -> ApiError {
    ApiError::new(ErrorCode::IdempotentRequestProcessing)
}
