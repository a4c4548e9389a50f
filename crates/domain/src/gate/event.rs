//! The event of an accepted issue, and the times that decide which of its copies in the log count.

use jiff::{SignedDuration, Timestamp};

use crate::id::{CouponId, TemplateId};

/// The time for which an event counts, from the database's time at which its publisher read the gate (the protocol's L).
pub const EVENT_LIFETIME: SignedDuration = SignedDuration::from_secs(6);

/// The largest backward step of the database's and the log's clocks that the protocol tolerates (its δ).
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// The largest age at which a gate that was read from the database may still be used. The age counts from the moment
/// before the read.
pub const MAX_GATE_READ_AGE: SignedDuration = SignedDuration::from_secs(2);

/// The largest permitted difference between an event's time of acceptance and the log's append time. An event with a
/// larger one was not written by a partner of ours, and is kept for an operator.
pub const MAX_ACCEPTANCE_DISTANCE: SignedDuration = SignedDuration::from_hours(24);

/// The largest permitted difference between a partner's clock and the database's. It keeps every event that the partner
/// accepts within [`MAX_ACCEPTANCE_DISTANCE`].
pub const MAX_CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_hours(12);

/// The number of a gate's opening: each opening has the next number, and 0 stands for a gate that was never opened. At
/// most one epoch of a gate holds places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub i64);

impl Epoch {
    /// Returns the epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The digests of a request's idempotency key and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigests {
    /// The digest of client, method, path and key.
    pub key: [u8; 16],
    /// The digest of the body.
    pub body: [u8; 16],
}

/// An accepted issue that is not yet a coupon. The copies of one event differ in `valid_until` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueEvent {
    /// The coupon that it becomes.
    pub coupon_id: CouponId,
    /// The template of the coupon.
    pub template_id: TemplateId,
    /// The epoch of the gate that gave the place.
    pub epoch: Epoch,
    /// The user who gets the coupon, byte for byte.
    pub user_id: String,
    /// When it was accepted, to the microsecond: the coupon's `issued_at`.
    pub accepted_at: Timestamp,
    /// The digests of the request's idempotency key and body, if it had a key.
    pub keyed: Option<KeyDigests>,
    /// The latest append time at which this copy counts.
    pub valid_until: Timestamp,
}

/// Returns whether a copy of an event counts, given the time at which the log appended it.
#[must_use]
pub fn counts(appended_at: Timestamp, valid_until: Timestamp) -> bool {
    appended_at <= valid_until
}

/// Returns the `valid_until` of copies whose publisher read the gate at `read_at`, by the database's clock.
#[must_use]
pub fn valid_until(read_at: Timestamp) -> Timestamp {
    read_at + EVENT_LIFETIME
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    #[test]
    fn a_copy_counts_up_to_its_last_millisecond() {
        assert!(counts(at(6_000), valid_until(at(0))));
        assert!(!counts(at(6_001), valid_until(at(0))));
    }
}
