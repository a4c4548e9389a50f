//! Schedules made by hand, for guards that are needed in narrow races alone.
#![allow(clippy::unwrap_used)]

use goodpon_simulator::{
    Action::{self, *},
    Actor, Broken, Budget, Fault, Guard, Size,
    search::play,
};

const CUSTOMER: u8 = b'a';

/// Steps of a task that partner 0 began by itself.
fn inner(count: usize) -> Vec<Action> {
    vec![Step(Actor::Inner(0), 0); count]
}

/// The gate's pages: parked users, a load, the holders; with a holder its load and the page behind it.
fn loaded(has_holder: bool) -> Vec<Action> {
    inner(if has_holder { 5 } else { 3 })
}

/// Request 0 finds no gate, and its partner opens the first epoch.
fn first_opened() -> Vec<Action> {
    let begin = [Begin(CUSTOMER, None, 0), Step(Actor::Request(0), 0)];
    [
        begin.to_vec(),
        inner(2), // It reads, and opens.
        loaded(false),
        inner(1), // It installs.
        vec![Pass(20)],
    ]
    .concat()
}

/// A request reads the gate and takes a place; its publish is on its way.
fn reserved(request: usize) -> Vec<Action> {
    vec![Step(Actor::Request(request), 0); 2]
}

/// The operator gives the gate up, and partner 0 stamps that.
fn given_up() -> Vec<Action> {
    let by_hand = [BumpByHand, Step(Actor::Operator, 0)];
    [by_hand.to_vec(), moved_on(2)].concat()
}

/// Partner 0 sees that the gate is being moved, and does the steps that are due.
fn moved_on(steps: usize) -> Vec<Action> {
    let seen = [MoveGates(0), Step(Actor::Mover(0), 0)];
    [seen.to_vec(), inner(steps)].concat()
}

/// Both partitions are worked through up to now.
fn worked_through() -> Vec<Action> {
    let ticks = [Poll(0), Step(Actor::Inner(2), 0), Step(Actor::Inner(2), 0)];
    let batch = |partition| [Fetch(0, partition, 99), Step(Actor::Issuer(0), 0)];
    [&ticks[..], &batch(0), &batch(1)].concat()
}

/// Runs a schedule each step of which must be possible, and lets the world settle.
fn played(removed: &[Guard], places: i64, actions: &[Action]) -> Broken {
    let size = Size {
        places,
        users: 2,
        keys: 0,
        brokers_ahead: [1, 1],
        database_ahead: 0,
    };
    let budget = Budget {
        requests: 9,
        faults: 9,
        bumps: 9,
        ..Budget::default()
    };
    let run = play(removed, size, budget, actions).unwrap();
    println!("{}", run.story.join("\n"));
    run.broken.unwrap()
}

/// A copy that is on its way since before a bump comes when a broker's clock has gone back by a second, right after the
/// seal.
#[test]
fn a_seal_waits_for_clocks_that_go_back() {
    let almost_six_seconds = [vec![Pass(400); 14], vec![Pass(20); 19]].concat();
    let late_copy = [
        first_opened(),
        reserved(0),
        given_up(),
        almost_six_seconds,
        worked_through(),
        moved_on(2), // It reads, and seals.
        loaded(false),
        inner(1),
        vec![MovePartition(0), MovePartition(1), Deliver(0)],
        vec![Step(Actor::Request(0), 0)],
    ]
    .concat();
    let broken = played(&[Guard::ClockTolerance], 1, &late_copy);
    assert_eq!(broken.promise, "1/5", "{broken}");
    let broken = played(&[], 1, &late_copy);
    let must_wait = "cannot happen: Step(Inner(0), 0)";
    assert!(broken.how.ends_with(must_wait), "{broken}");
}

/// Valkey is flushed between the loading of a gate and its installation.
#[test]
fn a_gate_is_not_installed_without_the_users_that_were_loaded() {
    let acknowledged = |request| [Deliver(0), Step(Actor::Request(request), 0)].to_vec();
    let lost_users = [
        first_opened(),
        reserved(0),
        acknowledged(0),
        given_up(),
        vec![Pass(9_000)],
        worked_through(),
        moved_on(2), // It reads, and seals.
        loaded(true),
        vec![Befall(0, Fault::Flushed)],
        inner(1), // It installs.
        vec![Begin(CUSTOMER, None, 0)],
        reserved(1),
        acknowledged(1),
    ]
    .concat();
    let broken = played(&[Guard::LoadedCounted], 2, &lost_users);
    assert_eq!(broken.promise, "3", "{broken}");
    let broken = played(&[], 2, &lost_users);
    let is_closed = "cannot happen: Deliver(0)";
    assert!(broken.how.ends_with(is_closed), "{broken}");
}
