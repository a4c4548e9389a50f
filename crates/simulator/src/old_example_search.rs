//! Searches for schedules that break a promise, and tells the shortest one found.
//!
//! `cargo run -p goodpon-gate-model --example search -- SCHEDULES [FIRST_SEED [GUARD…]]`: with the guards named taken
//! out (`all` for each in turn). It ends with 1 if it finds something with all guards in.

use std::process::ExitCode;

use goodpon_gate_model::{
    model::Guard,
    search::{replay, search, shrink},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise| {
        arguments
            .get(at)
            .and_then(|text| text.parse().ok())
            .unwrap_or(otherwise)
    };
    let (count, first) = (number(0, 100_000), number(1, 1));
    let names = arguments.get(2..).unwrap_or_default();
    let named = |guard: &Guard| names.contains(&format!("{guard:?}"));
    if names == ["all"] {
        for guard in Guard::ALL {
            tell(&[guard], first, count, false);
        }
        return ExitCode::SUCCESS;
    }
    let removed: Vec<_> = Guard::ALL.into_iter().filter(named).collect();
    if removed.len() < names.len() {
        println!("guards are: {:?}", Guard::ALL);
        return ExitCode::FAILURE;
    }
    let found = tell(&removed, first, count, true);
    if found && removed.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Tells what was found, with the whole story of the shortest if wished.
fn tell(removed: &[Guard], first: u64, count: u64, with_story: bool) -> bool {
    let findings = search(removed, first, count, |_| false);
    let (schedules, actions) = (findings.schedules, findings.actions);
    let found = &findings.counterexamples;
    println!(
        "without {removed:?}: {schedules} schedules, {actions} actions, {} break a promise",
        found.len()
    );
    for (name, times) in &findings.reached {
        print!("  {name}: {times}");
    }
    println!();
    let mut promises: Vec<_> = found.iter().map(|one| one.broken.promise).collect();
    promises.sort_unstable();
    for promise in promises.chunk_by(|one, other| one == other) {
        println!("  promise {}: {} times", promise[0], promise.len());
    }
    let few = found.iter().take(50).map(|one| shrink(removed, one));
    if let Some(shortest) = few.min_by_key(|one| one.actions.len()) {
        println!(
            "  shortest, of seed {}, {} actions: {}",
            shortest.seed,
            shortest.actions.len(),
            shortest.broken
        );
        if with_story {
            let (world, _) = replay(removed, shortest.seed, &shortest.actions);
            for line in world.story() {
                println!("    {line}");
            }
        }
    }
    !found.is_empty()
}
