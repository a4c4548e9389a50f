//! Openers of gates: they bump, stamp, seal, load and install, each step by whoever comes.

use std::collections::BTreeSet;

use goodpon_domain::gate::{
    CLOCK_TOLERANCE, Epoch, Gate, GateState, may_bump, may_seal, places_left,
};
use jiff::Timestamp;

use super::{Guard, World, at, digest, seconds, user_of, valkey::Connection};
use crate::gate::{ANSWER_KEPT, Digest, Installation, KeptSuccess};

/// In how many batches coupons are loaded.
const BATCHES: usize = 2;

/// What an opener is about.
#[derive(Debug, Clone, Default)]
pub(super) enum Opener {
    /// Nothing.
    #[default]
    Idle,
    /// It stamps its bump in the bump's own transaction, which began at that time.
    Bumping(Epoch, Timestamp),
    /// It brings an epoch to its server.
    Bringing(Bringing),
}

/// An epoch on its way to its server.
#[derive(Debug, Clone)]
pub(super) struct Bringing {
    epoch: Epoch,
    connection: Connection,
    cap: i64,
    base: i64,
    batch: usize,
    loaded: BTreeSet<Digest>,
}

impl World {
    /// Whether an opener that is idle finds something to do when it looks at `server`.
    pub(super) fn has_work_for_opener(&self, server: usize) -> bool {
        self.gate().is_none_or(|gate| match gate.state {
            GateState::Sealing => gate.bumped_at.is_none() || self.can_seal(gate),
            GateState::Open => self.may_be_given_up(gate, server),
            GateState::Folded => false,
        })
    }

    fn may_be_given_up(&self, gate: &Gate, server: usize) -> bool {
        let seen_at = gate
            .server
            .as_ref()
            .and_then(|server| self.database.seen.get(server));
        let store = &self.servers[server].store;
        // A gate that is there but of an older epoch: who sealed this one never came to install it.
        let is_missing = gate.server.as_deref() == Some(store.server())
            && store
                .installed()
                .is_none_or(|there| there.epoch < gate.epoch);
        may_bump(gate, seen_at.copied(), is_missing, self.database_time())
    }

    fn can_seal(&self, gate: &Gate) -> bool {
        let log_times = self
            .database
            .progress
            .iter()
            .map(|progress| progress.log_time);
        let mut least = log_times.min().unwrap_or(Timestamp::UNIX_EPOCH);
        if !self.has(Guard::ClockTolerance) {
            least += CLOCK_TOLERANCE;
        }
        !self.has(Guard::Seal) || may_seal(gate, least)
    }

    /// The next step of an opener; an idle one looks at `server`.
    pub(super) fn open(&mut self, opener: usize, server: usize) {
        match std::mem::take(&mut self.openers[opener]) {
            Opener::Idle if self.gate().is_none() => self.open_first(opener, server),
            Opener::Idle => match self.gate().map(|gate| (gate.state, gate.bumped_at)) {
                Some((GateState::Open, _)) => self.bump(opener),
                Some((GateState::Sealing, None)) => self.stamp(opener),
                _ => self.seal(opener, server),
            },
            Opener::Bumping(epoch, begun_at) => self.end_bump(epoch, begun_at),
            Opener::Bringing(bringing) => self.bring(opener, bringing),
        }
    }

    fn open_first(&mut self, opener: usize, server: usize) {
        self.database.gate = Some(Gate {
            epoch: Epoch(1),
            state: GateState::Open,
            server: None,
            bumped_at: None,
            touched_at: self.database_time(),
        });
        self.begin_to_bring(opener, server);
    }

    pub(super) fn bump(&mut self, opener: usize) {
        let now = self.database_time();
        let stamps_later = self.has(Guard::StampAfterBump);
        let Some(gate) = &mut self.database.gate else {
            return;
        };
        if !stamps_later {
            self.openers[opener] = Opener::Bumping(gate.epoch, now);
            return;
        }
        gate.epoch = gate.epoch.next();
        gate.state = GateState::Sealing;
        gate.bumped_at = None;
        let epoch = gate.epoch;
        self.tell(|| format!("opener {opener} bumps to epoch {epoch}"));
    }

    fn end_bump(&mut self, epoch: Epoch, begun_at: Timestamp) {
        let is_still = |gate: &&mut Gate| gate.state == GateState::Open && gate.epoch == epoch;
        if let Some(gate) = self.database.gate.as_mut().filter(is_still) {
            gate.epoch = epoch.next();
            gate.state = GateState::Sealing;
            gate.bumped_at = Some(begun_at);
            self.tell(|| {
                format!(
                    "a bump behind epoch {epoch}, stamped {}, is committed",
                    seconds(begun_at)
                )
            });
        }
    }

