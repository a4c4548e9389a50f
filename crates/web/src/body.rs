//! Request bodies: each bounded in size and time, and all of them together in memory.

use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::fault::Fault;

/// The largest body that is read, in bytes (contract §1, Limits).
pub const MAX_BODY: usize = 64 * 1024;

/// The memory that the bodies of all requests of this process may hold together, in bytes. They are read before anybody is
/// authenticated (contract §1, Order of checks), so strangers could otherwise fill the memory with them.
const MAX_BUFFERED: usize = 64 * 1024 * 1024;

/// The largest body that is not counted, in bytes: the number of connections bounds the memory of those.
const MAX_UNCOUNTED: usize = 4 * 1024;

/// The part of [`MAX_BUFFERED`] that is free.
static FREE: Semaphore = Semaphore::const_new(MAX_BUFFERED);

/// The most bytes of a too large body that are read and thrown away, so that a client which sends all of it
/// before it listens still gets to see the refusal.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;

/// Reads the whole body of a request with these `headers`, for at most `limit`.
///
/// # Errors
/// [`Fault::BodyTooLarge`] beyond [`MAX_BODY`], before anything is read where `Content-Length` says so;
/// [`Fault::BodyIncomplete`]; [`Fault::BodyMemoryFull`]. The connection has to end after each.
pub async fn read(headers: &HeaderMap, body: Body, limit: Duration) -> Result<Bytes, Fault> {
    read_within(&FREE, headers, body, limit).await
}

async fn read_within(
    free: &'static Semaphore,
    headers: &HeaderMap,
    body: Body,
    limit: Duration,
) -> Result<Bytes, Fault> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut held = Held::nothing(free);
    if let Err(fault) = held.admit(announced, announced) {
        // A client that waits for a 100 has sent nothing yet and shall not begin.
        if !headers.contains_key(EXPECT) {
            discard(body, limit);
        }
        return Err(fault);
    }
    let mut collected = pin!(collect(body, limit, held));
    // Most bodies arrived with the head and need no timer.
    if let std::task::Poll::Ready(bytes) = futures::poll!(&mut collected) {
        return bytes;
    }
    match tokio::time::timeout(limit, collected).await {
        Ok(bytes) => bytes,
        Err(_) => Err(Fault::BodyIncomplete),
    }
}

async fn collect(mut body: Body, limit: Duration, mut held: Held) -> Result<Bytes, Fault> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Fault::BodyIncomplete)?.into_data() else {
            continue;
        };
        let length = first.len() + rest.len() + data.len();
        // A body in chunks does not announce its length.
        if let Err(fault) = held.admit(length, MAX_BODY) {
            discard(body, limit);
            return Err(fault);
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

/// A body, and the memory that is reserved for it.
struct Held {
    bytes: Bytes,
    free: &'static Semaphore,
    reserved: Option<SemaphorePermit<'static>>,
}

impl Held {
    fn nothing(free: &'static Semaphore) -> Self {
        Self {
            bytes: Bytes::new(),
            free,
            reserved: None,
        }
    }

    /// Admits a body that has `length` bytes so far and may have `at_most`: reserves memory for the latter, once.
    fn admit(&mut self, length: usize, at_most: usize) -> Result<(), Fault> {
        if length > MAX_BODY {
            return Err(Fault::BodyTooLarge);
        }
        if length <= MAX_UNCOUNTED || self.reserved.is_some() {
            return Ok(());
        }
        let size = u32::try_from(at_most).unwrap_or(u32::MAX);
        let reserved = self.free.try_acquire_many(size);
        self.reserved = Some(reserved.map_err(|_| Fault::BodyMemoryFull)?);
        Ok(())
    }

    /// The body. Its memory counts as reserved until the last of these bytes is dropped.
    fn into_bytes(self) -> Bytes {
        match self.reserved {
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
/// where that is not reached within `limit` and [`MAX_DISCARDED`].
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

    async fn read_plain(body: Body) -> Result<Bytes, Fault> {
        read(&HeaderMap::new(), body, LIMIT).await
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
    async fn beyond_is_too_large() {
        for body in [
            Body::from(vec![0; MAX_BODY + 1]),
            chunks(65, 1024),
            chunks(1, MAX_BODY + 1),
        ] {
            let refused = read_plain(body).await;
            assert_eq!(refused, Err(Fault::BodyTooLarge));
        }
    }

    #[tokio::test]
    async fn all_bodies_together_are_bounded() {
        static ROOM: Semaphore = Semaphore::const_new(2 * MAX_BODY);
        async fn read(body: Body) -> Result<Bytes, Fault> {
            read_within(&ROOM, &HeaderMap::new(), body, LIMIT).await
        }
        let announced = read(Body::from(vec![0; MAX_BODY])).await.unwrap();
        let chunked = read(chunks(5, 1024)).await.unwrap();
        assert_eq!(ROOM.available_permits(), 0);
        for body in [Body::from(vec![0; MAX_UNCOUNTED + 1]), chunks(5, 1024)] {
            assert_eq!(read(body).await, Err(Fault::BodyMemoryFull));
        }
        // A body is too large whatever the others hold, and small ones are let in.
        let large = read(Body::from(vec![0; MAX_BODY + 1])).await;
        assert_eq!(large, Err(Fault::BodyTooLarge));
        assert!(read(Body::from("kim")).await.is_ok());
        let slice = announced.slice(..1);
        drop((announced, chunked));
        assert_eq!(ROOM.available_permits(), MAX_BODY);
        drop(slice);
        assert_eq!(ROOM.available_permits(), 2 * MAX_BODY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_incomplete() {
        let stuck = stream::iter([Ok::<_, Infallible>(Bytes::from("x"))]).chain(stream::pending());
        let refused = read_plain(Body::from_stream(stuck)).await;
        assert_eq!(refused, Err(Fault::BodyIncomplete));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_incomplete() {
        let broken = stream::iter([Ok(Bytes::from("x")), Err(std::io::Error::other("gone"))]);
        let refused = read_plain(Body::from_stream(broken)).await;
        assert_eq!(refused, Err(Fault::BodyIncomplete));
    }
}
