//! The search for a schedule that breaks a promise: random ones, each from its seed, and what is left of one that
//! does when all that it does not need is taken out.

use crate::{
    model::{Action, Broken, Budget, Guard, Kind, Reached, Size, World},
    random::Random,
};

/// A schedule that breaks a promise.
#[derive(Debug, Clone)]
pub struct Counterexample {
    /// The seed that it was found with.
    pub seed: u64,
    /// What happens before the faults stop.
    pub actions: Vec<Action>,
    /// What breaks.
    pub broken: Broken,
}

impl Counterexample {
    /// Whether it breaks the same promise by fewer actions.
    fn breaks_as(&self, other: &Self) -> bool {
        self.broken.promise == other.broken.promise && self.actions.len() < other.actions.len()
    }
}

/// What the schedules of many seeds came to.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// How many were run.
    pub schedules: u64,
    /// How many actions they had.
    pub actions: usize,
    /// Those that broke a promise.
    pub counterexamples: Vec<Counterexample>,
    /// How many reached what.
    pub reached: Vec<(&'static str, u64)>,
}

/// How a schedule is drawn.
struct Draw {
    random: Random,
    size: Size,
    budget: Budget,
    /// How likely each kind of action is.
    weights: [usize; Kind::COUNT],
    /// How many actions come before the faults stop.
    length: usize,
    /// Which messages come last.
    late: u64,
}

impl Draw {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut up_to = |most: usize| u8::try_from(random.below(most + 1)).unwrap_or(0);
        let size = Size {
            places: i64::from(1 + up_to(1)),
            users: 2 + up_to(2),
            keys: up_to(2),
            brokers_ahead: [up_to(1), up_to(1)].map(i64::from),
            database_ahead: i64::from(up_to(1)),
        };
        let budget = Budget {
            attempts: 3 + up_to(7),
            faults: up_to(4),
            crashes: up_to(4),
            copies: up_to(2),
            bumps: up_to(3),
            helps: up_to(2),
            discard: up_to(7) == 0,
        };
        let weights = Self::weights(&mut random);
        Self {
            size,
            budget,
            weights,
            length: 20 + random.below(220),
            late: random.bits() & random.bits(),
            random,
        }
    }

    /// Each schedule has its own likings, so that what is rare in one is frequent in another.
    fn weights(random: &mut Random) -> [usize; Kind::COUNT] {
        let mut weights = [0_usize; Kind::COUNT];
        for weight in &mut weights {
            *weight = [1, 2, 4, 8, 16][random.below(5)];
        }
        for (kind, least) in [
            (Kind::Step, 12),
            (Kind::Open, 8),
            (Kind::Deliver, 4),
            (Kind::Fetch, 4),
            (Kind::Commit, 4),
            (Kind::Tick, 4),
            (Kind::Beat, 4),
        ] {
            weights[kind as usize] += least;
        }
        let rare = [
            Kind::Lose,
            Kind::End,
            Kind::Befall,
            Kind::Discard,
            Kind::BumpByHand,
            Kind::CrashOpener,
            Kind::CrashIssuer,
            Kind::Move,
            Kind::Pass,
        ];
        for kind in rare {
            weights[kind as usize] = weights[kind as usize].div_ceil(8);
        }
        weights
    }

    /// One of what can happen: first its kind, then which.
    fn pick(&mut self, world: &World) -> Option<Action> {
        let actions = world.enabled();
        let mut weights = self.weights;
        // Customers come to an open gate; where it is closed, those are pressed on with who open it.
        if world.is_open() {
            weights[Kind::Begin as usize] += 8;
        } else {
            weights[Kind::Begin as usize] = 1;
            for (kind, more) in [
                (Kind::Open, 16),
                (Kind::Pass, 6),
                (Kind::Tick, 8),
                (Kind::Fetch, 8),
            ] {
                weights[kind as usize] += more;
            }
        }
        let mut count = [0; Kind::COUNT];
        for action in &actions {
            count[action.kind() as usize] += 1;
        }
        let there = |kind: &usize| count[*kind] > 0;
        let total: usize = (0..Kind::COUNT)
            .filter(there)
            .map(|kind| weights[kind])
            .sum();
        let mut left = self.random.below(total.max(1));
        let kind = (0..Kind::COUNT).filter(there).find(|&kind| {
            let is_it = left < weights[kind];
            left = left.saturating_sub(weights[kind]);
            is_it
        })?;
        let nth = self.random.below(count[kind]);
        actions
            .iter()
            .copied()
            .filter(|action| action.kind() as usize == kind)
            .nth(nth)
    }
}

/// Runs the schedule of one seed in a world without the guards in `removed`.
pub fn run(removed: &[Guard], seed: u64) -> (Reached, usize, Option<Counterexample>) {
    let mut draw = Draw::new(seed);
    let mut world = World::new(removed, draw.size, draw.budget);
    let mut actions = Vec::new();
    let mut result = Ok(());
    while result.is_ok() && actions.len() < draw.length {
        let Some(action) = draw.pick(&world) else {
            break;
        };
        actions.push(action);
        result = world.apply(action);
    }
    let count = actions.len();
    let result = result.and_then(|()| world.settle(draw.late));
    let found = result.err().map(|broken| Counterexample {
        seed,
        actions,
        broken,
    });
    (world.reached(), count, found)
}

/// Runs the schedules of `count` seeds from `first` on, up to the first that breaks a promise in a way to stop at.
#[must_use]
pub fn search(
    removed: &[Guard],
    first: u64,
    count: u64,
    stop: impl Fn(&Broken) -> bool,
) -> Findings {
    let mut findings = Findings::default();
    let mut reached = [0; 8];
    for seed in first..first + count {
        let (there, actions, found) = run(removed, seed);
        findings.schedules += 1;
        findings.actions += actions;
        for (sum, (_, is_there)) in reached.iter_mut().zip(there.named()) {
            *sum += u64::from(is_there);
        }
        let is_enough = found.as_ref().is_some_and(|found| stop(&found.broken));
        findings.counterexamples.extend(found);
        if is_enough {
            break;
        }
    }
    let names = Reached::default().named().map(|(name, _)| name);
    findings.reached = names.into_iter().zip(reached).collect();
    findings
}

/// Takes out of a counterexample what it does not need to break that promise.
#[must_use]
pub fn shrink(removed: &[Guard], found: &Counterexample) -> Counterexample {
    let mut best = found.clone();
    let mut chunk = best.actions.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < best.actions.len() {
            let mut fewer = best.actions.clone();
            fewer.drain(from..(from + chunk).min(fewer.len()));
            match replay(removed, found.seed, &fewer) {
                (_, Some(fewer)) if fewer.breaks_as(&best) => best = fewer,
                _ => from += chunk,
            }
        }
        chunk /= 2;
    }
    best
}

/// Runs these actions, as far as they can happen, and tells what happened.
#[must_use]
pub fn replay(removed: &[Guard], seed: u64, actions: &[Action]) -> (World, Option<Counterexample>) {
    let draw = Draw::new(seed);
    let mut world = World::new(removed, draw.size, draw.budget);
    world.tell_story();
    let (mut done, mut result) = (Vec::new(), Ok(()));
    for action in actions {
        if result.is_ok() && world.enabled().contains(action) {
            done.push(*action);
            result = world.apply(*action);
        }
    }
    let result = result.and_then(|()| world.settle(draw.late));
    let found = result.err().map(|broken| Counterexample {
        seed,
        actions: done,
        broken,
    });
    (world, found)
}