    fn stamp(&mut self, opener: usize) {
        let now = self.database_time();
        if let Some(gate) = &mut self.database.gate {
            gate.bumped_at = Some(now);
        }
        self.tell(|| format!("opener {opener} stamps the bump with {}", seconds(now)));
    }

    fn seal(&mut self, opener: usize, server: usize) {
        self.reached.second_epoch = true;
        self.begin_to_bring(opener, server);
    }

    /// The transaction that opens an epoch. Who commits it brings the epoch to its server, once.
    pub(super) fn begin_to_bring(&mut self, opener: usize, server: usize) {
        let (connection, now) = (self.connect(server), self.database_time());
        self.beat(server);
        let (cap, base) = self.places();
        let Some(gate) = &mut self.database.gate else {
            return;
        };
        gate.state = GateState::Open;
        gate.server = Some(connection.identity.clone());
        gate.touched_at = now;
        let (epoch, identity) = (gate.epoch, connection.identity.clone());
        self.tell(|| {
            format!("opener {opener} opens epoch {epoch} with {cap} places for {identity}")
        });
        self.openers[opener] = Opener::Bringing(Bringing {
            epoch,
            connection,
            cap,
            base,
            batch: 0,
            loaded: BTreeSet::new(),
        });
    }

    fn places(&self) -> (i64, i64) {
        let coupons = &self.database.coupons;
        let has_one = |user: u8| coupons.iter().any(|coupon| coupon.user == user);
        let parked = self
            .database
            .parked
            .iter()
            .filter(|event| !has_one(user_of(&event.user_id)));
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let (issued, parked) = (count(coupons.len()), count(parked.count()));
        (places_left(Some(self.size.places), issued, parked), issued)
    }

    fn bring(&mut self, opener: usize, mut bringing: Bringing) {
        let now = self.database_time();
        if let Some(gate) = &mut self.database.gate {
            gate.touched_at = now;
        }
        let result = if bringing.batch < BATCHES {
            self.load(&mut bringing)
        } else {
            self.install(&bringing)
        };
        let (epoch, identity) = (bringing.epoch, &bringing.connection.identity);
        let batch = bringing.batch;
        self.tell(|| {
            format!("opener {opener} brings epoch {epoch} to {identity}, step {batch}: {result:?}")
        });
        if result == Some(Installation::Done) && bringing.batch < BATCHES {
            bringing.batch += 1;
            self.openers[opener] = Opener::Bringing(bringing);
        }
    }

    fn load(&mut self, bringing: &mut Bringing) -> Option<Installation> {
        let is_due = |(number, _): &(usize, _)| number % BATCHES == bringing.batch;
        let coupons: Vec<_> = self
            .database
            .coupons
            .iter()
            .enumerate()
            .filter(is_due)
            .collect();
        let mut users: Vec<_> = coupons
            .iter()
            .map(|(_, coupon)| digest(coupon.user))
            .collect();
        if bringing.batch == 0 {
            users.extend(
                self.database
                    .parked
                    .iter()
                    .map(|event| digest(user_of(&event.user_id))),
            );
        }
        let success = |keyed| KeptSuccess {
            keyed,
            stored_at: at(self.now),
            rest_ms: i64::try_from(ANSWER_KEPT.as_millis()).unwrap_or(i64::MAX),
        };
        let successes: Vec<_> = coupons
            .iter()
            .filter_map(|(_, coupon)| coupon.keyed.map(success))
            .collect();
        let successes = if self.has(Guard::KeysLoaded) {
            successes
        } else {
            Vec::new()
        };
        bringing.loaded.extend(&users);
        let epoch = bringing.epoch;
        self.script(&bringing.connection, |store, connection| {
            store.load(connection, epoch, &users, &successes)
        })
    }

    fn install(&mut self, bringing: &Bringing) -> Option<Installation> {
        let (epoch, is_counted) = (bringing.epoch, self.has(Guard::LoadedCounted));
        self.script(&bringing.connection, |store, connection| {
            let mut loaded = bringing.loaded.len();
            if !is_counted {
                loaded = store
                    .contents()
                    .loading
                    .get(&epoch)
                    .map_or(0, |loaded| loaded.holders.len());
            }
            store.install(connection, epoch, bringing.cap, bringing.base, loaded)
        })
    }
}
