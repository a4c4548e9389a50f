//! Request bodies: at most 64 KiB (contract §1, Limits), and read within a time.

use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt;

use crate::error::{ApiError, ErrorCode};

/// The largest body that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// How much of a body that is too large is read and thrown away, so that a client which sends all of it
/// before it listens still gets to see the 413.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;

/// The whole body of a request with these `headers`.
///
/// # Errors
/// PAYLOAD_TOO_LARGE beyond [`MAX_BODY`], told by `Content-Length` before anything is read;
/// BAD_REQUEST where the body has not come whole within `limit`, or breaks off. The connection ends after
/// those two.
pub async fn read(headers: &HeaderMap, body: Body, limit: Duration) -> Result<Bytes, ApiError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > MAX_BODY as u64 {
        // Who waits for a 100 has sent nothing yet and shall not begin.
        if !headers.contains_key(EXPECT) {
            discard(body, limit);
        }
        return Err(ApiError::new(ErrorCode::PayloadTooLarge));
    }
    let mut collected = pin!(collect(body, limit));
    // Most bodies came with the head: they need no timer.
    if let std::task::Poll::Ready(bytes) = futures::poll!(&mut collected) {
        return bytes;
    }
    match tokio::time::timeout(limit, collected).await {
        Ok(bytes) => bytes,
        Err(_) => Err(ApiError::bad_request()),
    }
}

async fn collect(mut body: Body, limit: Duration) -> Result<Bytes, ApiError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ApiError::bad_request())?.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > MAX_BODY {
            discard(body, limit);
            return Err(ApiError::new(ErrorCode::PayloadTooLarge));
        }
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    Ok([first, rest.freeze()].concat().into())
}

/// Reads on beside the answer. The connection can be used again after the end of the body, and closes
/// where that does not come within `limit` and [`MAX_DISCARDED`].
fn discard(mut body: Body, limit: Duration) {
    tokio::spawn(tokio::time::timeout(limit, async move {
        let mut left = MAX_DISCARDED;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(fewer) => left = fewer,
                None => break,
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::convert::Infallible;

    use futures::{StreamExt, stream};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    async fn read_plain(body: Body) -> Result<Bytes, ErrorCode> {
        let read = read(&HeaderMap::new(), body, LIMIT).await;
        read.map_err(|error| error.code)
    }

    fn chunks(count: usize, size: usize) -> Body {
        let chunk = Bytes::from(vec![b'x'; size]);
        let chunks = std::iter::repeat_n(Ok::<_, Infallible>(chunk), count);
        Body::from_stream(stream::iter(chunks))
    }

    #[tokio::test]
    async fn up_to_64_kib() {
        assert_eq!(read_plain(Body::empty()).await.unwrap(), "");
        assert_eq!(read_plain(Body::from("kim")).await.unwrap(), "kim");
        let whole = read_plain(Body::from(vec![0; MAX_BODY])).await.unwrap();
        assert_eq!(whole.len(), MAX_BODY);
        let whole = read_plain(chunks(64, 1024)).await.unwrap();
        assert_eq!(whole.len(), MAX_BODY);
    }

    #[tokio::test]
    async fn beyond_is_413() {
        for body in [
            Body::from(vec![0; MAX_BODY + 1]),
            chunks(65, 1024),
            chunks(1, MAX_BODY + 1),
        ] {
            let refused = read_plain(body).await;
            assert_eq!(refused, Err(ErrorCode::PayloadTooLarge));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_a_400() {
        let stuck = stream::iter([Ok::<_, Infallible>(Bytes::from("x"))]).chain(stream::pending());
        let refused = read_plain(Body::from_stream(stuck)).await;
        assert_eq!(refused, Err(ErrorCode::BadRequest));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_a_400() {
        let broken = stream::iter([Ok(Bytes::from("x")), Err(std::io::Error::other("gone"))]);
        let refused = read_plain(Body::from_stream(broken)).await;
        assert_eq!(refused, Err(ErrorCode::BadRequest));
    }
}
