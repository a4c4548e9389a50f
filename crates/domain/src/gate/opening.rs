//! The values with which a gate's next epoch is brought to its server, and a gate whose sale is over is cleared away.

use jiff::{SignedDuration, Timestamp};

use super::{
    event::{Epoch, KeyDigests},
    state::Gate,
};
use crate::template::Template;

/// The age of a template's youngest coupon from which its sale is over: none of its idempotency keys counts any more.
pub const SALE_OVER_AGE: SignedDuration = SignedDuration::from_hours(25);

/// A template and its gate, read at one moment.
#[derive(Debug, Clone)]
pub struct GateRead {
    /// The template.
    pub template: Template,
    /// Its gate; `None` if it was never opened.
    pub gate: Option<Gate>,
    /// The database's time at that moment.
    pub read_at: Timestamp,
}

/// A gate's new epoch. The process that gets this value brings the epoch to the gate's server, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The number of the epoch.
    pub epoch: Epoch,
    /// The number of places that the epoch gives out.
    pub places: i64,
    /// The number of the template's coupons that exist already.
    pub issued: i64,
}

/// The result of an attempt to seal a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealResult {
    /// The gate is open: the caller brings the new epoch to the server.
    Open(Opening),
    /// The sale is over, so the gate was folded instead; requests are answered from the coupons alone.
    Folded,
    /// An event of an older epoch may still become a coupon.
    NotYet {
        /// The log's time up to which the slowest partition was processed.
        log_time: Option<Timestamp>,
    },
    /// The gate is no longer sealing under that epoch.
    Passed,
}

/// A coupon's user and key, as a new epoch must know them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The coupon's user.
    pub user_id: String,
    /// When the issue was accepted.
    pub issued_at: Timestamp,
    /// The digests of the request's idempotency key and body, if it had a key.
    pub keyed: Option<KeyDigests>,
}

/// A finished success of a key that a row of the database records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptSuccess {
    /// The digests of the request's idempotency key and body.
    pub keyed: KeyDigests,
    /// When the issue was accepted.
    pub stored_at: Timestamp,
    /// The time for which it is still to be kept; less than a millisecond counts as one.
    pub rest: std::time::Duration,
    /// The number under which the database stores the answer's text, if it is known.
    pub answer: Option<u32>,
}

/// The result of loading a batch of users, or of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallResult {
    /// The batch is loaded, or the epoch installed.
    Done,
    /// Nothing was done: the server behind the connection is no longer the one that it was made to.
    WrongServer,
    /// Nothing was done: the server has this epoch or a newer one. After a lost reply it may be the caller's own.
    NotOlder(Epoch),
    /// Nothing was done: the server lacks some of the loaded users. It has this number of them; `None` if the whole
    /// load was lost. This epoch must not be tried again: only a newer one is sure to give no place twice.
    CountDiffers(Option<i64>),
}

/// The result of clearing a gate away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoldResult {
    /// The gate's keys are gone from the server.
    Done,
    /// Nothing was done: some of the gate's reservations are not yet confirmed.
    StillPending,
    /// Nothing was done: the server has another epoch, which is given, or none.
    NotThere(Option<Epoch>),
}
