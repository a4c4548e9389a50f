//! What can happen next.

use goodpon_domain::{gate::GateState, template::TemplateStatus};

use super::{Broken, Guard, PARTITIONS, World, opener::Opener, partner::Stage, valkey::Fault};

/// One step of one process, or of fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A customer comes to a partner.
    Begin(u8, Option<u8>),
    /// An attempt goes on; it connects to that server, if it connects.
    Step(usize, usize),
    /// The script runs, and the reply is lost.
    LoseReply(usize),
    /// An attempt's process or patience ends.
    End(usize),
    /// A publish arrives at the log.
    Deliver(usize),
    /// It arrives, and will arrive once more.
    Copy(usize),
    /// It never arrives.
    Lose(usize),
    /// An issuer reads so many records of a partition.
    Fetch(usize, usize, usize),
    /// Its transaction.
    Commit(usize),
    /// It dies before that.
    CrashIssuer(usize),
    /// Seconds pass.
    Pass(i64),
    /// An issuer's tick reaches a partition.
    Tick(usize),
    /// A server is seen.
    Beat(usize),
    /// An opener goes on; an idle one looks at that server.
    Open(usize, usize),
    /// A gate is given up, whatever the times say.
    BumpByHand(usize),
    /// An open epoch is brought to a server by who did not seal it.
    OpenAgain(usize, usize),
    /// An opener dies.
    CrashOpener(usize),
    /// A round of the reconciler begins.
    Reconcile,
    /// Something befalls a server.
    Befall(usize, Fault),
    /// What a server has is copied.
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
    Step,
    LoseReply,
    End,
    Deliver,
    Copy,
    Lose,
    Fetch,
    Commit,
    CrashIssuer,
    Pass,
    Tick,
    Beat,
    Open,
    BumpByHand,
    CrashOpener,
    Reconcile,
    Befall,
    Snapshot,
    Move,
    Discard,
}

impl Kind {
    /// How many there are.
    pub const COUNT: usize = Self::Discard as usize + 1;
}

impl Action {
    /// Its kind.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Begin(..) => Kind::Begin,
            Self::Step(..) => Kind::Step,
            Self::LoseReply(_) => Kind::LoseReply,
            Self::End(_) => Kind::End,
            Self::Deliver(_) => Kind::Deliver,
            Self::Copy(_) => Kind::Copy,
            Self::Lose(_) => Kind::Lose,
            Self::Fetch(..) => Kind::Fetch,
            Self::Commit(_) => Kind::Commit,
            Self::CrashIssuer(_) => Kind::CrashIssuer,
            Self::Pass(_) => Kind::Pass,
            Self::Tick(_) => Kind::Tick,
            Self::Beat(_) => Kind::Beat,
            Self::Open(..) | Self::OpenAgain(..) => Kind::Open,
            Self::BumpByHand(_) => Kind::BumpByHand,
            Self::CrashOpener(_) => Kind::CrashOpener,
            Self::Reconcile => Kind::Reconcile,
            Self::Befall(..) => Kind::Befall,
            Self::Snapshot(_) => Kind::Snapshot,
            Self::MovePartition(_) | Self::MoveDatabase => Kind::Move,
            Self::Discard => Kind::Discard,
        }
    }
}

impl World {
    /// All that can happen next.
    #[must_use]
    pub fn enabled(&self) -> Vec<Action> {
        let mut actions = Vec::from([1, 3, 6, 9].map(Action::Pass));
        self.of_customers(&mut actions);
        self.of_attempts(&mut actions);
        self.of_the_log(&mut actions);
        self.of_openers(&mut actions);
        self.of_fate(&mut actions);
        actions
    }

    fn of_customers(&self, actions: &mut Vec<Action>) {
        if self.budget.attempts > 0 {
            for user in b'a'..b'a' + self.size.users {
                actions.push(Action::Begin(user, None));
                actions.extend((1..=self.size.keys).map(|key| Action::Begin(user, Some(key))));
            }
        }
        if self.budget.helps > 0 {
            actions.push(Action::Reconcile);
        }
        if self.budget.discard && self.template.status == TemplateStatus::Issuable {
            actions.push(Action::Discard);
        }
    }

    fn of_attempts(&self, actions: &mut Vec<Action>) {
        let may_crash = self.budget.crashes > 0;
        for (number, attempt) in self.attempts.iter().enumerate() {
            match attempt.stage {
                Stage::Done => continue,
                Stage::Wait(_) => {}
                Stage::Read => {
                    actions.extend(self.living().map(|server| Action::Step(number, server)))
                }
                _ => actions.push(Action::Step(number, 0)),
            }
            if may_crash || matches!(attempt.stage, Stage::Wait(_)) {
                actions.push(Action::End(number));
            }
            if may_crash && matches!(attempt.stage, Stage::Script(_)) {
                actions.push(Action::LoseReply(number));
            }
        }
    }

