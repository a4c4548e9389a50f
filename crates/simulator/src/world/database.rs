//! The database: gates, coupons and progress, each transaction as one.

use std::collections::{BTreeMap, BTreeSet};

use goodpon_domain::{
    gate::{
        CLOCK_TOLERANCE, Epoch, Gate, GateRead, GateState, Holder, IssueEvent, KeyDigests, Opening,
        SALE_OVER_AGE, SealResult, may_bump, may_seal, places_left,
    },
    id::{CouponId, TemplateId},
};
use jiff::{SignedDuration, Timestamp};

use super::{PARTITIONS, ProcessId, TEMPLATE, World, call::Actor, seconds};
use crate::guard::Guard;

/// All that is committed.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) gate: Option<Gate>,
    pub(crate) coupons: Vec<Coupon>,
    /// Events over the limit, which cannot come while the rules hold.
    pub(crate) parked: Vec<IssueEvent>,
    pub(crate) progress: [Progress; PARTITIONS],
    /// When each Valkey server was last seen.
    seen: BTreeMap<String, Timestamp>,
}

/// A row of a coupon.
#[derive(Debug, Clone)]
pub(crate) struct Coupon {
    pub(crate) id: CouponId,
    pub(crate) user_id: String,
    pub(super) issued_at: Timestamp,
    pub(super) keyed: Option<KeyDigests>,
}

/// The place up to which a partition was worked through.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    pub(crate) next: usize,
    pub(super) log_time: Timestamp,
}

impl World {
    pub(crate) fn gate(&self) -> Option<&Gate> {
        self.database.gate.as_ref()
    }

    pub(crate) fn coupon_count(&self) -> i64 {
        i64::try_from(self.database.coupons.len()).unwrap_or(i64::MAX)
    }

    pub(crate) fn has_coupon(&self, user_id: &str) -> bool {
        let coupons = &self.database.coupons;
        coupons.iter().any(|coupon| coupon.user_id == user_id)
    }

    /// Reads template and gate for a process.
    pub(crate) fn read_gate(&mut self, process: ProcessId) -> GateRead {
        let mut template = self.template.clone();
        template.issue_count = self.coupon_count();
        let (gate, read_at) = (self.gate_shown_to(process), self.database_time());
        self.note(|| {
            let gate = gate.as_ref().map(|gate| (gate.epoch, gate.state));
            format!("  it is {} there, and the gate {gate:?}", seconds(read_at))
        });
        GateRead {
            template,
            gate,
            read_at,
        }
    }

    /// Without [`Guard::InstalledOnce`], a gate that is open and not installed is shown as one that can be sealed.
    pub(crate) fn gate_shown_to(&self, process: ProcessId) -> Option<Gate> {
        let mut gate = self.gate()?.clone();
        let server = self.processes[process].leads_to;
        if !self.has(Guard::InstalledOnce)
            && gate.state == GateState::Open
            && !self.is_open_at(server)
        {
            gate.state = GateState::Sealing;
            gate.bumped_at = Some(gate.touched_at);
        }
        Some(gate)
    }

    pub(crate) fn open_first(&mut self, server: &str) -> Option<Opening> {
        if self.database.gate.is_some() {
            return None;
        }
        self.database.gate = Some(Gate {
            epoch: Epoch(1),
            state: GateState::Open,
            server: Some(server.to_owned()),
            bumped_at: None,
            touched_at: self.database_time(),
        });
        Some(self.opening(Epoch(1)))
    }

    /// Gives the gate up, if it may be. `begun_at` is when the transaction began.
    pub(crate) fn bump_gate(
        &mut self,
        epoch: Epoch,
        next: Epoch,
        is_missing_there: bool,
        begun_at: Timestamp,
    ) -> bool {
        let now = self.database_time();
        let Some(gate) = self.gate().filter(|gate| gate.epoch == epoch) else {
            return false;
        };
        let seen_at = gate
            .server
            .as_ref()
            .and_then(|server| self.database.seen.get(server));
        if !may_bump(gate, seen_at.copied(), is_missing_there, now) {
            return false;
        }
        self.bump(next, begun_at);
        true
    }

    /// Gives the gate of a sale that is over up, to be folded.
    pub(crate) fn bump_idle_gate(&mut self, epoch: Epoch) -> bool {
        let is_open = |gate: &Gate| gate.epoch == epoch && gate.state == GateState::Open;
        if !self.gate().is_some_and(is_open) || !self.is_over() {
            return false;
        }
        self.bump(epoch.next(), self.database_time());
        true
    }

    /// Sends the transaction with which an operator gives the gate up, whatever the times say.
    pub(crate) fn bump_by_hand(&mut self) {
        let begun_at = self.database_time();
        self.send(Actor::Operator, "gives the gate up", move |world| {
            let open = world.gate().filter(|gate| gate.state == GateState::Open);
            if let Some(next) = open.map(|gate| gate.epoch.next()) {
                world.bump(next, begun_at);
            }
        });
    }

    fn bump(&mut self, next: Epoch, begun_at: Timestamp) {
        let stamp = (!self.has(Guard::StampAfterBump)).then_some(begun_at);
        if let Some(gate) = &mut self.database.gate {
            gate.epoch = next;
            gate.state = GateState::Sealing;
            gate.server = None;
            gate.bumped_at = stamp;
        }
        self.note(|| format!("  the gate is given up: epoch {next} is to come"));
    }

