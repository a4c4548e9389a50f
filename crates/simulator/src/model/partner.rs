//! Partners' attempts, the reconciler's rounds, and their messages to the log.

use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Epoch, GateState, IssueEvent, counts, valid_until},
    id::CouponId,
    template::TemplateStatus,
};
use jiff::Timestamp;

use super::{
    Broken, Guard, World, at, digest, issuer::Record, keyed, partition_of, seconds, short,
    truth::Answer, user_id, user_of, valkey::Connection,
};
use crate::gate::{Confirmation, Pending, Request, Taken};

/// A customer's request at a partner, or a round of the reconciler.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) user: u8,
    pub(super) key: Option<u8>,
    coupon: CouponId,
    is_reconciler: bool,
    pub(super) stage: Stage,
}

/// What an attempt does next.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// Read the gate in the database.
    Read,
    /// Run the script.
    Script(Gate),
    /// Publish.
    Publish(Publication),
    /// Wait for the log.
    Wait(Publication),
    /// Judge by the append time.
    Acknowledged(Publication, Timestamp),
    /// Tell the gate that it counts.
    Confirm(Publication),
    /// Nothing.
    Done,
}

/// The gate as it was read.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    epoch: Epoch,
    read_at: Timestamp,
    connection: Connection,
    verdict: Option<IssueRefusal>,
}

/// A reservation that is being published.
#[derive(Debug, Clone)]
pub(super) struct Publication {
    reservation: Pending,
    event: IssueEvent,
    connection: Connection,
    is_own: bool,
}

/// A publish on its way.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) event: IssueEvent,
    /// Who waits for the acknowledgement.
    attempt: Option<usize>,
}

impl World {
    pub(super) fn begin(&mut self, user: u8, key: Option<u8>) {
        let coupon = self.next_coupon();
        self.tell(|| {
            let key = key.map_or("no key".into(), |key| format!("key {key}"));
            format!(
                "customer {} comes with {key}; would get coupon {}",
                user_id(user),
                short(coupon)
            )
        });
        self.attempts.push(Attempt {
            user,
            key,
            coupon,
            is_reconciler: false,
            stage: Stage::Read,
        });
    }

    pub(super) fn reconcile(&mut self) {
        let coupon = self.next_coupon();
        self.attempts.push(Attempt {
            user: 0,
            key: None,
            coupon,
            is_reconciler: true,
            stage: Stage::Read,
        });
    }

    /// The next step of an attempt; `server` is where it connects to, if it does.
    pub(super) fn step(&mut self, attempt: usize, server: usize) -> Result<(), Broken> {
        let stage = std::mem::replace(&mut self.attempts[attempt].stage, Stage::Done);
        let next = match stage {
            Stage::Read => self.read_gate(attempt, server),
            Stage::Script(gate) if self.attempts[attempt].is_reconciler => self.find_pending(&gate),
            Stage::Script(gate) => self.take(attempt, gate)?,
            Stage::Publish(publication) => self.publish(attempt, publication)?,
            Stage::Acknowledged(publication, appended_at) => {
                self.acknowledged(attempt, publication, appended_at)?
            }
            Stage::Confirm(publication) => self.confirm(attempt, &publication),
            stage @ (Stage::Wait(_) | Stage::Done) => stage,
        };
        self.attempts[attempt].stage = next;
        Ok(())
    }

    fn read_gate(&mut self, attempt: usize, server: usize) -> Stage {
        let read_at = self.database_time();
        let (status, gate) = (self.template.status, self.gate());
        let Some(gate) = gate.filter(|gate| gate.state == GateState::Open) else {
            return Stage::Done;
        };
        let gate = Gate {
            epoch: gate.epoch,
            read_at,
            connection: self.connect(server),
            verdict: (status == TemplateStatus::Discarded).then_some(IssueRefusal::NotIssuable),
        };
        self.tell(|| {
            let (epoch, identity) = (gate.epoch, &gate.connection.identity);
            format!(
                "attempt {attempt} reads epoch {epoch} at {} and goes to {identity}",
                seconds(read_at)
            )
        });
        Stage::Script(gate)
    }

