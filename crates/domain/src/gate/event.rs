//! Accepted issues on their way to becoming coupons, and the times that decide which of their copies count.

use jiff::{SignedDuration, Timestamp};

use crate::id::{CouponId, TemplateId};

/// How long after the database's time that its publisher read an event counts (the protocol's L).
pub const EVENT_LIFETIME: SignedDuration = SignedDuration::from_secs(6);

/// By how much the clocks of the database and of the log's servers may step back (the protocol's δ).
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// How old what was read of a gate may be when it is used, counted from before it was read.
pub const READ_BELIEVED: SignedDuration = SignedDuration::from_secs(2);

/// By how much the time of acceptance that an event states may differ from the log's append time. One that differs by
/// more was not written by a partner of ours, and is kept for an operator.
pub const ACCEPTED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// By how much a partner's clock may differ from the database's, so that what it accepts is always within
/// [`ACCEPTED_WITHIN`].
pub const CLOCKS_APART: SignedDuration = SignedDuration::from_hours(12);

/// A gate's number: 0 was never opened, and each opening has the next. At most one holds places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub i64);

impl Epoch {
    /// The one after it.
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

/// The digests of an idempotency key, and of the body that it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Keyed {
    /// Of client, method, path and key.
    pub key: [u8; 16],
    /// Of the body.
    pub body: [u8; 16],
}

/// An accepted issue on its way to becoming a coupon. Copies of it differ in `valid_until` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueEvent {
    /// The coupon that it becomes.
    pub coupon_id: CouponId,
    /// Of which template.
    pub template_id: TemplateId,
    /// The gate that gave the place.
    pub epoch: Epoch,
    /// For whom, byte for byte.
    pub user_id: String,
    /// When it was accepted, to the microsecond: the coupon's `issued_at`.
    pub accepted_at: Timestamp,
    /// The idempotency key that it came with.
    pub keyed: Option<Keyed>,
    /// The latest append time at which this copy counts.
    pub valid_until: Timestamp,
}

/// Whether a copy of an event counts that the log appended at `appended_at`.
#[must_use]
pub fn counts(appended_at: Timestamp, valid_until: Timestamp) -> bool {
    appended_at <= valid_until
}

/// Until when copies count that are published by who read the gate at `read_at`, by the database's clock.
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
