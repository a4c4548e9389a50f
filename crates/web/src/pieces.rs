//! Large bodies of answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// The largest piece of a body that hyper copies at a time, in bytes.
const PIECE: usize = 16 * 1024;

/// A body that hyper does not copy whole: it stands in memory once, however slowly its client reads.
pub fn in_pieces(bytes: Bytes) -> Body {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use http_body_util::BodyExt;

    use super::*;

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