    /// Runs the gate script; none where the server is gone.
    fn run_script(&mut self, attempt: usize, gate: &Gate) -> Option<Taken> {
        let Attempt {
            user, key, coupon, ..
        } = self.attempts[attempt];
        let (now, any_epoch) = (at(self.now), !self.has(Guard::Epoch));
        let user_id = user_id(user);
        let mut request = Request {
            epoch: gate.epoch,
            user: digest(user),
            user_id: &user_id,
            keyed: key.map(|key| keyed(key, user)),
            verdict: gate.verdict,
            coupon_id: coupon,
            accepted_at: now,
            now,
            spare: false,
        };
        let taken = self.script(&gate.connection, |store, connection| {
            if let (true, Some(there)) = (any_epoch, store.installed()) {
                request.epoch = there.epoch;
            }
            store.take(connection, &request)
        });
        self.tell(|| match &taken {
            Some(Taken::Help(other)) => {
                format!(
                    "attempt {attempt} is told to help coupon {}",
                    short(other.coupon_id)
                )
            }
            Some(taken) => format!("attempt {attempt} is told {taken:?}"),
            None => format!("attempt {attempt} finds no server"),
        });
        taken
    }

    /// The script runs, and its reply is lost: it will run again.
    pub(super) fn lose_reply(&mut self, attempt: usize) {
        if let Stage::Script(gate) = self.attempts[attempt].stage.clone() {
            let _lost = self.run_script(attempt, &gate);
        }
    }

    fn take(&mut self, attempt: usize, gate: Gate) -> Result<Stage, Broken> {
        let (user, key) = (self.attempts[attempt].user, self.attempts[attempt].key);
        let refused = |refusal| Answer::Refused(refusal);
        let answer = match self.run_script(attempt, &gate) {
            None | Some(Taken::Closed { .. } | Taken::Wait) => return Ok(Stage::Done),
            Some(Taken::Reserved { .. }) => return Ok(self.own_reservation(attempt, gate)),
            Some(Taken::Help(other)) => match self.refused_early(attempt, &gate, &other) {
                Some(refusal) => refused(refusal),
                None => return Ok(self.help(gate, other)),
            },
            Some(Taken::Replay(outcome)) => {
                self.reached.replay = true;
                outcome.map_or_else(refused, |()| Answer::Issued(None))
            }
            Some(Taken::Mismatch) => Answer::Mismatch,
            Some(Taken::Refused(refusal)) => refused(refusal),
            Some(Taken::AlreadyIssued) => refused(IssueRefusal::AlreadyIssued),
            Some(Taken::SoldOut) => refused(IssueRefusal::SoldOut),
        };
        self.answer(user, key, answer)?;
        Ok(Stage::Done)
    }

    /// What would be told of a pending reservation if refusals need not be confirmed.
    fn refused_early(
        &mut self,
        attempt: usize,
        gate: &Gate,
        other: &Pending,
    ) -> Option<IssueRefusal> {
        let Attempt { user, key, .. } = self.attempts[attempt];
        let keyed = key.map(|key| keyed(key, user));
        let is_of_key = keyed
            .zip(other.keyed)
            .is_some_and(|(mine, its)| mine.key == its.key);
        if self.has(Guard::ConfirmedRefusals) || is_of_key {
            return None;
        }
        let is_mine = other.user == digest(user);
        let refusal = if is_mine {
            IssueRefusal::AlreadyIssued
        } else {
            IssueRefusal::SoldOut
        };
        let now = at(self.now);
        if let Some(keyed) = keyed {
            self.script(&gate.connection, |store, _| {
                store.remember(keyed, refusal, now)
            });
        }
        Some(refusal)
    }

    fn own_reservation(&mut self, attempt: usize, gate: Gate) -> Stage {
        let Attempt {
            user, key, coupon, ..
        } = self.attempts[attempt];
        let reservation = Pending {
            coupon_id: coupon,
            user: digest(user),
            user_id: user_id(user),
            accepted_at: at(self.now),
            keyed: key.map(|key| keyed(key, user)),
        };
        Stage::Publish(self.publication(gate, reservation, true))
    }

    fn help(&mut self, gate: Gate, reservation: Pending) -> Stage {
        if !self.has(Guard::Help) {
            return Stage::Done;
        }
        self.reached.help = true;
        Stage::Publish(self.publication(gate, reservation, false))
    }

    fn publication(&self, gate: Gate, reservation: Pending, is_own: bool) -> Publication {
        let until = valid_until(gate.read_at);
        Publication {
            event: reservation.event(self.template.id, gate.epoch, until),
            reservation,
            connection: gate.connection,
            is_own,
        }
    }

