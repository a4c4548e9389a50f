//! The gates of a sale: how they are first opened, given up, sealed into one, and lost.

use goodpon_domain::{
    gate::{Epoch, Gate, GateState, may_bump, may_seal, places_left},
    id::TemplateId,
};
use jiff::Timestamp;

use super::{
    MILLI, Micros, SECOND,
    course::{Course, Event, View, time},
    request::digest,
};
use crate::gate::{Digest, InstallResult, Store};

pub(super) const TEMPLATE: TemplateId = TemplateId(1);

/// The time that issuers are behind the log.
const ISSUER_LAG: Micros = 300 * MILLI;

/// Rows a second that are loaded into a new gate.
const LOADED_PER_SECOND: u64 = 100_000;

/// The interval at which a process looks after the gates.
const LOOKS_EVERY: Micros = 100 * MILLI;

/// The state of the database beyond that which partners read, and of the gate on its way to its server.
#[derive(Debug, Default)]
pub(super) struct Opening {
    is_dry: bool,
    bumped_at: Option<Micros>,
    /// When the servers were last seen.
    seen_at: Micros,
    is_lost: bool,
    sealed: Option<Sealed>,
}

/// An epoch that is on its way to its server.
#[derive(Debug, Clone, Copy)]
struct Sealed {
    installs_at: Micros,
    places: i64,
    issued: i64,
}

impl Course {
    /// Each shard has its share of the places, and the first ones one more where they do not divide.
    pub(super) fn open_first(&mut self) {
        let (coupons, shards) = (self.sale.coupons, self.sale.shards);
        for shard in 0..shards {
            let quota = coupons / shards + usize::from(shard < coupons % shards);
            let mut store = Store::new(format!("run{shard} first"), 0);
            self.bring(
                &mut store,
                Epoch(1),
                i64::try_from(quota).unwrap_or(0),
                0,
                &[],
            );
            self.add_shard(store);
        }
        self.views.push(View {
            from: 0,
            epoch: Epoch(1),
            state: GateState::Open,
            shards,
        });
    }

    fn bring(&mut self, store: &mut Store, epoch: Epoch, cap: i64, base: i64, users: &[Digest]) {
        let server = store.server().to_owned();
        let loaded = store.load(&server, epoch, users, &[]);
        let installed = store.install(&server, epoch, cap, base, users.len());
        if (loaded, installed) != (InstallResult::Done, InstallResult::Done) {
            self.fault(format!(
                "epoch {epoch} is not installed: {loaded:?}, {installed:?}"
            ));
        }
    }

    /// The first shard without places gives all of them up.
    pub(super) fn look_whether_dry(&mut self, shard: usize) {
        let is_dry = |gate: &crate::gate::Installed| gate.spent == gate.cap;
        let is_spread = self.views.last().is_some_and(|view| view.shards > 1);
        if is_spread && self.shards[shard].store.installed().is_some_and(is_dry) {
            self.opening.is_dry = true;
        }
    }

    /// All servers come back empty, under other names.
    pub(super) fn lose(&mut self) {
        self.opening.is_lost = true;
        for (number, shard) in self.shards.iter_mut().enumerate() {
            shard.store = Store::new(format!("run{number} second"), 0);
        }
    }

    pub(super) fn look_after_gates(&mut self) {
        if !self.opening.is_lost {
            self.opening.seen_at = self.now;
        }
        if let Some(sealed) = self.opening.sealed {
            if sealed.installs_at <= self.now {
                self.install(sealed);
            }
        } else if let Some(view) = self.views.last().cloned() {
            match view.state {
                GateState::Open if self.must_be_given_up(&view) => self.bump(view),
                GateState::Sealing if may_seal(&self.gate(&view), self.least_log_time()) => {
                    self.seal(view)
                }
                _ => {}
            }
        }
        if self.is_on() {
            self.schedule(self.now + LOOKS_EVERY, Event::Open);
        }
    }

    fn gate(&self, view: &View) -> Gate {
        Gate {
            epoch: view.epoch,
            state: view.state,
            server: None,
            bumped_at: self.opening.bumped_at.map(time),
            touched_at: time(0),
        }
    }

    fn must_be_given_up(&self, view: &View) -> bool {
        let seen_at = Some(time(self.opening.seen_at));
        self.opening.is_dry || may_bump(&self.gate(view), seen_at, false, time(self.now))
    }

    /// Ticks come each second; an issuer has worked through the last one that is older than its lag.
    fn least_log_time(&self) -> Timestamp {
        time(self.now.saturating_sub(ISSUER_LAG) / SECOND * SECOND)
    }

    fn bump(&mut self, view: View) {
        self.opening.is_dry = false;
        self.opening.bumped_at = Some(self.now + 5 * MILLI);
        self.views.push(View {
            from: self.now,
            epoch: view.epoch.next(),
            state: GateState::Sealing,
            shards: 1,
        });
    }

    /// The rows are final; bringing them to the server takes its time.
    fn seal(&mut self, view: View) {
        let takes = self.issued as u64 * SECOND / LOADED_PER_SECOND;
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let (coupons, issued) = (count(self.sale.coupons), count(self.issued));
        self.opening.sealed = Some(Sealed {
            installs_at: self.now + takes,
            places: places_left(Some(coupons), issued, 0),
            issued,
        });
        self.views.push(View {
            from: self.now,
            state: GateState::Open,
            ..view
        });
    }

    fn install(&mut self, sealed: Sealed) {
        let holders = self
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.is_some());
        let users: Vec<_> = holders.map(|(customer, _)| digest(customer)).collect();
        let epoch = self.views.last().map_or(Epoch(1), |view| view.epoch);
        let mut store = self.shards[0].store.clone();
        store.set_clock(i64::try_from(self.now / MILLI).unwrap_or(i64::MAX));
        self.bring(&mut store, epoch, sealed.places, sealed.issued, &users);
        self.shards.truncate(1);
        self.shards[0].store = store;
        self.figures.last_places = usize::try_from(sealed.places).unwrap_or(0);
        self.opening.sealed = None;
        self.opening.is_lost = false;
        self.opening.seen_at = self.now;
    }
}
