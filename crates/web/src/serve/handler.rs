//! Passes the requests of one connection to a service, and its answers back.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use hyper::body::{Frame, Incoming, SizeHint};
use pin_project_lite::pin_project;

use super::draining::Draining;
use super::head;
use super::service::Serve;
use crate::address::Peer;
use crate::connection::Watch;
use crate::refuse;
use crate::trace::RequestTrace;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

pub(super) struct Handler<S> {
    pub(super) service: S,
    pub(super) peer: SocketAddr,
    pub(super) draining: Draining,
    pub(super) watch: Watch,
}

/// The client's connection broke while its request was being answered.
#[derive(Debug)]
pub(super) struct ClientGone;

impl fmt::Display for ClientGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client went away before its answer")
    }
}

impl std::error::Error for ClientGone {}

impl<S: Serve> hyper::service::Service<Request<Incoming>> for Handler<S> {
    type Response = Response;
    type Error = ClientGone;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let has_body = !request.body().is_end_stream();
        let lines = self.watch.begin(has_body);
        if head::is_malformed(&request, &lines) {
            let trace_id = RequestTrace::of(request.headers()).id;
            let (api, faults) = (self.service.api(), self.service.faults());
            return Answering {
                progress: Progress::Refused {
                    answer: Some(refuse::malformed(api, &*faults, trace_id)),
                },
                is_last: true,
                watch: self.watch.clone(),
            };
        }
        let watch = &self.watch;
        let is_last = self.draining.has_begun() || takes_one_answer(&request);
        let mut request = request.map(|body| match has_body {
            true => Body::new(WatchedBody {
                body,
                watch: watch.clone(),
            }),
            false => Body::empty(),
        });
        request.extensions_mut().insert(Peer(self.peer));
        Answering {
            progress: Progress::Runs {
                // Ours are always ready.
                answer: self.service.clone().call(request),
            },
            is_last,
            watch: self.watch.clone(),
        }
    }
}

/// Returns whether the client takes one answer only, as those of HTTP/1.0 do unless they say otherwise.
fn takes_one_answer(request: &Request<Incoming>) -> bool {
    let keeps_alive = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
    request.version() < Version::HTTP_11
        && !request
            .headers()
            .get_all(CONNECTION)
            .iter()
            .any(keeps_alive)
}

pin_project! {
    /// The future of a request: ends early where the connection breaks, so that no work is done for a client that is gone.
    pub(super) struct Answering<F> {
        #[pin]
        progress: Progress<F>,
        // Whether the connection ends with the answer.
        is_last: bool,
        watch: Watch,
    }
}

pin_project! {
    #[project = ProgressNow]
    enum Progress<F> {
        Runs { #[pin] answer: F },
        Refused { answer: Option<Response> },
    }
}

impl<F> Future for Answering<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<Response, ClientGone>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match this.progress.project() {
            ProgressNow::Refused { answer } => answer.take().ok_or(ClientGone)?,
            ProgressNow::Runs { answer } => match answer.poll(cx) {
                Poll::Ready(Ok(response)) => response,
                Poll::Ready(Err(never)) => match never {},
                Poll::Pending => {
                    ready!(this.watch.poll_broken(cx));
                    return Poll::Ready(Err(ClientGone));
                }
            },
        };
        if !this.watch.end() || *this.is_last {
            response.headers_mut().insert(CONNECTION, CLOSE);
        }
        Poll::Ready(Ok(response))
    }
}

/// A body that notes at its connection when it has arrived whole.
struct WatchedBody {
    body: Incoming,
    watch: Watch,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.watch.body_is_whole();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
