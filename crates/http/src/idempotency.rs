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

/// How outcomes of type `T` are answered, and what answers them: one of the three calls that bear keys.
pub(crate) struct Call<T, Run, Look> {
    /// Writes the answer to an outcome.
    pub(crate) render: Arc<dyn Fn(&T) -> Answer + Send + Sync>,
    /// Runs the request, or replays it.
    pub(crate) run: Run,
    /// Looks what is known of the key, where the request cannot run.
    pub(crate) peek: Look,
}

/// Answers a call that may bear a key. `request` is the request as read, or what is wrong with its form:
/// the key is looked at before that is told.
pub(crate) async fn answer<R, T, Run, Look>(
    caller: &Caller,
    request: Result<R, ApiError>,
    call: Call<T, Run, Look>,
) -> Response
where
    T: 'static,
    Run: AsyncFnOnce(R, Option<Idempotency<T>>) -> StoreResult<Outcome<T>>,
    Look: AsyncFnOnce(&Idempotency<T>) -> StoreResult<Peek>,
{
    let key = match key(&caller.parts.headers) {
        Ok(key) => key,
        Err(error) => return error.into_response(),
    };
    let render = Arc::clone(&call.render);
    // Not on the answer made here, for a time limit or a panic may come before that.
    if let (Some(key), Some(scope)) = (key, caller.parts.extensions.get::<RequestScope>()) {
        scope.echo(key);
    }
    let idempotency = key.map(|key| {
        Idempotency::new(
            caller.client_id(),
            caller.parts.method.as_str(),
            &caller.fields().plain_path(),
            key.as_bytes(),
            &caller.body,
            Arc::new(move |outcome: &T| kept(&render(outcome))),
        )
    });
    match request {
        Ok(request) => match (call.run)(request, idempotency).await {
            Ok(outcome) => respond(outcome, &*call.render),
            Err(error) => ApiError::from(error).into_response(),
        },
        Err(bad_request) => match idempotency {
            None => bad_request.into_response(),
            Some(idempotency) => match (call.peek)(&idempotency).await {
                Ok(Peek::Free) => bad_request.into_response(),
                Ok(Peek::Finished(answer)) => replay(answer),
                Ok(Peek::PayloadMismatch) => mismatch(),
                Ok(Peek::Processing) => processing(),
                Err(error) => ApiError::from(error).into_response(),
            },
        },
    }
}

fn respond<T>(outcome: Outcome<T>, render: &dyn Fn(&T) -> Answer) -> Response {
    match outcome {
        Outcome::Ran(outcome) => render(&outcome).into_response(),
        Outcome::Replayed(answer) => replay(answer),
        Outcome::PayloadMismatch => mismatch(),
        Outcome::Processing => processing(),
    }
}

/// The answer as a store keeps it.
fn kept(answer: &Answer) -> idempotency::Answer {
    idempotency::Answer {
        status: answer.status().as_u16(),
        body: answer.body().clone(),
    }
}

fn replay(answer: idempotency::Answer) -> Response {
    match StatusCode::from_u16(answer.status) {
        Ok(status) => {
            let mut response = Answer::stored(status, answer.body).into_response();
            let replayed = HeaderValue::from_static("true");
            response.headers_mut().insert(REPLAYED, replayed);
            response
        }
        Err(error) => ApiError::internal(error).into_response(),
    }
}

fn mismatch() -> Response {
    ApiError::new(ErrorCode::IdempotentRequestPayloadMismatch).into_response()
}

fn processing() -> Response {
    ApiError::new(ErrorCode::IdempotentRequestProcessing).into_response()
}
