//! No schedule breaks a promise of the protocol, and without any one of its guards some schedule does.
#![allow(clippy::unwrap_used)]

use goodpon_gate_model::{
    model::{Action, Broken, Budget, Fault, Guard, Size, World},
    search::{replay, run, search, shrink},
};

/// How many random schedules must break nothing: some seconds' worth.
const SCHEDULES: u64 = 60_000;

/// Within how many a guard must prove to be needed.
const BUDGET: u64 = 20_000;

/// In how many of all schedules each thing of interest must come up, so that they are no empty ones.
const AT_LEAST_ONE_IN: u64 = 60;

/// Those that the others make needless: they limit the damage should an assumption fail.
const BELTS: [Guard; 2] = [Guard::ProgressCompared, Guard::LimitChecked];

/// Needed in races so narrow that random schedules seldom meet them; they have schedules of their own below.
const NARROW: [Guard; 2] = [Guard::ClockTolerance, Guard::LoadedCounted];

#[test]
fn no_schedule_breaks_a_promise() {
    let findings = search(&[], 1, SCHEDULES, |_| true);
    if let Some(found) = findings.counterexamples.first() {
        panic!("{}", story(&[], found.seed, &shrink(&[], found).actions));
    }
    for (name, times) in findings.reached {
        println!("{name}: {times}");
        assert!(
            times * AT_LEAST_ONE_IN >= SCHEDULES,
            "{name}: only {times} times"
        );
    }
}

#[test]
fn without_a_guard_some_schedule_breaks_a_promise() {
    for guard in Guard::ALL {
        if BELTS.contains(&guard) || NARROW.contains(&guard) {
            continue;
        }
        // What never settles breaks promise 6; that is all that is asked of help, and too little of the others.
        let is_wanted = |broken: &Broken| (broken.promise == "6") == (guard == Guard::Help);
        let findings = search(&[guard], 1, BUDGET, is_wanted);
        let found = findings
            .counterexamples
            .last()
            .filter(|found| is_wanted(&found.broken));
        let found =
            found.unwrap_or_else(|| panic!("{guard:?} was not missed in {BUDGET} schedules"));
        let shortest = shrink(&[guard], found);
        let (count, length, seed) = (findings.schedules, shortest.actions.len(), found.seed);
        println!(
            "{guard:?}: schedule {count}, {length} actions (seed {seed}): {}",
            shortest.broken
        );
        let (_, without) = replay(&[], seed, &shortest.actions);
        assert_eq!(
            without.map(|one| one.broken),
            None,
            "the guard alone makes the difference"
        );
    }
}

#[test]
fn belts_are_needless_while_the_guards_hold_and_hold_rows_to_the_limit_when_not() {
    let findings = search(&BELTS, 1, BUDGET, |_| true);
    assert!(
        findings.counterexamples.is_empty(),
        "{:?}",
        findings.counterexamples
    );
    let too_many_rows = |removed: &[Guard]| {
        let found = search(removed, 1, BUDGET, |_| false).counterexamples;
        assert!(!found.is_empty());
        found.iter().filter(|one| one.broken.promise == "2").count()
    };
    assert_eq!(too_many_rows(&[Guard::ValidUntil]), 0);
    assert!(too_many_rows(&[Guard::ValidUntil, Guard::LimitChecked]) > 0);
}

#[test]
fn a_seed_has_one_schedule() {
    for seed in 1..50 {
        let [(_, one, _), (_, other, _)] = [(); 2].map(|()| run(&[], seed));
        assert_eq!(one, other);
    }
}

/// A copy on its way since before a bump comes when a broker's clock has gone back by a second, right after the seal.
#[test]
fn a_seal_waits_for_clocks_that_go_back() {
    let late_copy = [
        &opened()[..],
        &[
            Action::Begin(b'a', None),
            Action::Step(0, 0),
            Action::Step(0, 0),
            Action::Step(0, 0),
        ],
        &[Action::BumpByHand(0), Action::Open(0, 0), Action::Pass(6)],
        &worked_through(),
        &opened(),
        &[
            Action::MovePartition(1),
            Action::Deliver(0),
            Action::Step(0, 0),
        ],
    ]
    .concat();
    let broken = play(&[Guard::ClockTolerance], 1, &late_copy).unwrap_err();
    assert_eq!(broken.promise, "1/5", "{broken}");
    let broken = play(&[], 1, &late_copy).unwrap_err();
    assert_eq!(
        broken.how, "step 18 cannot happen: Open(0, 0)",
        "the seal must wait"
    );
}

/// Valkey is flushed between the loading of a gate and its installation.
#[test]
fn a_gate_is_not_installed_without_the_users_that_were_loaded() {
    let issue = |attempt| {
        [Action::Begin(b'a', None)]
            .into_iter()
            .chain([Action::Step(attempt, 0); 3])
    };
    let acknowledged = |attempt| {
        [
            Action::Deliver(0),
            Action::Step(attempt, 0),
            Action::Step(attempt, 0),
        ]
    };
    let lost_users = [
        &opened()[..],
        &issue(0).collect::<Vec<_>>(),
        &acknowledged(0),
        &[Action::BumpByHand(0), Action::Open(0, 0), Action::Pass(9)],
        &worked_through(),
        &opened()[..3],
        &[Action::Befall(0, Fault::Flushed), Action::Open(0, 0)],
        &issue(1).collect::<Vec<_>>(),
        &acknowledged(1)[..2],
    ]
    .concat();
    let broken = play(&[Guard::LoadedCounted], 2, &lost_users).unwrap_err();
    assert_eq!(broken.promise, "3", "{broken}");
    let broken = play(&[], 2, &lost_users).unwrap_err();
    assert_eq!(
        broken.how, "step 29 cannot happen: Step(1, 0)",
        "the gate is closed"
    );
}

/// Seals or first opens, loads in two batches, installs.
fn opened() -> [Action; 4] {
    [Action::Open(0, 0); 4]
}

/// Both partitions are worked through up to now.
fn worked_through() -> [Action; 6] {
    let all = |partition| Action::Fetch(0, partition, 99);
    let commit = Action::Commit(0);
    [
        Action::Tick(0),
        Action::Tick(1),
        all(0),
        commit,
        all(1),
        commit,
    ]
}

/// Runs a schedule made by hand, each step of which must be possible, and lets the world settle.
fn play(removed: &[Guard], places: i64, actions: &[Action]) -> Result<(), Broken> {
    let size = Size {
        places,
        users: 2,
        keys: 0,
        brokers_ahead: [1, 1],
        database_ahead: 0,
    };
    let budget = Budget {
        attempts: 9,
        faults: 9,
        bumps: 9,
        ..Budget::default()
    };
    let mut world = World::new(removed, size, budget);
    for (number, action) in actions.iter().enumerate() {
        if !world.enabled().contains(action) && !matches!(action, Action::Fetch(..)) {
            let how = format!("step {} cannot happen: {action:?}", number + 1);
            return Err(Broken { promise: "-", how });
        }
        world.apply(*action)?;
    }
    world.settle(0)
}

fn story(removed: &[Guard], seed: u64, actions: &[Action]) -> String {
    let (world, found) = replay(removed, seed, actions);
    let broken = found.map(|found| found.broken.to_string());
    format!("seed {seed}: {broken:?}\n{}", world.story().join("\n"))
}
