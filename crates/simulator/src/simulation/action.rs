//! Actions: one step of one process, or of fate.

use goodpon_domain::gate::GateState;

use crate::world::{
    ISSUERS, PARTITIONS, PARTNERS, World,
    call::{Actor, Call, CallKind, Ending},
    truth::Broken,
    valkey::Fault,
};

/// The spans that may pass at once, in milliseconds. The shortest ends the pauses of confirmers and requests.
const SHORT_PASSES: [i64; 2] = [20, 400];
const LONG_PASSES: [i64; 4] = [1_000, 3_000, 6_000, 9_000];

/// The most records that an issuer reads at once, if it does not read one.
pub(super) const ALL: usize = 99;

/// One step of one process, or of fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A customer calls a partner, with a key or without one.
    Begin(u8, Option<u8>, usize),
    /// The nth call of an actor happens, and its reply arrives.
    Step(Actor, usize),
    /// It happens, and the reply is lost.
    LoseReply(Actor, usize),
    /// It does not happen.
    Fail(Actor, usize),
    /// A customer goes away.
    End(usize),
    /// A publish arrives at the log.
    Deliver(usize),
    /// It arrives, and will arrive once more.
    Copy(usize),
    /// It never arrives.
    Lose(usize),
    /// An issuer reads a partition: at most this number of records.
    Fetch(usize, usize, usize),
    /// An issuer polls and finds nothing; it sends its ticks if they are due.
    Poll(usize),
    /// An issuer dies, and another one begins in its place.
    CrashIssuer(usize),
    /// A partner dies with all that it was doing, and another one begins in its place.
    CrashPartner(usize),
    /// Milliseconds pass.
    Pass(i64),
    /// A partner notes that the gates' server lives.
    Beat(usize),
    /// A partner drives on the gates that are being moved.
    MoveGates(usize),
    /// A round of a partner's reconciler begins.
    Reconcile(usize),
    /// The gate is given up by an operator, whatever the times say.
    BumpByHand,
    /// A partner is led to a server, and connects anew.
    Lead(usize, usize),
    /// Something befalls a server.
    Befall(usize, Fault),
    /// A copy of all that a server has is kept.
    Snapshot(usize),
    /// A partition's leader moves to where the clock differs by a second, or back.
    MovePartition(usize),
    /// The database moves likewise.
    MoveDatabase,
    /// The merchant discards the template.
    Discard,
}

/// Actions of one kind are equally likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Begin,
    StepOfRequest,
    StepOfPartner,
    StepOfIssuer,
    StepOfOperator,
    LoseReply,
    Fail,
    End,
    Deliver,
    Copy,
    Lose,
    Fetch,
    Poll,
    CrashIssuer,
    CrashPartner,
    PassShort,
    PassLong,
    Beat,
    MoveGates,
    Reconcile,
    BumpByHand,
    Lead,
    Befall,
    Move,
    Discard,
}

impl Kind {
    /// The number of kinds.
    pub const COUNT: usize = Self::Discard as usize + 1;
}

impl Action {
    /// Returns its kind.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Begin(..) => Kind::Begin,
            Self::Step(Actor::Request(_), _) => Kind::StepOfRequest,
            Self::Step(Actor::Operator, _) => Kind::StepOfOperator,
            Self::Step(actor, _) if actor.is_of_issuer() => Kind::StepOfIssuer,
            Self::Step(..) => Kind::StepOfPartner,
            Self::LoseReply(..) => Kind::LoseReply,
            Self::Fail(..) => Kind::Fail,
            Self::End(_) => Kind::End,
            Self::Deliver(_) => Kind::Deliver,
            Self::Copy(_) => Kind::Copy,
            Self::Lose(_) => Kind::Lose,
            Self::Fetch(..) => Kind::Fetch,
            Self::Poll(_) => Kind::Poll,
            Self::CrashIssuer(_) => Kind::CrashIssuer,
            Self::CrashPartner(_) => Kind::CrashPartner,
            Self::Pass(millis) if millis < LONG_PASSES[0] => Kind::PassShort,
            Self::Pass(_) => Kind::PassLong,
            Self::Beat(_) => Kind::Beat,
            Self::MoveGates(_) => Kind::MoveGates,
            Self::Reconcile(_) => Kind::Reconcile,
            Self::BumpByHand => Kind::BumpByHand,
            Self::Lead(..) => Kind::Lead,
            Self::Befall(..) | Self::Snapshot(_) => Kind::Befall,
            Self::MovePartition(_) | Self::MoveDatabase => Kind::Move,
            Self::Discard => Kind::Discard,
        }
    }
}

