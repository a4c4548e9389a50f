//! The gate's scripts, as calls of the product meet them: the plain gate decides.

use std::time::Duration;

use goodpon_application::ports::StoreResult;
use goodpon_domain::{
    coupon::{IssueRefusal, Issued},
    gate::{
        Closed, Confirmation, Counts, Due, Epoch, Finished, FoldResult, Holding, InstallResult,
        IssueEvent, KeptSuccess, KeyDigests, KeyState, Look, Taken,
    },
};
use goodpon_gate_model::gate::{self as plain, Pending, Request, Store};
use goodpon_scaled::user_digest;
use jiff::Timestamp;

use super::{ProcessId, TEMPLATE, World, request_of, valkey::Connection};
use crate::guard::Guard;

/// A pending reservation is handed to the reconciler however young it is: the time that it is given saves work alone.
const ANY_AGE_MS: i64 = -10_000;

/// A connection of a process.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) process: ProcessId,
    pub(crate) connection: Connection,
}

impl World {
    pub(crate) fn take(
        &mut self,
        wire: &Wire,
        event: &IssueEvent,
        verdict: Option<IssueRefusal>,
        now: Timestamp,
    ) -> StoreResult<Taken> {
        let any_epoch = !self.has(Guard::Epoch);
        let mut request = Request {
            epoch: event.epoch,
            user: user_digest(&event.user_id),
            user_id: &event.user_id,
            keyed: event.keyed,
            verdict,
            coupon_id: event.coupon_id,
            accepted_at: event.accepted_at,
            now,
            spare: false,
        };
        let taken = self.script(wire.process, &wire.connection, |store, identity| {
            if let (true, Some(there)) = (any_epoch, store.installed()) {
                request.epoch = there.epoch;
            }
            store.take(identity, &request)
        })?;
        let taken = self.with_guards_removed(wire, event, taken, now)?;
        self.note(|| format!("  {}", describe(&taken)));
        if matches!(taken, plain::Taken::Closed { .. }) {
            self.give_up_if_moved(wire.process, &wire.connection);
        }
        Ok(translated(taken, event))
    }

    /// The answer that a gate without some guards gives.
    fn with_guards_removed(
        &mut self,
        wire: &Wire,
        event: &IssueEvent,
        taken: plain::Taken,
        now: Timestamp,
    ) -> StoreResult<plain::Taken> {
        let plain::Taken::Help(other) = &taken else {
            return Ok(taken);
        };
        let is_of_key = event
            .keyed
            .zip(other.keyed)
            .is_some_and(|(mine, its)| mine.key == its.key);
        if !self.has(Guard::ConfirmedRefusals) && !is_of_key {
            let (refusal, taken) = if other.user_id == event.user_id {
                (IssueRefusal::AlreadyIssued, plain::Taken::AlreadyIssued)
            } else {
                (IssueRefusal::SoldOut, plain::Taken::SoldOut)
            };
            if let Some(keyed) = event.keyed {
                self.script(wire.process, &wire.connection, |store, _| {
                    store.remember(keyed, refusal, now)
                })?;
            }
            return Ok(taken);
        }
        Ok(if self.has(Guard::Help) {
            taken
        } else {
            plain::Taken::Wait
        })
    }

    pub(crate) fn confirm(
        &mut self,
        wire: &Wire,
        mut epoch: Epoch,
        events: &[Confirmation],
        now: Timestamp,
    ) -> StoreResult<Vec<bool>> {
        let any_epoch = !self.has(Guard::Epoch);
        let confirmations: Vec<_> = events
            .iter()
            .map(|one| plain::Confirmation {
                user: user_digest(&one.event.user_id),
                coupon_id: one.event.coupon_id,
            })
            .collect();
        let done = self.script(wire.process, &wire.connection, |store, identity| {
            if let (true, Some(there)) = (any_epoch, store.installed()) {
                epoch = there.epoch;
            }
            store.confirm(identity, epoch, &confirmations, now)
        })?;
        self.note(|| {
            let coupons = events.iter().map(|one| request_of(one.event.coupon_id));
            let coupons: Vec<_> = coupons.collect();
            format!("  confirms coupons {coupons:?} of epoch {epoch}: {done:?}")
        });
        self.give_up_if_moved(wire.process, &wire.connection);
        Ok(done)
    }

