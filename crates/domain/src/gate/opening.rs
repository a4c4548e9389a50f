//! Bringing a gate's next epoch to its server, and clearing away a gate whose sale is over.

use jiff::{SignedDuration, Timestamp};

use super::{
    event::{Epoch, Keyed},
    state::Gate,
};
use crate::template::Template;

/// A sale is over when its youngest coupon is older than this: no idempotency key of it counts any more.
pub const SALE_OVER_AFTER: SignedDuration = SignedDuration::from_hours(25);

/// A template and its gate, as they were at one moment.
#[derive(Debug, Clone)]
pub struct GateRead {
    /// The template.
    pub template: Template,
    /// Its gate; `None` was never opened.
    pub gate: Option<Gate>,
    /// The database's time at that moment.
    pub read_at: Timestamp,
}

/// A gate's new epoch. The process that got this brings it to the gate's server, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Its number.
    pub epoch: Epoch,
    /// The number of its places.
    pub places: i64,
    /// The number of coupons that exist already.
    pub issued: i64,
}

/// The result of a try to seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// It is open: bring it to the server.
    Open(Opening),
    /// The sale is over; the coupons answer everything.
    Folded,
    /// Something of older epochs may still become a coupon.
    NotYet {
        /// How far the slowest partition has come.
        log_time: Option<Timestamp>,
    },
    /// It is not sealing under that number any more.
    Passed,
}

/// A coupon as a new gate must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its user.
    pub user_id: String,
    /// When it was accepted.
    pub issued_at: Timestamp,
    /// The key that it was accepted with.
    pub keyed: Option<Keyed>,
}

/// A success that a row of the database records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptSuccess {
    /// Key and body.
    pub keyed: Keyed,
    /// When it was accepted.
    pub stored_at: Timestamp,
    /// For how long it is still to be kept; less than a millisecond counts as one.
    pub rest: std::time::Duration,
    /// The number under which the database keeps its answer, if it is known.
    pub answer: Option<u32>,
}

/// The result of loading a batch of users, or of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installation {
    /// It is done.
    Done,
    /// The connection leads to another server than the one that it was made to. Nothing was done.
    WrongServer,
    /// This epoch, or a newer one, is there. After a lost reply it may be one's own. Nothing was done.
    NotOlder(Epoch),
    /// Not all that was loaded is there: the number of users that are, or `None` where the load itself was lost.
    /// Nothing was done, and this epoch must not be tried again: only a newer one is sure to hold no place twice.
    CountDiffers(Option<i64>),
}

/// The result of clearing a gate away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    /// Its keys are gone.
    Done,
    /// Reservations of it are not yet known to count. Nothing was done.
    StillPending,
    /// Another epoch is there, or none. Nothing was done.
    NotThere(Option<Epoch>),
}
