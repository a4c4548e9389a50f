//! Failures of the mechanics, as values: each API or page renders them in its own form.

use std::convert::Infallible;

use axum::response::Response;

/// Seconds after which a request that was refused for lack of time or memory is worth another try.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// A request that the mechanics could not bring to its handler, or whose handler gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The head is no HTTP/1.1 that RFC 9112 allows, or one that it lets a server refuse.
    MalformedHead,
    /// The body is larger than [`crate::body::MAX_BODY`].
    BodyTooLarge,
    /// The body broke off, or did not arrive whole within its time.
    BodyIncomplete,
    /// Bodies of other requests hold all the memory that is reserved for bodies.
    BodyMemoryFull,
    /// The request took longer than any may. Its effect is open.
    TimeLimit,
    /// The limit of a key is used up.
    TooManyRequests {
        /// Whole seconds, at least 1, after which the key may pass again.
        retry_after: u64,
    },
    /// The handler panicked with this message. Its effect is open.
    Panicked(String),
}

impl Fault {
    /// The line for the operator's log, where the fault is the server's. It is never sent to a client.
    pub fn cause(&self) -> Option<String> {
        match self {
            Self::BodyMemoryFull => {
                Some("bodies of other requests hold all the memory for them".to_owned())
            }
            Self::TimeLimit => Some("the time limit for requests was reached".to_owned()),
            Self::Panicked(message) => Some(format!("panicked: {message}")),
            Self::MalformedHead
            | Self::BodyTooLarge
            | Self::BodyIncomplete
            | Self::TooManyRequests { .. } => None,
        }
    }
}

impl From<Infallible> for Fault {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Renders faults: an envelope for an API, a page for people, plain text for operators.
pub trait Faults: Send + Sync + 'static {
    /// The answer to a request that met `fault`. `route` is the pattern that its path matched, as far as that is known.
    /// The body has to be at hand whole: it may be written without a runtime that waits for it.
    fn render(&self, fault: Fault, route: Option<&str>) -> Response;
}
