//! The scripts' arguments and answers.

use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Epoch, IssueEvent, KeyDigests},
    id::{CouponId, TemplateId},
};
use jiff::Timestamp;

use super::{Digest, Outcome};

/// The arguments of one run of the gate script.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The epoch that the caller read in the database.
    pub epoch: Epoch,
    /// The digest of the user's id.
    pub user: Digest,
    /// The user's id, byte for byte.
    pub user_id: &'a str,
    /// The digests of the idempotency key and the body, if the request has a key.
    pub keyed: Option<KeyDigests>,
    /// The template's own refusal, if it refuses.
    pub verdict: Option<IssueRefusal>,
    /// A fresh id; the same one if a lost reply makes the script run again.
    pub coupon_id: CouponId,
    /// When the request was accepted.
    pub accepted_at: Timestamp,
    /// The caller's clock.
    pub now: Timestamp,
    /// Memory runs short: refusals that would be answered again anyway are then not remembered.
    pub spare: bool,
}

/// The gate script's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The key has its answer already.
    Replay(Outcome),
    /// The key was used with another body.
    Mismatch,
    /// The caller's epoch is not open at the caller's server.
    Closed {
        /// The epoch that the server has, even if it belongs to another server; `None` if it has no gate.
        epoch: Option<Epoch>,
    },
    /// The caller has a place, and publishes its event.
    Reserved {
        /// The number of places given in this epoch, including this one.
        spent: i64,
    },
    /// This reservation must be published again before the request can be answered.
    Help(Pending),
    /// The template refuses. This is remembered if the request has a key.
    Refused(IssueRefusal),
    /// The user has a coupon, for certain.
    AlreadyIssued,
    /// Every place has become a coupon.
    SoldOut,
    /// Every place is given, but some are not yet confirmed.
    Wait,
}

/// A reservation that is not yet confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The coupon that it becomes.
    pub coupon_id: CouponId,
    /// The digest of the user's id.
    pub user: Digest,
    /// The user's id, byte for byte.
    pub user_id: String,
    /// When the request was accepted.
    pub accepted_at: Timestamp,
    /// The digests of the idempotency key and the body, if the request had a key.
    pub keyed: Option<KeyDigests>,
}

impl Pending {
    /// Returns the event that is published for the reservation.
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
    /// The digest of the body that came with the key.
    pub body: Digest,
    /// The answer.
    pub outcome: Outcome,
    /// When it was stored, by the caller's clock.
    pub stored_at: Timestamp,
    /// The last millisecond at which the server still has it.
    pub expires_ms: i64,
}

/// A reservation of which a published copy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// The digest of the user's id.
    pub user: Digest,
    /// The coupon that the reservation becomes.
    pub coupon_id: CouponId,
}

/// A finished success of a key that a row of the database records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptSuccess {
    /// The digests of the idempotency key and the body.
    pub keyed: KeyDigests,
    /// When the issue was accepted.
    pub stored_at: Timestamp,
    /// The time in milliseconds for which it is still to be kept, more than 0.
    pub rest_ms: i64,
}

/// The result of loading a batch of users, or of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallResult {
    /// The batch is loaded, or the epoch installed.
    Done,
    /// The server behind the connection is no longer the one that it was made to.
    WrongServer,
    /// The server has this epoch or a newer one, which is given.
    NotOlder(Epoch),
    /// Not all that was loaded is there: the number of users that are, or `None` where the load itself was lost.
    CountDiffers(Option<usize>),
}

/// The state of a gate, read without changing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The state of the key that was asked about, if the server knows it.
    pub key: Option<KeyState>,
    /// The gate's numbers; if it is closed to the caller, the epoch that the server has.
    pub gate: Result<Counts, Option<Epoch>>,
}

/// The state of an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// The key has its answer.
    Replay(Outcome),
    /// The key was used with another body.
    Mismatch,
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

/// The result of clearing a gate away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoldResult {
    /// The gate's keys are gone.
    Done,
    /// Some of the gate's reservations are not yet confirmed.
    StillPending,
    /// The server has another epoch, which is given, or none.
    NotThere(Option<Epoch>),
}