    pub(crate) fn stamp_gate(&mut self, epoch: Epoch) {
        let now = self.database_time();
        let stampable = |gate: &&mut Gate| {
            gate.epoch == epoch && gate.state == GateState::Sealing && gate.bumped_at.is_none()
        };
        if let Some(gate) = self.database.gate.as_mut().filter(stampable) {
            gate.bumped_at = Some(now);
            self.note(|| format!("  epoch {epoch} is stamped with {}", seconds(now)));
        }
    }

    pub(crate) fn seal_gate(&mut self, epoch: Epoch, server: &str) -> SealResult {
        let (is_once, now) = (self.has(Guard::InstalledOnce), self.database_time());
        let Some(gate) = self.gate().filter(|gate| gate.epoch == epoch) else {
            return SealResult::Passed;
        };
        let is_sealing = gate.state == GateState::Sealing;
        if !is_sealing && (is_once || gate.state != GateState::Open) {
            return SealResult::Passed;
        }
        let log_time = self.least_log_time();
        if is_sealing && self.has(Guard::Seal) && !may_seal(gate, self.trusted(log_time)) {
            self.note(|| format!("  too early: the log is at {}", seconds(log_time)));
            return SealResult::NotYet {
                log_time: Some(log_time),
            };
        }
        let is_over = self.is_over();
        if let Some(gate) = &mut self.database.gate {
            gate.touched_at = now;
            gate.server = (!is_over).then(|| server.to_owned());
            gate.state = if is_over {
                GateState::Folded
            } else {
                GateState::Open
            };
        }
        if is_over {
            return SealResult::Folded;
        }
        self.reached.second_epoch = true;
        SealResult::Open(self.opening(epoch))
    }

    fn least_log_time(&self) -> Timestamp {
        let progress = self.database.progress.iter();
        let least = progress.map(|progress| progress.log_time).min();
        least.unwrap_or_default()
    }

    /// The log's time as a seal compares it.
    fn trusted(&self, log_time: Timestamp) -> Timestamp {
        match self.has(Guard::ClockTolerance) {
            true => log_time,
            false => log_time + CLOCK_TOLERANCE,
        }
    }

    pub(crate) fn open_folded(&mut self, epoch: Epoch, server: &str) -> Option<Opening> {
        let now = self.database_time();
        let is_folded = |gate: &&mut Gate| gate.epoch == epoch && gate.state == GateState::Folded;
        let gate = self.database.gate.as_mut().filter(is_folded)?;
        gate.epoch = epoch.next();
        gate.state = GateState::Open;
        gate.server = Some(server.to_owned());
        gate.bumped_at = None;
        gate.touched_at = now;
        Some(self.opening(epoch.next()))
    }

    fn opening(&mut self, epoch: Epoch) -> Opening {
        let mut parked = self.parked_users();
        parked.retain(|user| !self.has_coupon(user));
        let parked = i64::try_from(parked.len()).unwrap_or(i64::MAX);
        let issued = self.coupon_count();
        let places = places_left(Some(self.size.places), issued, parked);
        self.note(|| format!("  epoch {epoch} opens with {places} places, {issued} are coupons"));
        Opening {
            epoch,
            places,
            issued,
        }
    }

    pub(crate) fn touch_gate(&mut self, epoch: Epoch) -> bool {
        let now = self.database_time();
        let is_there = |gate: &&mut Gate| gate.epoch == epoch && gate.state == GateState::Open;
        let Some(gate) = self.database.gate.as_mut().filter(is_there) else {
            return false;
        };
        gate.touched_at = now.max(gate.touched_at + SignedDuration::from_micros(1));
        true
    }

    pub(crate) fn note_beat(&mut self, server: &str) {
        let now = self.database_time();
        self.database.seen.insert(server.to_owned(), now);
        self.note(|| format!("  {server} is seen at {}", seconds(now)));
    }

    pub(crate) fn holders(&self, after: &str, limit: usize) -> Vec<Holder> {
        let behind = |coupon: &&Coupon| coupon.user_id.as_str() > after;
        let mut found: Vec<_> = self.database.coupons.iter().filter(behind).collect();
        found.sort_by(|one, other| one.user_id.cmp(&other.user_id));
        let holder = |coupon: &Coupon| Holder {
            user_id: coupon.user_id.clone(),
            issued_at: coupon.issued_at,
            keyed: coupon.keyed,
        };
        found.into_iter().take(limit).map(holder).collect()
    }

    /// Returns the users of parked events.
    pub(crate) fn parked_users(&self) -> Vec<String> {
        let parked = self.database.parked.iter().map(|event| &event.user_id);
        let users: BTreeSet<_> = parked.collect();
        users.into_iter().cloned().collect()
    }

    pub(crate) fn gates_in(
        &self,
        process: ProcessId,
        state: GateState,
        after: TemplateId,
    ) -> Vec<(TemplateId, Gate)> {
        let gate = self.gate_shown_to(process);
        let found = gate.filter(|gate| gate.state == state && after < TEMPLATE);
        found.map(|gate| (TEMPLATE, gate)).into_iter().collect()
    }

    /// Returns whether the youngest coupon is so old that the sale counts as over.
    fn is_over(&self) -> bool {
        let youngest = self.database.coupons.iter().map(|coupon| coupon.issued_at);
        let border = self.database_time() - SALE_OVER_AGE;
        youngest.max().is_some_and(|youngest| youngest < border)
    }

    pub(crate) fn next_offsets(&self) -> BTreeMap<i32, i64> {
        let number = |partition: usize, next: usize| {
            Some((i32::try_from(partition).ok()?, i64::try_from(next).ok()?))
        };
        let progress = self.database.progress.iter().enumerate();
        progress
            .filter_map(|(partition, progress)| number(partition, progress.next))
            .collect()
    }
}
