//! The headers of idempotency (contract §3.1).

use goodpon_web::scope::RequestScope;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::ApiError;
use crate::error_code::ErrorCode;

/// The header of the key, on requests and answers.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header of an answer that was given before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

const MAX_KEY_BYTES: usize = 300;

/// Reads the request's key, if it has one.
///
/// # Errors
/// `INVALID_IDEMPOTENCY_KEY`, also where there are two.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<&HeaderValue>, ApiError> {
    let mut keys = headers.get_all(KEY).iter();
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) if (1..=MAX_KEY_BYTES).contains(&key.len()) => Ok(Some(key)),
        (Some(_), _) => Err(ApiError::new(ErrorCode::InvalidIdempotencyKey)),
    }
}

/// Has every answer to the request echo its key. It is set on the scope, not on a response, for the answer to a timeout or a
/// panic must echo the key too.
pub(crate) fn echo(parts: &Parts, key: &HeaderValue) {
    if let Some(scope) = parts.extensions.get::<RequestScope>() {
        scope.echo(KEY, key);
    }
}
