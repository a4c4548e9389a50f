//! A client's connection, with our envelope in place of the bare answers that hyper gives by itself to
//! what is no HTTP or has absurd headers (contract §1: every answer in the envelope, with a trace id).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::error::ApiError;
use crate::observe::record_refusal;
use crate::trace::{TRACE_HEADER, TraceId};

/// How long, and how many bytes, a client that was refused is still listened to, so that closing does
/// not take the refusal from it.
const LINGER: Duration = Duration::from_secs(2);
const MAX_LINGER_BYTES: usize = 4 * 1024 * 1024;

/// The stream of one client.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What it talks to, for the access log.
    api: &'static str,
    refusal: Option<Refusal>,
}

/// Our answer in place of a bare one.
struct Refusal {
    bytes: Vec<u8>,
    written: usize,
    until: Pin<Box<Sleep>>,
    lingered: usize,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, api: &'static str) -> Self {
        Self {
            stream,
            api,
            refusal: None,
        }
    }
}

impl Refusal {
    /// Told to the client, the access log and the figures alike.
    fn new(api: &'static str) -> Self {
        let answer = ApiError::bad_request().answer();
        let trace_id = TraceId::fresh();
        record_refusal(api, trace_id, answer.status());
        let head = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n{TRACE_HEADER}: {trace_id}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            answer.body().len(),
        );
        Self {
            bytes: [head.as_bytes(), answer.body()].concat(),
            written: 0,
            until: Box::pin(sleep(LINGER)),
            lingered: 0,
        }
    }

    /// Throws away what the client still sends, until it closes or has had its time.
    fn poll_linger(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
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

/// Our own answers bear the trace header and, but for those to HEAD, end in a body.
fn is_bare(answer: &[u8]) -> bool {
    let named = |name: &str| answer.windows(name.len()).any(|w| w == name.as_bytes());
    answer.starts_with(b"HTTP/1.1 4")
        && answer.ends_with(b"\r\n\r\n")
        && !named(TRACE_HEADER.as_str())
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

// Writes are not vectored, so that hyper hands over head and body of an answer in one piece.
impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self {
            stream,
            api,
            refusal,
        } = &mut *self;
        if refusal.is_none() {
            if !is_bare(bytes) {
                return Pin::new(stream).poll_write(cx, bytes);
            }
            *refusal = Some(Refusal::new(api));
        }
        if let Some(refusal) = refusal {
            while let Some(rest @ [_, ..]) = refusal.bytes.get(refusal.written..) {
                refusal.written += ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            stream, refusal, ..
        } = &mut *self;
        ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        match refusal {
            Some(refusal) => refusal.poll_linger(stream, cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
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
