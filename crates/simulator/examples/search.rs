//! Searches for schedules that break a promise, and prints the shortest one found.
//!
//! `cargo run -p goodpon-simulator --example search -- SCHEDULES [FIRST_SEED [GUARD…]]`: with the guards named taken
//! out (`all` for each in turn). It ends with 1 if it finds something with all guards in.

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use goodpon_simulator::{
    Guard,
    search::{replay, search, shrink},
};

fn main() -> io::Result<ExitCode> {
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
            report(&[guard], first, count, false)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let removed: Vec<_> = Guard::ALL.into_iter().filter(named).collect();
    if removed.len() < names.len() {
        println!("guards are: {:?}", Guard::ALL);
        return Ok(ExitCode::FAILURE);
    }
    let found = report(&removed, first, count, true)?;
    Ok(if found && removed.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Prints what was found, with the whole story of the shortest if wished. Returns whether anything was.
fn report(removed: &[Guard], first: u64, count: u64, with_story: bool) -> io::Result<bool> {
    let began = Instant::now();
    let findings = search(removed, first, count, |_| false)?;
    let (schedules, actions) = (findings.schedules, findings.actions);
    let found = &findings.counterexamples;
    let took = began.elapsed();
    println!(
        "without {removed:?}: {schedules} schedules, {actions} actions, {took:.1?}, {} break a promise",
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
    let mut shortest = None;
    for one in found.iter().take(20) {
        let one = shrink(removed, one)?;
        let is_shorter = |best: &goodpon_simulator::search::Counterexample| {
            one.actions.len() < best.actions.len()
        };
        if shortest.as_ref().is_none_or(is_shorter) {
            shortest = Some(one);
        }
    }
    if let Some(shortest) = shortest {
        println!(
            "  shortest, of seed {}, {} actions: {}",
            shortest.seed,
            shortest.actions.len(),
            shortest.broken
        );
        if with_story {
            println!("    {:?}", shortest.actions);
            for line in replay(removed, shortest.seed, &shortest.actions)?.story {
                println!("    {line}");
            }
        }
    }
    Ok(!found.is_empty())
}
