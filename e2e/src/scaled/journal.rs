//! Requests of customers and their answers, with times: each request's story.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// The purpose of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Gets a coupon.
    Issue,
    /// Uses a coupon.
    Redeem,
    /// Takes a redemption back.
    Cancel,
}

/// The outcome of sending a request once.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// An answer.
    Answer {
        /// HTTP status.
        status: u16,
        /// The code of a refusal.
        code: Option<String>,
        /// It was marked as a replay.
        replayed: bool,
        /// The body to the byte.
        bytes: Vec<u8>,
    },
    /// No answer came, for this reason.
    Silence(String),
}

impl Outcome {
    /// Says that it settles the request: not if the server failed, or still works on the request.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Answer { status, .. } if *status < 500 && *status != 409)
    }

    /// Says that it is a success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Answer { status: 200, .. })
    }

    /// Returns the code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Answer { code, .. } => code.as_deref(),
            Self::Silence(_) => None,
        }
    }

    /// Returns status and body, which a replay must have, too.
    #[must_use]
    pub fn same(&self) -> Option<(u16, &[u8])> {
        match self {
            Self::Answer { status, bytes, .. } => Some((*status, bytes)),
            Self::Silence(_) => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer {
                status,
                code,
                replayed,
                ..
            } => {
                write!(f, "{status} {}", code.as_deref().unwrap_or_default())?;
                f.write_str(if *replayed { " (replayed)" } else { "" })
            }
            Self::Silence(why) => write!(f, "no answer: {why}"),
        }
    }
}

/// One sending of a request.
#[derive(Debug, Clone)]
pub struct Sending {
    /// The time when it was sent.
    pub at: Timestamp,
    /// The time until its outcome.
    pub took: Duration,
    /// The number of the partner.
    pub partner: usize,
    /// Its outcome.
    pub outcome: Outcome,
}

/// A request. With a key it is one request, however often it is sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its purpose.
    pub action: Action,
    /// The template of the coupon.
    pub template: i64,
    /// The user of the coupon.
    pub user: String,
    /// The order; empty for an issue.
    pub order: String,
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: Value,
    /// Its idempotency key.
    pub key: Option<String>,
}

/// A request and its sendings, in the order of their outcomes.
#[derive(Debug, Clone)]
pub struct Story {
    /// The request.
    pub request: Request,
    /// Its sendings.
    pub sendings: Vec<Sending>,
}

impl Story {
    /// Returns the first answer that settles it.
    #[must_use]
    pub fn answer(&self) -> Option<&Outcome> {
        let mut outcomes = self.sendings.iter().map(|sending| &sending.outcome);
        outcomes.find(|outcome| outcome.is_final())
    }

    /// Says that it is settled by a success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.answer().is_some_and(Outcome::is_success)
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = &self.request;
        write!(
            f,
            "{:?} of template {} for {} {}, key {:?}",
            request.action, request.template, request.user, request.order, request.key
        )?;
        for sending in &self.sendings {
            let (at, took) = (sending.at, sending.took.as_millis());
            let (partner, outcome) = (sending.partner + 1, &sending.outcome);
            write!(f, "\n    {at:.3} partner{partner}, {took} ms: {outcome}")?;
        }
        Ok(())
    }
}

/// All stories of a round.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<Arc<Mutex<Story>>>>>);

/// A story that goes on.
#[derive(Debug, Clone)]
pub struct Page(Arc<Mutex<Story>>);

impl Journal {
    /// Begins a story.
    #[must_use]
    pub fn begin(&self, request: Request) -> Page {
        let story = Arc::new(Mutex::new(Story {
            request,
            sendings: Vec::new(),
        }));
        self.0.lock().unwrap().push(Arc::clone(&story));
        Page(story)
    }

    /// Returns all stories as they stand.
    #[must_use]
    pub fn stories(&self) -> Vec<Story> {
        let all = self.0.lock().unwrap();
        all.iter().map(|one| one.lock().unwrap().clone()).collect()
    }
}

impl Page {
    /// Adds a sending.
    pub fn note(&self, sending: Sending) {
        self.0.lock().unwrap().sendings.push(sending);
    }
}