    fn of_the_log(&self, actions: &mut Vec<Action>) {
        for message in 0..self.network.len() {
            actions.extend([Action::Deliver(message), Action::Lose(message)]);
            if self.budget.copies > 0 {
                actions.push(Action::Copy(message));
            }
        }
        for (number, issuer) in self.issuers.iter().enumerate() {
            if issuer.batch.is_some() {
                actions.push(Action::Commit(number));
                if self.budget.crashes > 0 {
                    actions.push(Action::CrashIssuer(number));
                }
                continue;
            }
            for partition in (0..PARTITIONS).filter(|&partition| !self.is_worked_through(partition))
            {
                let counts = [1, usize::MAX / 2];
                actions.extend(counts.map(|count| Action::Fetch(number, partition, count)));
            }
        }
        actions.extend((0..PARTITIONS).map(Action::Tick));
    }

    fn of_openers(&self, actions: &mut Vec<Action>) {
        let is_open = self
            .gate()
            .is_some_and(|gate| gate.state == GateState::Open);
        for (number, opener) in self.openers.iter().enumerate() {
            if !matches!(opener, Opener::Idle) {
                actions.push(Action::Open(number, 0));
                if self.budget.crashes > 0 {
                    actions.push(Action::CrashOpener(number));
                }
                continue;
            }
            for server in self.living() {
                if self.has_work_for_opener(server) {
                    actions.push(Action::Open(number, server));
                } else if is_open && !self.has(Guard::InstalledOnce) && !self.is_open_at(server) {
                    actions.push(Action::OpenAgain(number, server));
                }
            }
            if is_open && self.budget.bumps > 0 {
                actions.push(Action::BumpByHand(number));
            }
        }
    }

    fn of_fate(&self, actions: &mut Vec<Action>) {
        let (has_snapshot, living) = (self.snapshot.is_some(), self.living().count());
        actions.extend(self.living().map(Action::Beat));
        if self.budget.faults == 0 {
            return;
        }
        for server in self.living() {
            let faults = [Fault::Emptied, Fault::Flushed];
            actions.extend(faults.map(|fault| Action::Befall(server, fault)));
            actions.push(Action::Snapshot(server));
            if has_snapshot {
                let faults = [Fault::Restored, Fault::Demoted];
                actions.extend(faults.map(|fault| Action::Befall(server, fault)));
            }
            if living > 1 {
                actions.push(Action::Befall(server, Fault::Killed));
            } else {
                actions.push(Action::Befall(server, Fault::Promoted));
            }
        }
        actions.extend((0..PARTITIONS).map(Action::MovePartition));
        actions.push(Action::MoveDatabase);
    }

    /// Lets it happen.
    pub fn apply(&mut self, action: Action) -> Result<(), Broken> {
        self.spend(action);
        match action {
            Action::Begin(user, key) => self.begin(user, key),
            Action::Step(attempt, server) => self.step(attempt, server)?,
            Action::LoseReply(attempt) => self.lose_reply(attempt),
            Action::End(attempt) => self.end(attempt),
            Action::Deliver(message) => self.deliver(message, false),
            Action::Copy(message) => self.deliver(message, true),
            Action::Lose(message) => self.lose(message),
            Action::Fetch(issuer, partition, count) => self.fetch(issuer, partition, count),
            Action::Commit(issuer) => self.commit(issuer)?,
            Action::CrashIssuer(issuer) => {
                self.issuers[issuer].batch = None;
                self.tell(|| format!("issuer {issuer} dies"));
            }
            Action::Pass(seconds) => self.pass(seconds),
            Action::Tick(partition) => self.tick(partition),
            Action::Beat(server) => self.beat(server),
            Action::Open(opener, server) => self.open(opener, server),
            Action::BumpByHand(opener) => self.bump(opener),
            Action::OpenAgain(opener, server) => self.begin_to_bring(opener, server),
            Action::CrashOpener(opener) => {
                self.openers[opener] = Opener::Idle;
                self.tell(|| format!("opener {opener} dies"));
            }
            Action::Reconcile => self.reconcile(),
            Action::Befall(server, fault) => self.befall(server, fault),
            Action::Snapshot(server) => self.take_snapshot(server),
            Action::MovePartition(partition) => self.brokers_ahead[partition] ^= 1,
            Action::MoveDatabase => self.database_ahead ^= 1,
            Action::Discard => self.discard(),
        }
        self.check_gates()
    }

    fn spend(&mut self, action: Action) {
        let budget = &mut self.budget;
        let purse = match action {
            Action::Begin(..) => &mut budget.attempts,
            Action::LoseReply(_) | Action::CrashIssuer(_) | Action::CrashOpener(_) => {
                &mut budget.crashes
            }
            Action::End(attempt) if !matches!(self.attempts[attempt].stage, Stage::Wait(_)) => {
                &mut budget.crashes
            }
            Action::Copy(_) => &mut budget.copies,
            Action::BumpByHand(_) => &mut budget.bumps,
            Action::Reconcile => &mut budget.helps,
            Action::Befall(..) | Action::MovePartition(_) | Action::MoveDatabase => {
                &mut budget.faults
            }
            _ => return,
        };
        *purse = purse.saturating_sub(1);
    }

    fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        let now = self.now;
        self.tell(|| format!("it is {now} s"));
    }

    fn discard(&mut self) {
        self.template.status = TemplateStatus::Discarded;
        self.tell(|| "the template is discarded".into());
    }
}