impl World {
    /// Returns all that can happen next.
    pub(crate) fn enabled(&self) -> Vec<Action> {
        let passes = SHORT_PASSES.into_iter().chain(LONG_PASSES);
        let mut actions: Vec<_> = passes.map(Action::Pass).collect();
        self.of_customers(&mut actions);
        self.of_calls(&mut actions);
        self.of_the_log(&mut actions);
        self.of_partners(&mut actions);
        self.of_fate(&mut actions);
        actions
    }

    fn of_customers(&self, actions: &mut Vec<Action>) {
        if self.budget.requests > 0 {
            let keys = || (0..=self.size.keys).map(|key| (key > 0).then_some(key));
            for user in b'a'..b'a' + self.size.users {
                for process in 0..PARTNERS {
                    actions.extend(keys().map(|key| Action::Begin(user, key, process)));
                }
            }
        }
        if self.budget.discard && !self.is_discarded() {
            actions.push(Action::Discard);
        }
        for actor in &self.running {
            if let Actor::Request(request) = actor
                && self.budget.crashes > 0
            {
                actions.push(Action::End(*request));
            }
        }
    }

    fn of_calls(&self, actions: &mut Vec<Action>) {
        for (place, call) in self.calls.iter().enumerate() {
            let before = &self.calls[..place];
            let nth = before.iter().filter(|one| one.actor == call.actor).count();
            actions.push(Action::Step(call.actor, nth));
            if self.budget.crashes > 0 && call.kind != CallKind::Log && self.is_wanted(call) {
                actions.push(Action::LoseReply(call.actor, nth));
            }
            if self.budget.crashes > 0 || self.fails_freely(call) {
                actions.push(Action::Fail(call.actor, nth));
            }
        }
    }

    /// Acknowledgements and what dead processes sent are lost without being counted.
    fn fails_freely(&self, call: &Call) -> bool {
        call.kind == CallKind::Log || !self.is_wanted(call)
    }

    fn of_the_log(&self, actions: &mut Vec<Action>) {
        for message in 0..self.network.len() {
            actions.extend([Action::Deliver(message), Action::Lose(message)]);
            if self.budget.copies > 0 {
                actions.push(Action::Copy(message));
            }
        }
        for issuer in 0..ISSUERS {
            if self.budget.crashes > 0 {
                actions.push(Action::CrashIssuer(issuer));
            }
            if self.running.contains(&Actor::Issuer(issuer)) {
                continue;
            }
            if self.is_poll_due(issuer) {
                actions.push(Action::Poll(issuer));
            }
            for partition in (0..PARTITIONS).filter(|&partition| self.can_read(issuer, partition)) {
                actions.extend([1, ALL].map(|most| Action::Fetch(issuer, partition, most)));
            }
        }
    }

    fn of_partners(&self, actions: &mut Vec<Action>) {
        for process in 0..PARTNERS {
            let runs = |actor: Actor| self.running.contains(&actor);
            if !runs(Actor::Beat(process)) {
                actions.push(Action::Beat(process));
            }
            if self.is_sealing_for(process) && !runs(Actor::Mover(process)) {
                actions.push(Action::MoveGates(process));
            }
            if self.budget.helps > 0 && !runs(Actor::Reconciler(process)) {
                actions.push(Action::Reconcile(process));
            }
            if self.budget.crashes > 0 {
                actions.push(Action::CrashPartner(process));
            }
            let other = |server: &usize| self.would_differ(process, *server);
            actions.extend(
                self.living()
                    .filter(other)
                    .map(|server| Action::Lead(process, server)),
            );
        }
    }

