//! The search for a schedule that breaks a promise: random ones, each from its seed, and the part of one that breaks
//! it still when all that it does not need is taken out.

mod draw;

use tokio::runtime::{Builder, Runtime};

use self::draw::Draw;
use crate::{
    guard::Guard,
    simulation::{Action, Simulation},
    size::{Budget, Reached, Size},
    world::truth::Broken,
};

/// The most tasks that run between two looks at the schedule: more than a world ever has.
const MOST_TASKS_AT_ONCE: u32 = 100_000;

/// A schedule that breaks a promise.
#[derive(Debug, Clone)]
pub struct Counterexample {
    /// The seed that it was found with.
    pub seed: u64,
    /// The actions before the faults stop.
    pub actions: Vec<Action>,
    /// The promise that breaks.
    pub broken: Broken,
}

impl Counterexample {
    /// Returns whether it breaks the same promise by fewer actions.
    fn breaks_as(&self, other: &Self) -> bool {
        self.broken.promise == other.broken.promise && self.actions.len() < other.actions.len()
    }
}

/// The results of many seeds.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The number of schedules.
    pub schedules: u64,
    /// The number of their actions.
    pub actions: usize,
    /// Those that broke a promise.
    pub counterexamples: Vec<Counterexample>,
    /// The number of schedules that reached each thing of interest.
    pub reached: Vec<(&'static str, u64)>,
}

/// One schedule that was run.
#[derive(Debug)]
pub struct Run {
    /// The actions before the faults stopped.
    pub actions: Vec<Action>,
    /// The things of interest that it went through.
    pub reached: Reached,
    /// The story, line by line, where it was asked for.
    pub story: Vec<String>,
    /// The promise that was broken.
    pub broken: Option<Broken>,
}

/// A runtime of one thread whose clock stands still.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .event_interval(MOST_TASKS_AT_ONCE)
        .build()
}

/// Runs the actions that `next` chooses, up to the first that breaks a promise, and lets the world settle.
///
/// # Errors
/// The runtime cannot be made.
fn run_with(
    removed: &[Guard],
    (size, budget): (Size, Budget),
    late: u64,
    has_story: bool,
    mut next: impl FnMut(&Simulation, usize) -> Option<Action>,
) -> std::io::Result<Run> {
    runtime()?.block_on(async {
        let mut simulation = Simulation::new(removed, size, budget);
        if has_story {
            simulation.keep_story();
        }
        let (mut actions, mut result) = (Vec::new(), Ok(()));
        while result.is_ok()
            && let Some(action) = next(&simulation, actions.len())
        {
            actions.push(action);
            result = simulation.apply(action).await;
        }
        if result.is_ok() {
            result = simulation.settle(late).await;
        }
        Ok(Run {
            actions,
            reached: simulation.reached(),
            story: simulation.story(),
            broken: result.err(),
        })
    })
}

/// Runs the schedule of one seed in a world without the guards in `removed`.
///
/// # Errors
/// The runtime cannot be made.
pub fn run(removed: &[Guard], seed: u64) -> std::io::Result<Run> {
    let mut draw = Draw::new(seed);
    let (of, late) = ((draw.size, draw.budget), draw.late);
    run_with(removed, of, late, false, move |simulation, done| {
        (done < draw.length)
            .then(|| draw.pick(simulation))
            .flatten()
    })
}

/// Runs the schedules of `count` seeds from `first` on, up to the first that breaks a promise in a way to stop at.
///
/// # Errors
/// A runtime cannot be made.
pub fn search(
    removed: &[Guard],
    first: u64,
    count: u64,
    stop: impl Fn(&Broken) -> bool,
) -> std::io::Result<Findings> {
    let mut findings = Findings::default();
    let mut reached = Reached::default().named().map(|(name, _)| (name, 0));
    for seed in first..first + count {
        let found = run(removed, seed)?;
        findings.schedules += 1;
        findings.actions += found.actions.len();
        for ((_, sum), (_, is_there)) in reached.iter_mut().zip(found.reached.named()) {
            *sum += u64::from(is_there);
        }
        if let Some(broken) = found.broken {
            let is_enough = stop(&broken);
            findings.counterexamples.push(Counterexample {
                seed,
                actions: found.actions,
                broken,
            });
            if is_enough {
                break;
            }
        }
    }
    findings.reached = reached.to_vec();
    Ok(findings)
}

/// Takes out of a counterexample what it does not need to break that promise.
///
/// # Errors
/// A runtime cannot be made.
pub fn shrink(removed: &[Guard], found: &Counterexample) -> std::io::Result<Counterexample> {
    let mut best = found.clone();
    let mut chunk = best.actions.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < best.actions.len() {
            let mut fewer = best.actions.clone();
            fewer.drain(from..(from + chunk).min(fewer.len()));
            let run = replay_quietly(removed, found.seed, &fewer)?;
            let fewer = run.broken.map(|broken| Counterexample {
                seed: found.seed,
                actions: run.actions,
                broken,
            });
            match fewer {
                Some(fewer) if fewer.breaks_as(&best) => best = fewer,
                _ => from += chunk,
            }
        }
        chunk /= 2;
    }
    Ok(best)
}

/// Runs these actions in the world of a seed, as far as they can happen, and keeps the story.
///
/// # Errors
/// The runtime cannot be made.
pub fn replay(removed: &[Guard], seed: u64, actions: &[Action]) -> std::io::Result<Run> {
    replay_with(removed, seed, actions, true)
}

fn replay_quietly(removed: &[Guard], seed: u64, actions: &[Action]) -> std::io::Result<Run> {
    replay_with(removed, seed, actions, false)
}

fn replay_with(
    removed: &[Guard],
    seed: u64,
    actions: &[Action],
    has_story: bool,
) -> std::io::Result<Run> {
    let draw = Draw::new(seed);
    let mut left = actions.iter().copied();
    let of = (draw.size, draw.budget);
    run_with(removed, of, draw.late, has_story, |simulation, _| {
        left.find(|action| simulation.enabled().contains(action))
    })
}

/// Runs a schedule made by hand, each of whose actions must be possible.
///
/// # Errors
/// The runtime cannot be made.
pub fn play(
    removed: &[Guard],
    size: Size,
    budget: Budget,
    actions: &[Action],
) -> std::io::Result<Run> {
    let mut impossible = None;
    let mut run = run_with(removed, (size, budget), 0, true, |simulation, done| {
        let action = *actions.get(done)?;
        if simulation.enabled().contains(&action) {
            return Some(action);
        }
        impossible = Some(Broken {
            promise: "-",
            how: format!("step {} cannot happen: {action:?}", done + 1),
        });
        None
    })?;
    run.broken = impossible.or(run.broken);
    Ok(run)
}
