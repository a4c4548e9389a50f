//! A client's connection: bounds how long it may be idle, take for a request's head, or leave an answer unread, and writes
//! our own refusal in place of the bare answers that hyper gives by itself to what is no HTTP or has absurd headers.

mod lines;
mod pace;
mod refusal;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::durations::count_cut;
use crate::fault::Faults;
pub(crate) use lines::Lines;
use pace::{Pace, Pause};
use refusal::{Refusal, is_bare};

/// The longest waits of a connection for its client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the whole of a request's head, and for the first byte of the connection.
    pub(crate) head: Duration,
    /// For the first byte of another request.
    pub(crate) idle: Duration,
}

/// The stream of one client, as hyper reads and writes it.
pub(crate) struct Connection(Arc<Mutex<State>>);

/// The same connection, as the handler of its requests sees it. Both are used by the connection's own task alone, so
/// neither ever waits for the other.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Mutex<State>>);

struct State {
    stream: TcpStream,
    /// The name of the API that the client talks to, for the access log and the figures.
    api: &'static str,
    faults: Arc<dyn Faults>,
    patience: Patience,
    stage: Stage,
    lines: Lines,
    pause: Pause,
    pace: Pace,
    /// True if an answer of our own is to be written next: no bare one then.
    owes_answer: bool,
    /// True if a part of the running request's body has not arrived yet, or was not read.
    body_left: bool,
    /// True if the client has closed its sending side.
    client_is_done: bool,
    refusal: Option<Refusal>,
}

/// The part of an exchange in which the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing of another request has arrived.
    Idle,
    /// A head is awaited or has arrived in part.
    Head,
    /// A request is with its handler.
    Request,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        api: &'static str,
        faults: Arc<dyn Faults>,
        patience: Patience,
    ) -> Self {
        Self(Arc::new(Mutex::new(State {
            stream,
            api,
            faults,
            patience,
            stage: Stage::Head,
            lines: Lines::default(),
            pause: Pause::default(),
            pace: Pace::default(),
            owes_answer: false,
            body_left: false,
            client_is_done: false,
            refusal: None,
        })))
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.0))
    }
}

impl Watch {
    /// Notes that a request was handed to its handler, and whether a body follows its head. Returns what was seen of the
    /// lines of its head: nothing where the client did not wait for the answer before it, which no proxy does.
    pub(crate) fn begin(&self, has_body: bool) -> Lines {
        let mut state = lock(&self.0);
        state.stage = Stage::Request;
        state.owes_answer = true;
        state.body_left = has_body;
        std::mem::take(&mut state.lines)
    }

    /// Notes that the whole body has arrived.
    pub(crate) fn body_is_whole(&self) {
        lock(&self.0).body_left = false;
    }

    /// Notes that the handler has answered. Returns whether the connection can be used again: not where a part of the body
    /// has not arrived, for it would be taken for the next request, and not where the client is known to send no more.
    pub(crate) fn end(&self) -> bool {
        let mut state = lock(&self.0);
        state.stage = Stage::Idle;
        state.pause.end();
        !state.body_left && !state.client_is_done
    }

    /// Is ready once the connection is broken. A client that has only closed its sending side still reads.
    pub(crate) fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        if state.client_is_done {
            return Poll::Pending;
        }
        let mut byte = [0];
        match ready!(state.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte))) {
            Err(_) => return Poll::Ready(()),
            Ok(0) => state.client_is_done = true,
            Ok(_) => {}
        }
        Poll::Pending
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() {
            return self.poll_patience(cx);
        }
        let bytes = &buffer.filled()[before..];
        if self.stage != Stage::Request && !bytes.is_empty() {
            self.lines.read(bytes);
            if self.stage == Stage::Idle {
                self.stage = Stage::Head;
                self.pause.end();
            }
        }
        read
    }

    /// Waits as long as the stage allows. An idle connection ends as if its client had closed it.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stage {
            Stage::Request => Poll::Pending,
            Stage::Idle => self.pause.poll(self.patience.idle, cx).map(Ok),
            Stage::Head => {
                ready!(self.pause.poll(self.patience.head, cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.refusal.is_none() && !self.owes_answer && is_bare(bytes) {
            self.refusal = Some(Refusal::new(self.api, &*self.faults));
        }
        if self.refusal.is_none() {
            let written = ready!(self.poll_write_some(cx, bytes))?;
            self.owes_answer &= written < bytes.len();
            return Poll::Ready(Ok(written));
        }
        while let Some(rest) = self.refusal.as_ref().and_then(Refusal::rest) {
            let written = ready!(self.poll_write_some(cx, &rest))?;
            if let Some(refusal) = &mut self.refusal {
                refusal.advance(written);
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    /// Writes as much as the stream takes. A client that reads nothing, or next to nothing, loses the connection: it
    /// holds the answer's memory and a slot that others wait for.
    fn poll_write_some(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(written) => {
                let count = written.as_ref().copied().unwrap_or_default();
                self.pace.moved(count, count == bytes.len());
                Poll::Ready(written)
            }
            Poll::Pending => {
                ready!(self.pace.poll_too_slow(cx));
                count_cut(self.api, "slow_reader");
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        match &mut self.refusal {
            Some(refusal) => refusal.poll_linger(&mut self.stream, cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        lock(&self.0).poll_read(cx, buffer)
    }
}

// Writes are not vectored, so that hyper hands over head and body of an answer in one piece.
impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP stream keeps nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_shutdown(cx)
    }
}
