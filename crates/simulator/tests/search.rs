//! No schedule breaks a promise of the protocol, and without any one of its guards some schedule does.
#![allow(clippy::unwrap_used)]

use goodpon_simulator::{
    Action, Broken, Guard,
    search::{replay, run, search, shrink},
};

/// The random schedules that must break nothing; `GOODPON_SCHEDULES` asks for another number.
const SCHEDULES: u64 = 16_000;

/// The schedules within which a guard must prove to be needed.
const BUDGET: u64 = 12_000;

/// Each thing of interest must come up once in this many schedules, so that they are no empty ones.
const AT_LEAST_ONE_IN: u64 = 60;

/// Guards that the others make needless: they limit the damage should an assumption fail.
const BELTS: [Guard; 2] = [Guard::ProgressCompared, Guard::LimitChecked];

#[test]
fn no_schedule_breaks_a_promise() {
    let asked = std::env::var("GOODPON_SCHEDULES").ok();
    let count = asked.map_or(SCHEDULES, |asked| asked.parse().unwrap());
    let findings = search(&[], 1, count, |_| true).unwrap();
    if let Some(found) = findings.counterexamples.first() {
        let shortest = shrink(&[], found).unwrap();
        panic!("{}", story(found.seed, &shortest.actions));
    }
    for (name, times) in findings.reached {
        println!("{name}: {times}");
        assert!(
            times * AT_LEAST_ONE_IN >= count,
            "{name}: only {times} times"
        );
    }
}

/// A world that never settles is all that can be asked of [`Guard::Help`], and too little of the others.
fn is_wanted(guard: Guard, broken: &Broken) -> bool {
    (broken.promise == Broken::SETTLES) == (guard == Guard::Help)
}

/// Without the guard some schedule breaks a promise, and the guard alone makes the difference.
fn is_missed(guard: Guard) {
    let findings = search(&[guard], 1, BUDGET, |broken| is_wanted(guard, broken)).unwrap();
    let found = findings.counterexamples.last();
    let found = found.filter(|found| is_wanted(guard, &found.broken));
    let found = found.unwrap_or_else(|| panic!("{guard:?} was not missed in {BUDGET} schedules"));
    let shortest = shrink(&[guard], found).unwrap();
    let (count, length, seed) = (findings.schedules, shortest.actions.len(), found.seed);
    println!(
        "{guard:?}: schedule {count}, {length} actions (seed {seed}): {}",
        shortest.broken
    );
    for line in replay(&[guard], seed, &shortest.actions).unwrap().story {
        println!("  {line}");
    }
    let with_it = replay(&[], seed, &shortest.actions).unwrap();
    assert_eq!(with_it.broken, None, "the guard alone makes the difference");
}

macro_rules! guards {
    ($($name:ident: $guard:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            is_missed(Guard::$guard);
        })*

        /// Guards that random schedules miss within seconds.
        const MISSED: &[Guard] = &[$(Guard::$guard),*];
    };
}

guards! {
    without_the_server_binding_a_promise_breaks: ServerBinding,
    without_the_replication_id_a_promise_breaks: ReplicationId,
    without_the_epoch_a_promise_breaks: Epoch,
    without_the_seal_a_promise_breaks: Seal,
    without_the_stamp_after_the_bump_a_promise_breaks: StampAfterBump,
    without_the_acknowledgement_a_promise_breaks: Acknowledgement,
    without_valid_until_a_promise_breaks: ValidUntil,
    without_the_look_up_of_users_a_promise_breaks: UserRow,
    without_progress_beside_the_rows_a_promise_breaks: ProgressWithRows,
    without_confirmed_refusals_a_promise_breaks: ConfirmedRefusals,
    without_help_the_world_does_not_settle: Help,
    without_loaded_keys_a_promise_breaks: KeysLoaded,
    without_one_installation_an_epoch_a_promise_breaks: InstalledOnce,
}

/// Needed in races so narrow that random schedules seldom meet them: `hand_made.rs` has schedules for them.
const NARROW: [Guard; 2] = [Guard::ClockTolerance, Guard::LoadedCounted];

#[test]
fn every_guard_has_a_test() {
    let has_one = |guard: &Guard| {
        let lists = [MISSED, &BELTS, &NARROW];
        lists.iter().filter(|list| list.contains(guard)).count() == 1
    };
    assert!(Guard::ALL.iter().all(has_one));
}

#[test]
fn belts_are_needless_while_the_guards_hold() {
    let findings = search(&BELTS, 1, BUDGET / 3, |_| true).unwrap();
    let found = findings.counterexamples;
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn belts_hold_rows_to_the_limit_where_a_guard_does_not() {
    let too_many_rows = |removed: &[Guard]| {
        let found = search(removed, 1, BUDGET / 3, |_| false)
            .unwrap()
            .counterexamples;
        assert!(!found.is_empty());
        found.iter().filter(|one| one.broken.promise == "2").count()
    };
    assert_eq!(too_many_rows(&[Guard::Seal]), 0);
    assert!(too_many_rows(&[Guard::Seal, Guard::LimitChecked]) > 0);
}

#[test]
fn a_seed_has_one_schedule() {
    for seed in 1..50 {
        let [one, other] = [(); 2].map(|()| run(&[], seed).unwrap());
        assert_eq!(one.actions, other.actions);
        let [one, other] = [(); 2].map(|()| replay(&[], seed, &one.actions).unwrap());
        assert_eq!(one.actions, other.actions, "all of them can happen");
        assert_eq!(one.story, other.story);
    }
}

fn story(seed: u64, actions: &[Action]) -> String {
    let run = replay(&[], seed, actions).unwrap();
    let broken = run.broken.map(|broken| broken.to_string());
    format!("seed {seed}: {broken:?}\n{}", run.story.join("\n"))
}
