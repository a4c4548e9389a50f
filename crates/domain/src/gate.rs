//! The first-come gate scaled out: what partners, issuers and openers of gates decide, and by which times.
//!
//! Three rules carry it. One epoch holds all free places of a template, and the next gets them only when nothing of
//! the older ones can become a coupon any more. A copy of an event counts exactly if the log's append time is not
//! past the event's `valid_until`; who publishes and who writes compare the same two numbers. A reservation is never
//! released in a live gate, only published again.

use jiff::{SignedDuration, Timestamp};

use crate::{
    coupon::CouponStatus,
    id::{CouponId, TemplateId},
    template::{Template, TemplateStatus},
};

/// How long after the database's time that its publisher read an event counts (the protocol's L).
pub const EVENT_LIFETIME: SignedDuration = SignedDuration::from_secs(6);

/// By how much the clocks of the database and of the log's servers may step back (the protocol's δ).
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// How old what was read of a gate may be when it is used, counted from before it was read.
pub const READ_BELIEVED: SignedDuration = SignedDuration::from_secs(2);

/// How long a gate's server must not have been seen before its gates may be opened elsewhere. This spares needless
/// openings; safety does not rest on it.
pub const SERVER_DEAD_AFTER: SignedDuration = SignedDuration::from_secs(3);

/// By how much the time of acceptance that an event states may differ from the log's append time. One that differs by
/// more was not written by a partner of ours, and is kept for an operator.
pub const ACCEPTED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// By how much a partner's clock may differ from the database's, so that what it accepts is always within
/// [`ACCEPTED_WITHIN`].
pub const CLOCKS_APART: SignedDuration = SignedDuration::from_hours(12);

/// The places of a gate of a template without an issue limit: more than can ever be taken, and exact in a double.
pub const UNLIMITED: i64 = 1 << 53;

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

/// What a gate is in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GateState {
    /// Its places are at its server, or on their way there.
    Open,
    /// It waits until nothing of older epochs can become a coupon any more.
    Sealing,
    /// Its template's issue is long over; its coupons tell all.
    Folded,
}

/// A gate as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The latest number.
    pub epoch: Epoch,
    /// What that one is.
    pub state: GateState,
    /// The server that holds the places of an open one.
    pub server: Option<String>,
    /// When it was stamped, after its number had been made known.
    pub bumped_at: Option<Timestamp>,
    /// When somebody was last seen at bringing its places to the server.
    pub touched_at: Timestamp,
}

/// Whether an open gate may be given up: its server was not seen for so long, or the server has lost it and nobody
/// has been bringing it there for so long. Times are the database's.
#[must_use]
pub fn may_bump(
    gate: &Gate,
    server_seen_at: Option<Timestamp>,
    is_missing_there: bool,
    now: Timestamp,
) -> bool {
    let long_ago = |at: Timestamp| now.duration_since(at) > SERVER_DEAD_AFTER;
    gate.state == GateState::Open
        && (server_seen_at.is_none_or(long_ago) || (is_missing_there && long_ago(gate.touched_at)))
}

/// Whether nothing of older epochs can become a coupon any more, once every partition of the log was worked through
/// beyond `least_log_time`.
#[must_use]
pub fn may_seal(gate: &Gate, least_log_time: Timestamp) -> bool {
    gate.state == GateState::Sealing
        && gate
            .bumped_at
            .is_some_and(|bumped_at| least_log_time > bumped_at + EVENT_LIFETIME + CLOCK_TOLERANCE)
}

/// The places of a new epoch: what is left when coupons and parked events of users without a coupon have theirs.
#[must_use]
pub fn places_left(max_issue_count: Option<i64>, issued: i64, parked: i64) -> i64 {
    match max_issue_count {
        None => UNLIMITED,
        Some(max) => (max - issued - parked).max(0),
    }
}

/// What an issuer does with a record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it came too late to count.
    Void,
    /// Nothing: the user has a coupon of the template. It is this event's own, if the event was answered.
    Held,
    /// It is kept for an operator, with its place: its template is gone.
    TemplateGone,
    /// It is kept for an operator, with its place: the limit is reached, which cannot happen while the rules hold.
    OverLimit,
    /// It becomes a coupon in this state, ISSUED or, where the template was discarded meanwhile, DISCARDED.
    Write(CouponStatus),
}

/// Decides over a record of the log. `issued` counts the template's coupons with those of the running batch.
#[must_use]
pub fn judge(
    event: &IssueEvent,
    appended_at: Timestamp,
    template: Option<&Template>,
    user_has_one: bool,
    issued: i64,
) -> Verdict {
    if !counts(appended_at, event.valid_until) {
        return Verdict::Void;
    }
    let Some(template) = template else {
        return Verdict::TemplateGone;
    };
    if user_has_one {
        return Verdict::Held;
    }
    if template.is_sold_out(issued) {
        return Verdict::OverLimit;
    }
    Verdict::Write(match template.status {
        TemplateStatus::Discarded => CouponStatus::Discarded,
        _ => CouponStatus::Issued,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    fn gate(state: GateState) -> Gate {
        Gate {
            epoch: Epoch(3),
            state,
            server: Some("run replid".into()),
            bumped_at: Some(at(0)),
            touched_at: at(0),
        }
    }

    #[test]
    fn a_copy_counts_up_to_its_last_millisecond() {
        assert!(counts(at(6_000), valid_until(at(0))));
        assert!(!counts(at(6_001), valid_until(at(0))));
    }

    #[test]
    fn an_open_gate_is_given_up_when_its_server_is_dead_or_has_lost_it() {
        let open = gate(GateState::Open);
        let seen = |millis| Some(at(millis));
        assert!(!may_bump(&open, seen(10_000), false, at(13_000)));
        assert!(may_bump(&open, seen(10_000), false, at(13_001)));
        assert!(may_bump(&open, None, false, at(0)), "never seen at all");
        assert!(
            !may_bump(&open, seen(3_000), true, at(3_000)),
            "just being brought there"
        );
        assert!(may_bump(&open, seen(3_000), true, at(3_001)));
        for state in [GateState::Sealing, GateState::Folded] {
            assert!(!may_bump(&gate(state), None, true, at(60_000)));
        }
    }

    #[test]
    fn a_seal_waits_for_the_last_event_that_counts_and_for_the_clocks() {
        let sealing = gate(GateState::Sealing);
        assert!(!may_seal(&sealing, at(8_000)));
        assert!(may_seal(&sealing, at(8_001)));
        assert!(!may_seal(&gate(GateState::Open), at(60_000)));
        let unstamped = Gate {
            bumped_at: None,
            ..sealing
        };
        assert!(!may_seal(&unstamped, at(60_000)));
    }

    #[test]
    fn places_are_what_neither_coupons_nor_parked_events_have() {
        assert_eq!(places_left(Some(10), 6, 1), 3);
        assert_eq!(places_left(Some(10), 9, 2), 0);
        assert_eq!(places_left(None, 6, 1), UNLIMITED);
    }
}
