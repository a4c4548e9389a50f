//! The envelope of both APIs (contract §1): every body, of a success or a failure, is made here.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use goodpon_web::note::Code;
use goodpon_web::pieces::in_pieces;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::error_code::{ErrorCode, FieldError};

/// The beginning of every failure's envelope, up to its code.
const FAILURE: &str = r#"{"result":"ERROR","data":null,"error":{"code":""#;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A rendered answer: its status and the bytes of its body. Cheap to clone. An idempotency record keeps one, so that a
/// replay is the same to the byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    /// HTTP 200 with `data` in the success envelope. Data that cannot be serialised (a map whose keys
    /// are no strings, say) is a 500.
    pub fn success<T: Serialize + ?Sized>(data: &T) -> Self {
        let mut body = Vec::with_capacity(512);
        body.extend_from_slice(br#"{"result":"SUCCESS","data":"#);
        if let Err(error) = serde_json::to_writer(&mut body, data) {
            tracing::error!(%error, "an answer could not be serialised");
            return Self::failure(ErrorCode::InternalServerError, None);
        }
        body.extend_from_slice(br#","error":null}"#);
        Self::stored(StatusCode::OK, body.into())
    }

    /// The failure envelope of `code`, with one entry for each field at fault or `error.data` null.
    pub fn failure(code: ErrorCode, fields: Option<&[FieldError]>) -> Self {
        let mut body = Vec::with_capacity(256);
        // Codes and messages are our own constants, in which JSON needs nothing escaped.
        for part in [
            FAILURE,
            code.code(),
            r#"","message":""#,
            code.message(),
            r#"","data":"#,
        ] {
            body.extend_from_slice(part.as_bytes());
        }
        let start = body.len();
        if serde_json::to_writer(&mut body, &fields).is_err() {
            body.truncate(start);
            body.extend_from_slice(b"null");
        }
        body.extend_from_slice(b"}}");
        Self::stored(code.status(), body.into())
    }

    /// An answer that was rendered before: `body` is sent as it is.
    pub fn stored(status: StatusCode, body: Bytes) -> Self {
        Self { status, body }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The whole body, envelope included.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// Finds the `error.code` of an answer, as a part of its body, where every failure's envelope has it.
fn code_in(body: &Bytes) -> Option<Code> {
    let rest = body.strip_prefix(FAILURE.as_bytes())?;
    let length = rest.iter().position(|byte| *byte == b'"')?;
    Some(Code::new(body.slice(FAILURE.len()..FAILURE.len() + length)))
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let code = match self.status.is_success() {
            true => None,
            false => code_in(&self.body),
        };
        let mut response = Response::new(in_pieces(self.body));
        *response.status_mut() = self.status;
        if let Some(code) = code {
            response.extensions_mut().insert(code);
        }
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::collections::HashMap;

    use super::*;

    fn text(answer: &Answer) -> &str {
        std::str::from_utf8(answer.body()).unwrap()
    }

    #[test]
    fn a_success_has_all_keys() {
        let answer = Answer::success("쿠폰");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(
            text(&answer),
            r#"{"result":"SUCCESS","data":"쿠폰","error":null}"#
        );
    }

    #[test]
    fn a_failure_has_all_keys() {
        let answer = Answer::failure(ErrorCode::NotFound, None);
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        assert_eq!(
            text(&answer),
            r#"{"result":"ERROR","data":null,"error":{"code":"NOT_FOUND","message":"존재하지 않는 경로입니다.","data":null}}"#
        );
    }

    #[test]
    fn a_failure_names_its_fields_escaped() {
        let fields = [FieldError {
            field: "a\"b",
            message: "x",
        }];
        let answer = Answer::failure(ErrorCode::BadRequest, Some(&fields));
        assert!(text(&answer).ends_with(r#""data":[{"field":"a\"b","message":"x"}]}}"#));
    }

    #[test]
    fn data_that_cannot_be_serialised_is_a_500() {
        let answer = Answer::success(&HashMap::from([((1, 2), 3)]));
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(text(&answer).contains("INTERNAL_SERVER_ERROR"));
    }

    #[test]
    fn the_content_type_is_json() {
        let plain = Answer::success(&1).into_response();
        assert_eq!(plain.headers()[CONTENT_TYPE], "application/json");
    }
}
