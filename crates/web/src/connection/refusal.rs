//! Our own refusal in place of a bare answer of hyper's.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use goodpon_trace::TraceId;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::fault::Faults;
use crate::refuse;
use crate::trace::TRACE_HEADER;

/// The time, and the bytes, for which a client that was refused is still listened to: closing at once would destroy the
/// refusal on its way.
const LINGER: Duration = Duration::from_secs(2);
const MAX_LINGER_BYTES: usize = 4 * 1024 * 1024;

pub(super) struct Refusal {
    bytes: Bytes,
    until: Pin<Box<Sleep>>,
    lingered: usize,
}

impl Refusal {
    /// Renders a refusal, which is logged and counted at once.
    pub(super) fn new(api: &'static str, faults: &dyn Faults) -> Self {
        let (head, body) = refuse::malformed(api, faults, TraceId::fresh()).into_parts();
        // At hand whole, as `Faults` promises.
        let body = body.collect().now_or_never().and_then(Result::ok);
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
        for (name, value) in &head.headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        let length = format!("content-length: {}\r\n\r\n", body.len());
        bytes.extend_from_slice(length.as_bytes());
        bytes.extend_from_slice(&body);
        Self {
            bytes: bytes.into(),
            until: Box::pin(sleep(LINGER)),
            lingered: 0,
        }
    }

    /// The bytes that are still to be written.
    pub(super) fn rest(&self) -> Option<Bytes> {
        (!self.bytes.is_empty()).then(|| self.bytes.clone())
    }

    pub(super) fn advance(&mut self, written: usize) {
        self.bytes = self.bytes.slice(written.min(self.bytes.len())..);
    }

    /// Throws away what the client still sends, until it closes or one of the bounds is reached.
    pub(super) fn poll_linger(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 8 * 1024];
        while self.lingered < MAX_LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.lingered += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.until.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

/// Returns whether an answer is a bare one of hyper's: our own carry the trace header and, but for those to HEAD, end in a body.
pub(super) fn is_bare(answer: &[u8]) -> bool {
    let named = |name: &str| answer.windows(name.len()).any(|w| w == name.as_bytes());
    answer.starts_with(b"HTTP/1.1 4")
        && answer.ends_with(b"\r\n\r\n")
        && !named(TRACE_HEADER.as_str())
}

#[cfg(test)]
mod tests {
    use super::is_bare;

    #[test]
    fn only_answers_without_ours_are_bare() {
        assert!(is_bare(b"HTTP/1.1 431 X\r\ncontent-length: 0\r\n\r\n"));
        assert!(is_bare(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        assert!(!is_bare(b"HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!is_bare(b"HTTP/1.1 100 Continue\r\n\r\n"));
        assert!(!is_bare(b"HTTP/1.1 404 X\r\nx-goodpon-trace-id: 0\r\n\r\n"));
        assert!(!is_bare(b"HTTP/1.1 404 X\r\ncontent-length: 2\r\n\r\n{}"));
    }
}