    /// Returns whether the gate is shown to a process as being moved.
    pub(super) fn is_sealing_for(&self, process: usize) -> bool {
        let gate = self.gate_shown_to(process);
        gate.is_some_and(|gate| gate.state == GateState::Sealing)
    }

    fn of_fate(&self, actions: &mut Vec<Action>) {
        let is_open = self
            .gate()
            .is_some_and(|gate| gate.state == GateState::Open);
        let is_operator_at_it = self.calls.iter().any(|call| call.actor == Actor::Operator);
        if is_open && self.budget.bumps > 0 && !is_operator_at_it {
            actions.push(Action::BumpByHand);
        }
        if self.budget.faults == 0 {
            return;
        }
        let living = self.living().count();
        for server in self.living() {
            let faults = [Fault::Emptied, Fault::Flushed];
            actions.extend(faults.map(|fault| Action::Befall(server, fault)));
            actions.push(Action::Snapshot(server));
            if self.snapshot.is_some() {
                let faults = [Fault::Restored, Fault::Demoted];
                actions.extend(faults.map(|fault| Action::Befall(server, fault)));
            }
            let fault = if living > 1 {
                Fault::Killed
            } else {
                Fault::Promoted
            };
            actions.push(Action::Befall(server, fault));
        }
        actions.extend((0..PARTITIONS).map(Action::MovePartition));
        actions.push(Action::MoveDatabase);
    }

    /// Lets an action of no process happen.
    pub(super) fn apply(&mut self, action: Action) {
        match action {
            Action::Step(actor, nth) => self.end_nth(actor, nth, Ending::Replied),
            Action::LoseReply(actor, nth) => self.end_nth(actor, nth, Ending::ReplyLost),
            Action::Fail(actor, nth) => self.end_nth(actor, nth, Ending::Failed),
            Action::Deliver(message) => self.deliver(message, false),
            Action::Copy(message) => self.deliver(message, true),
            Action::Lose(message) => self.lose(message),
            Action::BumpByHand => self.bump_by_hand(),
            Action::Lead(process, server) => self.lead(process, server),
            Action::Befall(server, fault) => self.befall(server, fault),
            Action::Snapshot(server) => self.take_snapshot(server),
            Action::MovePartition(partition) => self.brokers_ahead[partition] ^= 1,
            Action::MoveDatabase => self.database_ahead ^= 1,
            Action::Discard => self.discard(),
            _ => {}
        }
    }

    fn end_nth(&mut self, actor: Actor, nth: usize, ending: Ending) {
        if let Some(place) = self.find_call(actor, nth) {
            self.end_call(place, ending);
        }
    }

    pub(super) fn check(&mut self) -> Result<(), Broken> {
        let checked = self.check_gates();
        self.hold(checked);
        self.broken.clone().map_or(Ok(()), Err)
    }

    pub(super) fn spend(&mut self, action: Action) {
        let is_free = |world: &Self, actor, nth| {
            let place = world.find_call(actor, nth);
            place.is_some_and(|place| world.fails_freely(&world.calls[place]))
        };
        let purse = match action {
            Action::Fail(actor, nth) if is_free(self, actor, nth) => return,
            Action::Begin(..) => &mut self.budget.requests,
            Action::LoseReply(..)
            | Action::Fail(..)
            | Action::End(_)
            | Action::CrashIssuer(_)
            | Action::CrashPartner(_) => &mut self.budget.crashes,
            Action::Copy(_) => &mut self.budget.copies,
            Action::BumpByHand => &mut self.budget.bumps,
            Action::Reconcile(_) => &mut self.budget.helps,
            Action::Befall(..) | Action::MovePartition(_) | Action::MoveDatabase => {
                &mut self.budget.faults
            }
            _ => return,
        };
        *purse = purse.saturating_sub(1);
    }
}
