//! The requests to the server that holds a gate's places, and its answers.
//!
//! A place that was given is a reservation. It is confirmed once a copy of its event is known to count.

use jiff::Timestamp;

use super::event::{Epoch, IssueEvent};
use crate::{
    coupon::{IssueOutcome, IssueRefusal},
    id::TemplateId,
};

/// Identifies a gate: a template's only one, or one of its shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateId {
    /// The template whose places it holds.
    pub template: TemplateId,
    /// The number of the shard; 0 if the template has one gate.
    pub shard: u16,
}

impl GateId {
    /// Returns the only gate of a template: no template has several yet.
    #[must_use]
    pub fn of(template: TemplateId) -> Self {
        Self { template, shard: 0 }
    }
}

/// The caller's epoch is not open at the caller's server. The caller reads the database again, or waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// The epoch that the server has, even if it belongs to another server; `None` if it has no gate at all.
    pub epoch: Option<Epoch>,
}

/// The answer that a request with the same key got before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// The outcome of the issue.
    pub outcome: IssueOutcome,
    /// The number under which the database stores the answer's text; `None` if the previous version remembered it.
    pub answer: Option<u32>,
}

/// The numbers under which the database stores the texts of refusals. The gate remembers the one that it answers, if the
/// request has a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusalAnswers {
    /// The template's own refusal.
    pub verdict: Option<u32>,
    /// The refusal of a user who has a coupon.
    pub already_issued: Option<u32>,
    /// The refusal when every place has become a coupon.
    pub sold_out: Option<u32>,
}

/// An event of which a copy is known to count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// The event.
    pub event: IssueEvent,
    /// The number under which the database stores the success's text, if the request has a key.
    pub answer: Option<u32>,
}

/// The gate's answer to a request for a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The key has its answer already.
    Replay(Finished),
    /// The key was used with another body.
    Mismatch,
    /// The key's answer, or the event that must be published first, has a form that this program does not know. A newer
    /// program that runs beside it does: the caller asks again later.
    Unreadable,
    /// The gate is not open to the caller.
    Closed(Closed),
    /// The caller has a place, and publishes its event.
    Reserved {
        /// The number of places given in this epoch, including this one.
        spent: i64,
    },
    /// This event, accepted before, must be published again before the request can be answered.
    Help(IssueEvent),
    /// The template refuses. This is remembered if the request has a key.
    Refused(IssueRefusal),
    /// The user has a coupon, for certain.
    AlreadyIssued,
    /// Every place has become a coupon.
    SoldOut,
    /// Every place is given, but some are not yet confirmed, so the template may not be sold out.
    Wait,
}

/// The state of a gate, read without changing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The state of the key that was asked about, if the server knows it. A closed gate knows finished answers too.
    pub key: Option<KeyState>,
    /// The gate's numbers, if it is open to the caller.
    pub gate: Result<Counts, Closed>,
}

/// The state of an idempotency key at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// The key has its answer.
    Replay(Finished),
    /// The key was used with another body.
    Mismatch,
    /// The key's answer has a form that this program does not know; a newer program does.
    Unreadable,
    /// The key has a reservation that is not yet confirmed.
    Pending,
}

/// The numbers of an open gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// The number of places with which the epoch was installed.
    pub cap: i64,
    /// The number of the template's coupons at that time.
    pub base: i64,
    /// The number of places given since.
    pub spent: i64,
    /// The number of given places that are confirmed.
    pub confirmed: i64,
    /// The time of the latest confirmation, by the confirming process's clock; `None` while there was none.
    pub confirmed_at: Option<Timestamp>,
    /// The gate's entry for the user that was asked about.
    pub user: Option<Holding>,
}

/// A user's coupon or reservation at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// A coupon.
    Coupon,
    /// A reservation that is not yet confirmed.
    Pending,
}

/// The reservations of a gate that are due to be published again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// The events of the reservations. No copy of them counts until its publisher sets `valid_until`.
    pub events: Vec<IssueEvent>,
    /// The number of further reservations, whose form this program does not know.
    pub unreadable: usize,
}
