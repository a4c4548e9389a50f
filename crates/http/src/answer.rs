//! The envelope of both APIs (contract §1): every body, of a success or a failure, is made here.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use hyper::body::{Frame, SizeHint};
use serde::Serialize;

use crate::error::{ErrorCode, FieldError};

/// How every failure's envelope begins, up to its code.
const FAILURE: &str = r#"{"result":"ERROR","data":null,"error":{"code":""#;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A rendered answer: its status and the bytes of its body. Cheap to clone, and what an idempotency
/// record keeps, so that a replay is the same to the byte.
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
        // Codes and messages are our own constants, free of what JSON would want escaped.
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

    /// An answer that was rendered before: `body` goes out as it is.
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

/// The `error.code` of an answer, as a part of its body: an extension of every answer of a failure, for the access log.
#[derive(Debug, Clone)]
pub(crate) struct CodeInBody(Bytes);

impl CodeInBody {
    /// Finds it where every failure's envelope has it.
    fn of(body: &Bytes) -> Option<Self> {
        let rest = body.strip_prefix(FAILURE.as_bytes())?;
        let length = rest.iter().position(|byte| *byte == b'"')?;
        Some(Self(body.slice(FAILURE.len()..FAILURE.len() + length)))
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What hyper copies of a large body at a time, in bytes.
const PIECE: usize = 16 * 1024;

/// A body that hyper does not copy whole: it stands in memory once, however slowly its client reads.
pub(crate) fn in_pieces(bytes: Bytes) -> Body {
    match bytes.len() > PIECE {
        true => Body::new(Pieces(bytes)),
        false => Body::from(bytes),
    }
}

struct Pieces(Bytes);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.0.len().min(PIECE);
        let piece = self.0.split_to(length);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let code = match self.status.is_success() {
            true => None,
            false => CodeInBody::of(&self.body),
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
    use std::borrow::Cow;
    use std::collections::HashMap;

    use http_body_util::BodyExt;

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
            field: Cow::Borrowed("a\"b"),
            message: Cow::Borrowed("x"),
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
    fn headers_tell_json() {
        let plain = Answer::success(&1).into_response();
        assert_eq!(plain.headers()[CONTENT_TYPE], "application/json");
    }

    #[tokio::test]
    async fn a_large_body_goes_out_in_pieces_and_whole() {
        let bytes: Bytes = (0..=255)
            .cycle()
            .take(3 * PIECE + 1)
            .collect::<Vec<u8>>()
            .into();
        let mut body = in_pieces(bytes.clone());
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.len(), PIECE);
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!([first, rest].concat(), bytes);
    }
}
