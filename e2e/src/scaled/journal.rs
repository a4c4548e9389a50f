//! What customers asked, and what they were told, with times: each request's story.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A coupon.
    Issue,
    /// To use it.
    Redeem,
    /// To take that back.
    Cancel,
}

/// What came of sending a request once.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// An answer.
    Answer {
        /// HTTP status.
        status: u16,
        /// Of a refusal.
        code: Option<String>,
        /// Whether it was told to be the answer of before.
        replayed: bool,
        /// The body to the byte.
        bytes: Vec<u8>,
    },
    /// None.
    Silence(String),
}

impl Outcome {
    /// Whether it settles what came of the request: not if the server was not able to, or is still at it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Answer { status, .. } if *status < 500 && *status != 409)
    }

    /// Whether it is a success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Answer { status: 200, .. })
    }

    /// The code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Answer { code, .. } => code.as_deref(),
            Self::Silence(_) => None,
        }
    }

    /// Status and body, which a repetition must have, too.
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

/// A request was sent once.
#[derive(Debug, Clone)]
pub struct Sending {
    /// When.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// To which partner.
    pub partner: usize,
    /// What came of it.
    pub outcome: Outcome,
}

/// A request. However often it is sent, it is the same one if it has a key.
#[derive(Debug, Clone)]
pub struct Request {
    /// What it is for.
    pub action: Action,
    /// Of which template.
    pub template: i64,
    /// For whom.
    pub user: String,
    /// For which order; empty for an issue.
    pub order: String,
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: Value,
    /// Its idempotency key.
    pub key: Option<String>,
}

/// A request and all that came of it, in the order of the answers.
#[derive(Debug, Clone)]
pub struct Story {
    /// What was asked.
    pub request: Request,
    /// What was told.
    pub sendings: Vec<Sending>,
}

impl Story {
    /// The first answer that settles it.
    #[must_use]
    pub fn answer(&self) -> Option<&Outcome> {
        let mut outcomes = self.sendings.iter().map(|sending| &sending.outcome);
        outcomes.find(|outcome| outcome.is_final())
    }

    /// Whether that is a success.
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

    /// All of them as they stand.
    #[must_use]
    pub fn stories(&self) -> Vec<Story> {
        let all = self.0.lock().unwrap();
        all.iter().map(|one| one.lock().unwrap().clone()).collect()
    }
}

impl Page {
    /// Goes on with it.
    pub fn note(&self, sending: Sending) {
        self.0.lock().unwrap().sendings.push(sending);
    }
}
