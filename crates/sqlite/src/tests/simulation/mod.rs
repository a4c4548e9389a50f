//! Random schedules for the product's own writer, held against a plain model.
//!
//! A schedule issues, redeems, cancels, expires, repeats keys, fails within groups, moves the clock, checkpoints, closes, and
//! cuts the power between any two moments of a group. Whatever was committed must be there afterwards, and nothing else; at
//! each moment readers must see what the order of publishing allows.
//!
//! A failing schedule prints its seed. `SIMULATION_SEED=7` runs that one alone, `SIMULATION_SEEDS=5000` runs more.

mod effects;
mod plain;
mod readers;
mod seeded;
mod store;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use jiff::SignedDuration;

use self::plain::{Asked, Failure, Holding, Wish};
use self::readers::USERS;
use self::seeded::Seeded;
use self::store::Simulated;

const STEPS: usize = 25;
const TEMPLATES: usize = 2;
const KEYS: usize = 12;
const ORDERS: usize = 3;
/// Seeds of the default run.
const SEEDS: u64 = 40;

struct Schedule {
    random: Arc<Seeded>,
    store: Simulated,
    backlog: usize,
}

impl Schedule {
    fn by(seed: u64) -> Self {
        let random = Arc::new(Seeded::by(seed));
        let backlog = [0, 3, 20][random.below(3)];
        let limit = i64::try_from(random.below(USERS) + 1).unwrap();
        let store = Simulated::new(Arc::clone(&random), backlog, &[Some(limit), None]);
        Self {
            random,
            store,
            backlog,
        }
    }

    fn holding(&self) -> Holding {
        (self.random.below(TEMPLATES), self.random.below(USERS))
    }

    fn wish(&self) -> Wish {
        let order = u32::try_from(self.random.below(ORDERS)).unwrap();
        match self.random.below(19) {
            0..9 => Wish::Issue(self.holding()),
            9..14 => Wish::Redeem(self.holding(), order),
            _ => Wish::Cancel(self.holding(), order),
        }
    }

    fn asked(&self) -> Asked {
        let (key, body) = (self.random.below(KEYS), self.random.below(8));
        let key = u8::try_from(key).unwrap();
        // Mostly the body that the key always has.
        let body = u8::from(body == 0);
        Asked {
            wish: self.wish(),
            key: self.random.one_in(3).then_some((key, body)),
            fails: match self.random.below(40) {
                0 => Some(Failure::Error),
                1 => Some(Failure::Panic),
                _ => None,
            },
        }
    }

    fn group(&mut self) {
        let count = match self.random.one_in(3) {
            true => 1,
            false => 1 + self.random.below(14),
        };
        let all: Vec<_> = (0..count).map(|_| self.asked()).collect();
        // A group has count + 7 moments, and more if its requests run alone.
        let moment = self.random.below(count + 8);
        let cut_at = self.random.one_in(4).then_some(moment);
        self.store.run(&all, cut_at, self.random.below(count + 2));
    }

    /// Settles all that is due, by itself: what it settles depends on what was committed before.
    fn expire(&mut self) {
        let asked = Asked {
            wish: Wish::Expire,
            key: None,
            fails: None,
        };
        self.store.run(&[asked], None, 0);
    }

    fn move_clock(&mut self) {
        let moved = match self.random.below(6) {
            0 => SignedDuration::from_hours(30),
            1 => SignedDuration::from_hours(-5),
            2 => SignedDuration::from_secs(-30),
            _ => SignedDuration::from_millis(1 + self.random.below(5_000) as i64),
        };
        self.store.clock.advance(moved);
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..12 => self.group(),
            12..14 => self.move_clock(),
            14 => self.expire(),
            15..17 => self.store.fill(),
            17 => self.store.checkpoint(),
            18 if self.random.one_in(2) => self.store.close_and_open(),
            18 => self.store.cut_power(),
            // With fewer that may wait, entries that cannot be written fail their groups.
            _ if self.backlog == 20 => self.store.damage(self.random.one_in(2)),
            _ => self.group(),
        }
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            self.step();
            self.store.assert_right();
        }
        self.store.damage(false);
        self.expire();
        self.store.close_and_open();
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_schedule_ends_as_the_plain_model_has_it() {
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let ended = catch_unwind(AssertUnwindSafe(|| Schedule::by(seed).run()));
        if let Err(payload) = ended {
            eprintln!("SIMULATION_SEED={seed}");
            resume_unwind(payload);
        }
    }
}
