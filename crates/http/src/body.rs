//! Request bodies: at most 64 KiB (contract §1, Limits), read within a time, and so much of all of them at once.

use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{ApiError, ErrorCode};

/// The largest body that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// What the bodies of all requests of this process may hold together, in bytes. They are read before anybody is
/// authenticated (contract §1, Order of checks), so strangers could fill the memory with them.
const MAX_BUFFERED: usize = 64 * 1024 * 1024;

/// Up to this size a body is not counted: the number of connections bounds those.
const SMALL: usize = 4 * 1024;

static BUFFERED: Semaphore = Semaphore::const_new(MAX_BUFFERED);

/// How much of a body that is too large is read and thrown away, so that a client which sends all of it
/// before it listens still gets to see the 413.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;

/// The whole body of a request with these `headers`.
///
/// # Errors
/// PAYLOAD_TOO_LARGE beyond [`MAX_BODY`], told by `Content-Length` before anything is read;
/// BAD_REQUEST where the body has not come whole within `limit`, or breaks off; SERVICE_UNAVAILABLE where the bodies of
/// other requests hold all the memory that there is for them. The connection ends after each.
pub async fn read(headers: &HeaderMap, body: Body, limit: Duration) -> Result<Bytes, ApiError> {
    read_within(&BUFFERED, headers, body, limit).await
}

async fn read_within(
    room: &'static Semaphore,
    headers: &HeaderMap,
    body: Body,
    limit: Duration,
) -> Result<Bytes, ApiError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut held = Held::nothing(room);
    if let Err(error) = held.admit(told, told) {
        // Who waits for a 100 has sent nothing yet and shall not begin.
        if !headers.contains_key(EXPECT) {
            discard(body, limit);
        }
        return Err(error);
    }
    let mut collected = pin!(collect(body, limit, held));
    // Most bodies came with the head: they need no timer.
    if let std::task::Poll::Ready(bytes) = futures::poll!(&mut collected) {
        return bytes;
    }
    match tokio::time::timeout(limit, collected).await {
        Ok(bytes) => bytes,
        Err(_) => Err(ApiError::bad_request()),
    }
}

async fn collect(mut body: Body, limit: Duration, mut held: Held) -> Result<Bytes, ApiError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ApiError::bad_request())?.into_data() else {
            continue;
        };
        let length = first.len() + rest.len() + data.len();
        // A body in chunks does not tell how long it will be.
        if let Err(error) = held.admit(length, MAX_BODY) {
            discard(body, limit);
            return Err(error);
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
    held.bytes = match rest.is_empty() {
        true => first,
        false => [first, rest.freeze()].concat().into(),
    };
    Ok(held.into_bytes())
}

/// A body, and its part of the memory that there is for all of them.
struct Held {
    bytes: Bytes,
    room: &'static Semaphore,
    part: Option<SemaphorePermit<'static>>,
}

impl Held {
    fn nothing(room: &'static Semaphore) -> Self {
        Self {
            bytes: Bytes::new(),
            room,
            part: None,
        }
    }

    /// Lets a body in that has reached `length` and may reach `at_most`: reserves that, once.
    fn admit(&mut self, length: usize, at_most: usize) -> Result<(), ApiError> {
        if length > MAX_BODY {
            return Err(ApiError::new(ErrorCode::PayloadTooLarge));
        }
        if length <= SMALL || self.part.is_some() {
            return Ok(());
        }
        let size = u32::try_from(at_most).unwrap_or(u32::MAX);
        match self.room.try_acquire_many(size) {
            Ok(part) => self.part = Some(part),
            Err(_) => {
                let cause = "bodies of other requests hold all the memory for them";
                return Err(ApiError::unavailable(cause));
            }
        }
        Ok(())
    }

    /// The memory is given back with the last of these bytes.
    fn into_bytes(self) -> Bytes {
        match self.part {
            Some(_) => Bytes::from_owner(self),
            None => self.bytes,
        }
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
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

    #[tokio::test]
    async fn all_bodies_together_are_bounded() {
        static ROOM: Semaphore = Semaphore::const_new(2 * MAX_BODY);
        async fn read(body: Body) -> Result<Bytes, ErrorCode> {
            let read = read_within(&ROOM, &HeaderMap::new(), body, LIMIT).await;
            read.map_err(|error| error.code)
        }
        let told = read(Body::from(vec![0; MAX_BODY])).await.unwrap();
        let chunked = read(chunks(5, 1024)).await.unwrap();
        assert_eq!(ROOM.available_permits(), 0);
        for body in [Body::from(vec![0; SMALL + 1]), chunks(5, 1024)] {
            assert_eq!(read(body).await, Err(ErrorCode::ServiceUnavailable));
        }
        // What is too large is so whatever the others hold, and small ones are let in.
        let large = read(Body::from(vec![0; MAX_BODY + 1])).await;
        assert_eq!(large, Err(ErrorCode::PayloadTooLarge));
        assert!(read(Body::from("kim")).await.is_ok());
        let slice = told.slice(..1);
        drop((told, chunked));
        assert_eq!(ROOM.available_permits(), MAX_BODY);
        drop(slice);
        assert_eq!(ROOM.available_permits(), 2 * MAX_BODY);
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