    fn find_pending(&mut self, gate: &Gate) -> Stage {
        let epoch = gate.epoch;
        let found = self.script(&gate.connection, |store, connection| {
            // Pending of whatever age: the time that a reservation is given before help comes saves work alone.
            store.pending(connection, epoch, -10_000, 1)
        });
        match found
            .and_then(Result::ok)
            .and_then(|mut pending| pending.pop())
        {
            Some(reservation) => self.help(gate.clone(), reservation),
            None => Stage::Done,
        }
    }

    fn publish(&mut self, attempt: usize, publication: Publication) -> Result<Stage, Broken> {
        self.network.push(Message {
            event: publication.event.clone(),
            attempt: Some(attempt),
        });
        self.tell(|| {
            let (coupon, until) = (
                short(publication.event.coupon_id),
                seconds(publication.event.valid_until),
            );
            format!("attempt {attempt} publishes coupon {coupon}, good until {until}")
        });
        if self.has(Guard::Acknowledgement) {
            return Ok(Stage::Wait(publication));
        }
        self.succeed(attempt, &publication)?;
        Ok(Stage::Confirm(publication))
    }

    fn acknowledged(
        &mut self,
        attempt: usize,
        publication: Publication,
        appended_at: Timestamp,
    ) -> Result<Stage, Broken> {
        if self.has(Guard::ValidUntil) && !counts(appended_at, publication.event.valid_until) {
            self.tell(|| format!("attempt {attempt} came too late"));
            return Ok(Stage::Done);
        }
        self.succeed(attempt, &publication)?;
        Ok(Stage::Confirm(publication))
    }

    fn succeed(&mut self, attempt: usize, publication: &Publication) -> Result<(), Broken> {
        let Attempt { user, key, .. } = self.attempts[attempt];
        if publication.is_own {
            self.answer(user, key, Answer::Issued(Some(publication.event.coupon_id)))?;
        }
        Ok(())
    }

    fn confirm(&mut self, attempt: usize, publication: &Publication) -> Stage {
        let (now, any_epoch) = (at(self.now), !self.has(Guard::Epoch));
        let mut epoch = publication.event.epoch;
        let confirmation = Confirmation {
            user: publication.reservation.user,
            coupon_id: publication.reservation.coupon_id,
        };
        let done = self.script(&publication.connection, |store, connection| {
            if let (true, Some(there)) = (any_epoch, store.installed()) {
                epoch = there.epoch;
            }
            store.confirm(connection, epoch, &[confirmation], now)
        });
        let (coupon, is_done) = (short(confirmation.coupon_id), done == Some(vec![true]));
        self.tell(|| format!("attempt {attempt} confirms coupon {coupon}: {is_done}"));
        if publication.is_own || self.attempts[attempt].is_reconciler {
            Stage::Done
        } else {
            Stage::Read
        }
    }

    /// A publish arrives. If it stays on its way, it will arrive once more.
    pub(super) fn deliver(&mut self, message: usize, and_again: bool) {
        let Message { event, attempt } = if and_again {
            let copy = self.network[message].clone();
            self.network[message].attempt = None;
            copy
        } else {
            self.network.remove(message)
        };
        let partition = partition_of(user_of(&event.user_id));
        let appended_at = self.append_time(partition);
        self.tell(|| {
            let (coupon, until) = (short(event.coupon_id), seconds(event.valid_until));
            format!(
                "coupon {coupon}, good until {until}, is appended at {}",
                seconds(appended_at)
            )
        });
        if let Some(waiting) = attempt.map(|attempt| &mut self.attempts[attempt].stage)
            && let Stage::Wait(publication) = &*waiting
            && publication.event == event
        {
            *waiting = Stage::Acknowledged(publication.clone(), appended_at);
        }
        self.log[partition].push(Record {
            event: Some(event),
            appended_at,
        });
    }

    pub(super) fn lose(&mut self, message: usize) {
        let lost = self.network.remove(message);
        self.tell(|| {
            format!(
                "the publish of coupon {} is lost",
                short(lost.event.coupon_id)
            )
        });
    }

    /// The partner's process is gone, or its patience: it answers 503 or nothing.
    pub(super) fn end(&mut self, attempt: usize) {
        self.attempts[attempt].stage = Stage::Done;
        self.tell(|| format!("attempt {attempt} ends without an answer"));
    }
}