    pub(crate) fn remember(
        &mut self,
        wire: &Wire,
        epoch: Epoch,
        keyed: KeyDigests,
        verdict: IssueRefusal,
        now: Timestamp,
    ) -> StoreResult<Taken> {
        let taken = self.script(wire.process, &wire.connection, |store, _| {
            remember(store, epoch, keyed, verdict, now)
        })?;
        self.note(|| format!("  {}", describe(&taken)));
        Ok(match taken {
            plain::Taken::Replay(outcome) => Taken::Replay(finished(outcome)),
            plain::Taken::Mismatch => Taken::Mismatch,
            plain::Taken::Closed { epoch } => Taken::Closed(Closed { epoch }),
            _ => Taken::Refused(verdict),
        })
    }

    pub(crate) fn look(
        &mut self,
        wire: &Wire,
        epoch: Epoch,
        user: Option<&str>,
        keyed: Option<KeyDigests>,
        now: Timestamp,
    ) -> StoreResult<Look> {
        let user = user.map(user_digest);
        let look = self.script(wire.process, &wire.connection, |store, identity| {
            store.look(identity, epoch, user, keyed, now)
        })?;
        let key = look.key.map(|key| match key {
            plain::KeyState::Replay(outcome) => KeyState::Replay(finished(outcome)),
            plain::KeyState::Mismatch => KeyState::Mismatch,
            plain::KeyState::Pending => KeyState::Pending,
        });
        let gate = look.gate.map_err(|epoch| Closed { epoch });
        Ok(Look {
            key,
            gate: gate.map(counts),
        })
    }

    pub(crate) fn pending(
        &mut self,
        wire: &Wire,
        epoch: Epoch,
        limit: usize,
    ) -> StoreResult<Result<Due, Closed>> {
        let found = self.script(wire.process, &wire.connection, |store, identity| {
            store.pending(identity, epoch, ANY_AGE_MS, limit)
        })?;
        self.give_up_if_moved(wire.process, &wire.connection);
        let has_help = self.has(Guard::Help);
        let event = |pending: Pending| pending.event(TEMPLATE, epoch, Timestamp::UNIX_EPOCH);
        Ok(found
            .map(|pending| Due {
                events: pending
                    .into_iter()
                    .filter(|_| has_help)
                    .map(event)
                    .collect(),
                unreadable: 0,
            })
            .map_err(|epoch| Closed { epoch }))
    }

    /// Returns the epoch that has reservations at the server.
    pub(crate) fn busy(&mut self, wire: &Wire) -> StoreResult<Option<Epoch>> {
        self.script(wire.process, &wire.connection, |store, _| {
            let gate = store.installed().filter(|gate| !gate.pending.is_empty());
            gate.map(|gate| gate.epoch)
        })
    }

    pub(crate) fn sweep(&mut self, wire: &Wire, within: Duration) -> StoreResult<bool> {
        self.script(wire.process, &wire.connection, |_, _| ())?;
        let within = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
        Ok(self.may_sweep(wire.connection.server, within))
    }

    pub(crate) fn load(
        &mut self,
        wire: &Wire,
        epoch: Epoch,
        users: &[[u8; 16]],
        successes: &[KeptSuccess],
    ) -> StoreResult<InstallResult> {
        let has_keys = self.has(Guard::KeysLoaded);
        let successes: Vec<_> = successes
            .iter()
            .filter(|_| has_keys)
            .map(|one| plain::KeptSuccess {
                keyed: one.keyed,
                stored_at: one.stored_at,
                rest_ms: i64::try_from(one.rest.as_millis())
                    .unwrap_or(i64::MAX)
                    .max(1),
            })
            .collect();
        let result = self.script(wire.process, &wire.connection, |store, identity| {
            store.load(identity, epoch, users, &successes)
        })?;
        Ok(self.installation(wire, result))
    }

