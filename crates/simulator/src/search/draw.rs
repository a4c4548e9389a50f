//! Draws a schedule from its seed.

use goodpon_gate_model::random::Random;

use crate::{
    simulation::{Action, Kind, Simulation},
    size::{Budget, Size},
};

/// A schedule that is being drawn.
pub(super) struct Draw {
    random: Random,
    pub(super) size: Size,
    pub(super) budget: Budget,
    /// The likelihood of each kind of action.
    weights: [usize; Kind::COUNT],
    /// The number of actions before the faults stop.
    pub(super) length: usize,
    /// The messages that come last, as bits.
    pub(super) late: u64,
}

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
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
            requests: 4 + up_to(8),
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
            length: 40 + random.below(260),
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
        for kind in [Kind::Poll, Kind::Fetch, Kind::Beat, Kind::Reconcile] {
            weights[kind as usize] = weights[kind as usize].div_ceil(4);
        }
        for (kind, least) in [
            (Kind::StepOfRequest, 24),
            (Kind::StepOfPartner, 24),
            (Kind::StepOfIssuer, 8),
            (Kind::Deliver, 8),
            (Kind::MoveGates, 4),
        ] {
            weights[kind as usize] += least;
        }
        let rare = [
            Kind::Lose,
            Kind::Fail,
            Kind::End,
            Kind::Befall,
            Kind::Discard,
            Kind::BumpByHand,
            Kind::CrashPartner,
            Kind::CrashIssuer,
            Kind::Move,
            Kind::PassLong,
            Kind::Lead,
        ];
        for kind in rare {
            weights[kind as usize] = weights[kind as usize].div_ceil(8);
        }
        weights
    }

    /// Picks one of what can happen: first its kind, then which.
    pub(super) fn pick(&mut self, simulation: &Simulation) -> Option<Action> {
        let actions = simulation.enabled();
        let weights = self.weights_now(simulation);
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
            .into_iter()
            .filter(|action| action.kind() as usize == kind)
            .nth(nth)
    }

    /// Customers come to an open gate; while it is being moved, the processes that move it go on.
    fn weights_now(&self, simulation: &Simulation) -> [usize; Kind::COUNT] {
        let mut weights = self.weights;
        let (is_open, is_sealing) = simulation.stage();
        let begin = &mut weights[Kind::Begin as usize];
        match (is_open, is_sealing) {
            (true, _) => *begin += 8,
            (false, false) => *begin = 4,
            (false, true) => *begin = 1,
        }
        if is_sealing {
            for (kind, more) in [(Kind::PassLong, 6), (Kind::Poll, 8), (Kind::Fetch, 12)] {
                weights[kind as usize] += more;
            }
        }
        if !is_open {
            for (kind, more) in [
                (Kind::StepOfPartner, 16),
                (Kind::StepOfIssuer, 16),
                (Kind::MoveGates, 8),
                (Kind::PassShort, 4),
            ] {
                weights[kind as usize] += more;
            }
        }
        weights
    }
}
