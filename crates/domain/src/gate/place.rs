//! What is asked of the server that holds a gate's places, and what it answers.

use jiff::Timestamp;

use super::event::{Epoch, IssueEvent};
use crate::{
    coupon::{IssueOutcome, IssueRefusal},
    id::TemplateId,
};

/// Names a gate: a template's, or one of its shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateId {
    /// The template whose places it holds.
    pub template: TemplateId,
    /// Which of the template's gates; 0 where it has one.
    pub shard: u16,
}

impl GateId {
    /// The only gate of a template: templates have one each, as yet.
    #[must_use]
    pub fn of(template: TemplateId) -> Self {
        Self { template, shard: 0 }
    }
}

/// The caller's epoch is not open at the caller's server: the caller reads the database again, or waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// The epoch that is there, whichever server it belongs to; `None` where there is no gate at all.
    pub epoch: Option<Epoch>,
}

/// The answer that a key got before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// How the issue ended.
    pub outcome: IssueOutcome,
    /// The number under which the database keeps the answer to the byte; `None` where the version before stored it.
    pub answer: Option<u32>,
}

/// The numbers under which the database keeps the answers of refusals, to be remembered with a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusalAnswers {
    /// If the template refuses.
    pub verdict: Option<u32>,
    /// If the user has one.
    pub already_issued: Option<u32>,
    /// If all are gone.
    pub sold_out: Option<u32>,
}

/// An event that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// The event.
    pub event: IssueEvent,
    /// The number under which the database keeps the answer of its success, if it has a key.
    pub answer: Option<u32>,
}

/// The gate's answer to a request for a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The key has its answer already.
    Replay(Finished),
    /// The key was used with another body.
    Mismatch,
    /// The key's answer, or the event that needs help first, is written in a form that this program does not know.
    /// A newer one that runs beside does: ask again later.
    Unreadable,
    /// The gate is not open to the caller.
    Closed(Closed),
    /// The place is the caller's; it counts once the event is published.
    Reserved {
        /// Places given out in this epoch so far.
        spent: i64,
    },
    /// This event, accepted before, must be published again before anything can be answered.
    Help(IssueEvent),
    /// The template's refusal, remembered if there is a key.
    Refused(IssueRefusal),
    /// The user has one, and that is sure.
    AlreadyIssued,
    /// Every place has become a coupon.
    SoldOut,
    /// Every place is given out, but it is not yet sure that all of them count.
    Wait,
}

/// How a gate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The state of the key, if one was asked about. A closed gate knows finished answers too.
    pub key: Option<KeyState>,
    /// The gate, if it is open to the caller.
    pub gate: Result<Counts, Closed>,
}

/// The state of an idempotency key at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It has its answer.
    Replay(Finished),
    /// It was used with another body.
    Mismatch,
    /// Its answer is written in a form that this program does not know. A newer one does.
    Unreadable,
    /// Its event is not yet known to count.
    Pending,
}

/// The numbers of an open gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// The places that it was given.
    pub cap: i64,
    /// The coupons that there were before it.
    pub base: i64,
    /// The places that it has given out.
    pub spent: i64,
    /// Those of them that are known to count.
    pub confirmed: i64,
    /// When the last of those was confirmed, by the confirming process's clock; `None` while none was.
    pub confirmed_at: Option<Timestamp>,
    /// What the user asked about has.
    pub user: Option<Holding>,
}

/// What a user has at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// A coupon.
    Coupon,
    /// A place that is not yet known to count.
    Pending,
}

/// The reservations of a gate that are due for help.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// The events. Their copies count only once their publisher sets `valid_until`.
    pub events: Vec<IssueEvent>,
    /// The number of further ones, written in a form that this program does not know.
    pub unreadable: usize,
}
