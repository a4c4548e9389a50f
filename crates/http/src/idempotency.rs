//! `Idempotency-Key` at the edge (contract §3.1): its header, its echo, and the answers to a repeated request.

use std::sync::Arc;

use axum::extract::MatchedPath;
use axum::response::{IntoResponse, Response};
use goodpon_application::idempotency::{self, Idempotency, Outcome, Peek};
use goodpon_application::ports::StoreResult;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::answer::Answer;
use crate::error::{ApiError, ErrorCode};
use crate::observe::RequestScope;
use crate::partner::Caller;

/// The header of the key, on requests and answers.
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const MAX_KEY_BYTES: usize = 300;

/// The request's key, if it has one. It stands once.
fn key(headers: &HeaderMap) -> Result<Option<&HeaderValue>, ApiError> {
    let mut keys = headers.get_all(KEY).iter();
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) if (1..=MAX_KEY_BYTES).contains(&key.len()) => Ok(Some(key)),
        (Some(_), _) => Err(ApiError::new(ErrorCode::InvalidIdempotencyKey)),
    }
}

/// Has the key echoed of a request that is turned away after authentication and before its handler sees it.
pub(crate) fn echo_unhandled(parts: &Parts) {
    let route = parts.extensions.get::<MatchedPath>();
    let bears_keys = route.is_some_and(|route| {
        ["/issue", "/redeem", "/cancel"]
            .iter()
            .any(|call| route.as_str().ends_with(call))
    });
    if bears_keys
        && parts.method == Method::POST
        && let (Ok(Some(key)), Some(scope)) =
            (key(&parts.headers), parts.extensions.get::<RequestScope>())
    {
        scope.echo(key);
    }
}

/// A call that may carry an idempotency key, and the way its outcomes are answered.
pub(crate) struct KeyedCall<T> {
    /// `None` where the request carries no key.
    pub(crate) idempotency: Option<Idempotency<T>>,
    render: Arc<dyn Fn(&T) -> Answer + Send + Sync>,
}

impl<T: 'static> KeyedCall<T> {
    /// Reads the request's key and has every answer echo it, whichever layer gives that answer.
    ///
    /// # Errors
    /// `INVALID_IDEMPOTENCY_KEY`.
    pub(crate) fn of(
        caller: &Caller,
        render: impl Fn(&T) -> Answer + Send + Sync + 'static,
    ) -> Result<Self, ApiError> {
        let render: Arc<dyn Fn(&T) -> Answer + Send + Sync> = Arc::new(render);
        let Some(key) = key(&caller.parts.headers)? else {
            let idempotency = None;
            return Ok(Self {
                idempotency,
                render,
            });
        };
        // Set on the scope, not on the response: a timeout or panic response must echo the key too.
        if let Some(scope) = caller.parts.extensions.get::<RequestScope>() {
            scope.echo(key);
        }
        let rendering = Arc::clone(&render);
        let idempotency = Idempotency::new(
            caller.client_id(),
            caller.parts.method.as_str(),
            &caller.fields().plain_path(),
            key.as_bytes(),
            &caller.body,
            Arc::new(move |outcome: &T| kept(&rendering(outcome))),
        );
        Ok(Self {
            idempotency: Some(idempotency),
            render,
        })
    }

    /// Answers a request that ran, or whose key had been used.
    pub(crate) fn respond(&self, outcome: StoreResult<Outcome<T>>) -> Result<Response, ApiError> {
        match outcome? {
            Outcome::Ran(outcome) => Ok((self.render)(&outcome).into_response()),
            Outcome::Replayed(answer) => replay(answer),
            Outcome::PayloadMismatch => Err(mismatch()),
            Outcome::Processing => Err(processing()),
        }
    }

    /// Answers a malformed request: what is known of its key comes before what is wrong with it (contract §3.1).
    pub(crate) fn refuse(
        &self,
        malformed: ApiError,
        known: StoreResult<Peek>,
    ) -> Result<Response, ApiError> {
        match known? {
            Peek::Free => Err(malformed),
            Peek::Finished(answer) => replay(answer),
            Peek::PayloadMismatch => Err(mismatch()),
            Peek::Processing => Err(processing()),
        }
    }
}

/// The answer as a store keeps it.
fn kept(answer: &Answer) -> idempotency::Answer {
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