    pub(crate) fn install(
        &mut self,
        wire: &Wire,
        epoch: Epoch,
        cap: i64,
        base: i64,
        loaded: usize,
    ) -> StoreResult<InstallResult> {
        let is_counted = self.has(Guard::LoadedCounted);
        let result = self.script(wire.process, &wire.connection, |store, identity| {
            if is_counted {
                return store.install(identity, epoch, cap, base, loaded);
            }
            // Whatever is there counts as all that was loaded, the mark of a load with it.
            store.load(identity, epoch, &[], &[]);
            let loading = store.contents().loading;
            let loaded = loading.get(&epoch).map_or(0, |there| there.holders.len());
            store.install(identity, epoch, cap, base, loaded)
        })?;
        self.note(|| format!("  epoch {epoch} with {cap} places: {result:?}"));
        Ok(self.installation(wire, result))
    }

    pub(crate) fn fold(&mut self, wire: &Wire, epoch: Epoch) -> StoreResult<FoldResult> {
        let folding = self.script(wire.process, &wire.connection, |store, _| store.fold(epoch))?;
        Ok(match folding {
            plain::FoldResult::Done => FoldResult::Done,
            plain::FoldResult::StillPending => FoldResult::StillPending,
            plain::FoldResult::NotThere(epoch) => FoldResult::NotThere(epoch),
        })
    }

    fn installation(&mut self, wire: &Wire, result: plain::InstallResult) -> InstallResult {
        match result {
            plain::InstallResult::Done => InstallResult::Done,
            plain::InstallResult::WrongServer => {
                self.give_up_if_moved(wire.process, &wire.connection);
                InstallResult::WrongServer
            }
            plain::InstallResult::NotOlder(epoch) => InstallResult::NotOlder(epoch),
            plain::InstallResult::CountDiffers(count) => {
                InstallResult::CountDiffers(count.and_then(|count| i64::try_from(count).ok()))
            }
        }
    }
}

/// Where a gate was opened meanwhile, that one is to be asked.
fn remember(
    store: &mut Store,
    epoch: Epoch,
    keyed: KeyDigests,
    verdict: IssueRefusal,
    now: Timestamp,
) -> plain::Taken {
    let there = store.installed().map(|gate| gate.epoch);
    if there.is_some_and(|there| there > epoch) {
        return plain::Taken::Closed { epoch: there };
    }
    store.remember(keyed, verdict, now)
}

fn finished(outcome: plain::Outcome) -> Finished {
    Finished {
        outcome: outcome.map(|()| Issued { coupon_id: None }),
        answer: None,
    }
}

fn translated(taken: plain::Taken, event: &IssueEvent) -> Taken {
    match taken {
        plain::Taken::Replay(outcome) => Taken::Replay(finished(outcome)),
        plain::Taken::Mismatch => Taken::Mismatch,
        plain::Taken::Closed { epoch } => Taken::Closed(Closed { epoch }),
        plain::Taken::Reserved { spent } => Taken::Reserved { spent },
        plain::Taken::Help(pending) => {
            Taken::Help(pending.event(TEMPLATE, event.epoch, event.valid_until))
        }
        plain::Taken::Refused(refusal) => Taken::Refused(refusal),
        plain::Taken::AlreadyIssued => Taken::AlreadyIssued,
        plain::Taken::SoldOut => Taken::SoldOut,
        plain::Taken::Wait => Taken::Wait,
    }
}

fn describe(taken: &plain::Taken) -> String {
    match taken {
        plain::Taken::Help(other) => format!("asks to help coupon {}", request_of(other.coupon_id)),
        plain::Taken::Closed { epoch } => format!("is closed; epoch {epoch:?} is there"),
        other => format!("answers {other:?}"),
    }
}

fn counts(counts: plain::Counts) -> Counts {
    Counts {
        cap: counts.cap,
        base: counts.base,
        spent: counts.spent,
        confirmed: counts.confirmed,
        confirmed_at: None,
        user: counts.user.map(|user| match user {
            plain::Holding::Coupon => Holding::Coupon,
            plain::Holding::Pending => Holding::Pending,
        }),
    }
}
