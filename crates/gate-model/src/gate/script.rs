//! What the scripts are asked and what they answer.

use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Epoch, IssueEvent, Keyed},
    id::{CouponId, TemplateId},
};
use jiff::Timestamp;

use super::{Digest, Outcome};

/// One run of the gate script.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The epoch that the caller read in the database.
    pub epoch: Epoch,
    /// Who asks, as the sets hold them.
    pub user: Digest,
    /// Who asks, byte for byte.
    pub user_id: &'a str,
    /// The idempotency key, if there is one.
    pub keyed: Option<Keyed>,
    /// What the template alone refuses, if it does.
    pub verdict: Option<IssueRefusal>,
    /// A fresh id; the same one when a lost reply makes the script run again.
    pub coupon_id: CouponId,
    /// When the request was accepted.
    pub accepted_at: Timestamp,
    /// The caller's clock.
    pub now: Timestamp,
    /// Whether memory runs short: answers that come again by themselves are then not kept.
    pub spare: bool,
}

/// What the gate script says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The key's answer, given before.
    Replay(Outcome),
    /// The key was used with another body.
    Mismatch,
    /// The caller's epoch is not open at the caller's server.
    Closed {
        /// The epoch that is there, whoever it belongs to; none where there is no gate.
        epoch: Option<Epoch>,
    },
    /// The place is the caller's, to be published.
    Reserved {
        /// Places given out in this epoch, this one included.
        spent: i64,
    },
    /// This reservation must be published again before anything can be said.
    Help(Pending),
    /// The verdict, now remembered.
    Refused(IssueRefusal),
    /// The user has one, and that is sure.
    AlreadyIssued,
    /// Every place has become a coupon.
    SoldOut,
    /// Every place is given out, and whether all count is not yet known.
    Wait,
}

/// A reservation that is not yet known to count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The coupon that it becomes.
    pub coupon_id: CouponId,
    /// For whom, as the sets hold them.
    pub user: Digest,
    /// For whom, byte for byte.
    pub user_id: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// The idempotency key that it came with.
    pub keyed: Option<Keyed>,
}

impl Pending {
    /// The event that is published for it.
    #[must_use]
    pub fn event(
        &self,
        template_id: TemplateId,
        epoch: Epoch,
        valid_until: Timestamp,
    ) -> IssueEvent {
        IssueEvent {
            coupon_id: self.coupon_id,
            template_id,
            epoch,
            user_id: self.user_id.clone(),
            accepted_at: self.accepted_at,
            keyed: self.keyed,
            valid_until,
        }
    }
}

/// A finished answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// The body that came with the key.
    pub body: Digest,
    /// The answer.
    pub outcome: Outcome,
    /// When it was stored, by the caller's clock.
    pub stored_at: Timestamp,
    /// The last millisecond at which the server still has it.
    pub expires_ms: i64,
}

/// A reservation whose publication counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// Whose.
    pub user: Digest,
    /// Which coupon of theirs.
    pub coupon_id: CouponId,
}

/// A finished answer that a row of the database tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptSuccess {
    /// Key and body.
    pub keyed: Keyed,
    /// When it was stored, as far as the row tells.
    pub stored_at: Timestamp,
    /// For how many milliseconds it is still to be kept, more than 0.
    pub rest_ms: i64,
}

/// What became of a batch to load, or of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installation {
    /// It is done.
    Done,
    /// The connection does not lead to the server that it was made to.
    WrongServer,
    /// This epoch, or a newer one, is there.
    NotOlder(Epoch),
    /// Not so many users are there as were loaded.
    CountDiffers(usize),
}

/// How a gate stands, changing nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What is known of the key, if one was asked about.
    pub key: Option<KeyState>,
    /// The gate, or the epoch that is there where it is closed to the caller.
    pub gate: Result<Counts, Option<Epoch>>,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Its answer.
    Replay(Outcome),
    /// Used with another body.
    Mismatch,
    /// Its reservation is not yet known to count.
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
    /// What the user asked about has.
    pub user: Option<Holding>,
}

/// What a user has at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// A coupon.
    Coupon,
    /// A reservation that is not yet known to count.
    Pending,
}

/// What became of clearing a gate away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    /// Its keys are gone.
    Done,
    /// Reservations of it are not yet known to count.
    StillPending,
    /// Another epoch is there, or none.
    NotThere(Option<Epoch>),
}
