//! A gate as the database records it, and the rules by which it is given up and opened again.

use jiff::{SignedDuration, Timestamp};

use super::event::{CLOCK_TOLERANCE, EVENT_LIFETIME, Epoch};

/// The time without a sign of life of a gate's server after which its gates may be opened elsewhere. It only avoids
/// needless openings; safety does not rest on it.
pub const SERVER_TIMEOUT: SignedDuration = SignedDuration::from_secs(3);

/// The number of places of a template without an issue limit: more than can ever be taken, and exact as a double, which
/// is how the scripts count.
pub const UNLIMITED: i64 = 1 << 53;

/// The state of a gate in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GateState {
    /// The gate's places are at its server, or being brought there.
    Open,
    /// The gate waits until no event of an older epoch can become a coupon any more.
    Sealing,
    /// The template's sale is over: requests are answered from the coupons alone.
    Folded,
}

/// A gate as the database records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The latest epoch.
    pub epoch: Epoch,
    /// The state of that epoch.
    pub state: GateState,
    /// The server that holds the places of an open epoch.
    pub server: Option<String>,
    /// When the epoch was stamped, after its number had been committed.
    pub bumped_at: Option<Timestamp>,
    /// When a process last recorded that it is bringing the places to the server.
    pub touched_at: Timestamp,
}

/// Returns whether an open gate may be given up: for [`SERVER_TIMEOUT`] its server was not seen, or the server has
/// lost the gate and no process was bringing it there. Times are the database's.
#[must_use]
pub fn may_bump(
    gate: &Gate,
    server_seen_at: Option<Timestamp>,
    is_missing_there: bool,
    now: Timestamp,
) -> bool {
    let long_ago = |at: Timestamp| now.duration_since(at) > SERVER_TIMEOUT;
    gate.state == GateState::Open
        && (server_seen_at.is_none_or(long_ago) || (is_missing_there && long_ago(gate.touched_at)))
}

/// Returns whether no event of an older epoch can become a coupon any more, where every partition of the log was
/// processed at least up to `least_log_time`.
#[must_use]
pub fn may_seal(gate: &Gate, least_log_time: Timestamp) -> bool {
    gate.state == GateState::Sealing
        && gate
            .bumped_at
            .is_some_and(|bumped_at| least_log_time > bumped_at + EVENT_LIFETIME + CLOCK_TOLERANCE)
}

/// Returns the number of places of a new epoch: the limit, less the `issued` coupons and the `parked` events of users
/// without a coupon.
#[must_use]
pub fn places_left(max_issue_count: Option<i64>, issued: i64, parked: i64) -> i64 {
    match max_issue_count {
        None => UNLIMITED,
        Some(max) => (max - issued - parked).max(0),
    }
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
