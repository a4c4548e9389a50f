//! A partner's steps (P1 to P6): a place at the gate, an event in the log whose copy counts, and only then a success.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};
use goodpon_application::{
    idempotency::{Idempotency, Outcome, Peek},
    ports::{IssueGate, IssueOutcome, IssueRequest, IssueStanding, StoreError, StoreResult},
};
use goodpon_domain::{
    coupon::{self, IssueRefusal},
    gate::{self, EVENT_LIFETIME, Epoch, Gate, GateState, IssueEvent, Keyed},
    id::{CouponId, TemplateId},
    template::{Owned, Template},
};
use goodpon_valkey::{Bound, Confirmation, Finished, Holding, KeyState, Taken};
use jiff::Timestamp;

use crate::{
    Scaled,
    answers::Numbers,
    gate_of,
    gates::{Read, Seen},
    opening::Trouble,
};

/// How long a request waits for a gate that is closed or whose last places are not yet sure.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it waits before it asks again for the first time; each further time twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// Requests of a process that ask gates at a time. Beyond that they would queue at the server, and be given places
/// that nobody waits for any more.
pub(crate) const AT_GATES: usize = 512;

/// Gates that one list of templates asks at a time: sales ask the same server, and come in between.
const LOOKS_AT_A_TIME: usize = 16;

/// A request on its way: what stays the same however often the gate is asked.
struct Attempt<'a> {
    request: &'a IssueRequest,
    keyed: Option<Keyed>,
    coupon_id: CouponId,
    accepted_at: Timestamp,
    give_up_at: Instant,
    /// Whether it has asked before.
    asks_again: bool,
}

/// What is the same for each look at the gate within one try.
struct Try<'a> {
    attempt: &'a Attempt<'a>,
    epoch: Epoch,
    verdict: Option<IssueRefusal>,
    /// Of what it may be answered with, if it has a key.
    numbers: Numbers,
    now: Timestamp,
}

/// What a look at the gate came to.
enum Step {
    /// The answer.
    Answer(Outcome<IssueOutcome>),
    /// Something was done about it: ask again at once.
    Again,
    /// Nothing can be done yet: ask again in a while.
    Later(&'static str),
}

fn ran(outcome: IssueOutcome) -> Step {
    Step::Answer(Outcome::Ran(outcome))
}

fn unavailable(reason: impl Into<String>, may_have_happened: bool) -> StoreError {
    StoreError::Unavailable {
        reason: reason.into(),
        may_have_happened,
    }
}

/// What a program knows that is newer than this one, and runs beside it or will again.
fn written_by_a_newer_one() -> StoreError {
    unavailable("a newer goodpon wrote what this one cannot read", false)
}

/// The template's refusal, if it refuses.
fn verdict(seen: &Seen, request: &IssueRequest, now: Timestamp) -> Option<IssueRefusal> {
    let owned = match &seen.read {
        None => Owned::Absent,
        Some(read) if read.template.merchant_id != request.merchant_id => Owned::Foreign,
        Some(read) => Owned::Mine(&*read.template),
    };
    coupon::admit(owned, now).err()
}

impl Scaled {
    async fn try_issue(
        &self,
        attempt: &Attempt<'_>,
        render: Option<&Idempotency<IssueOutcome>>,
    ) -> StoreResult<Step> {
        let seen = self.gates.seen(attempt.request.template_id).await?;
        let now = self.clock.now();
        let verdict = verdict(&seen, attempt.request, now);
        let keyed = match (verdict, attempt.keyed) {
            (Some(refusal), None) => return Ok(ran(Err(refusal))),
            (_, keyed) => keyed,
        };
        let gate = seen.read.as_ref().and_then(|read| read.gate.as_ref());
        let (epoch, state) = match gate {
            None => (Epoch::default(), None),
            Some(gate) => (gate.epoch, Some(gate.state)),
        };
        let this = Try {
            attempt,
            epoch,
            verdict,
            numbers: self.answers.numbers(render, verdict).await?,
            now,
        };
        let step = match (state, &seen.read) {
            (None | Some(GateState::Folded), _) if verdict.is_some() => {
                self.remember(&this, verdict, this.numbers.refusals.verdict)
                    .await?
            }
            (Some(GateState::Folded), Some(read)) => self.try_folded(&this, read).await?,
            (None, _) => {
                self.opened(attempt, Epoch::default()).await;
                Taking::Later("the gate is being opened")
            }
            // A key that was answered is known without a gate: that is looked at once.
            (Some(GateState::Sealing), _) if keyed.is_none() || attempt.asks_again => {
                self.opened(attempt, epoch).await;
                Taking::Later("the gate is being moved")
            }
            (Some(_), _) => self.try_open(&this, &seen).await?,
        };
        Ok(match step {
            Taking::Ran(outcome) => ran(outcome),
            Taking::Replay(finished) => match render {
                Some(idempotency) => {
                    let answer = self.answers.replay(finished, idempotency).await?;
                    Step::Answer(Outcome::Replayed(answer))
                }
                None => ran(finished.outcome),
            },
            Taking::Mismatch => Step::Answer(Outcome::PayloadMismatch),
            Taking::Again => Step::Again,
            Taking::Later(why) => Step::Later(why),
        })
    }

    /// Does what is due at the gate, or waits for who does it, as long as there is patience.
    async fn opened(&self, attempt: &Attempt<'_>, epoch: Epoch) {
        let trouble = Trouble {
            epoch,
            is_missing_there: false,
            ahead: None,
        };
        self.mended(attempt, trouble).await;
    }

    /// As [`Self::opened`], of a gate that was found closed.
    async fn mended(&self, attempt: &Attempt<'_>, trouble: Trouble) {
        let step = self.drive(attempt.request.template_id, trouble);
        let _ = tokio::time::timeout_at(attempt.give_up_at.into(), step).await;
    }

    /// A keyed refusal where no gate holds places.
    async fn remember(
        &self,
        this: &Try<'_>,
        refusal: Option<IssueRefusal>,
        answer: Option<u32>,
    ) -> StoreResult<Taking> {
        let (attempt, epoch) = (this.attempt, this.epoch);
        let (Some(refusal), Some(keyed)) = (refusal, attempt.keyed) else {
            return Ok(Taking::Again);
        };
        let template = attempt.request.template_id;
        let bound = self.valkey.bound()?;
        let taken = bound
            .remember(gate_of(template), epoch, keyed, refusal, answer, this.now)
            .await?;
        Ok(match taken {
            Taken::Replay(finished) => Taking::Replay(finished),
            Taken::Mismatch => Taking::Mismatch,
            Taken::Unreadable => return Err(written_by_a_newer_one()),
            Taken::Closed(_) if !attempt.asks_again => {
                self.gates.forget(template);
                Taking::Again
            }
            Taken::Closed(closed) => {
                // There is a gate that the database still does not know of: it was set back.
                let trouble = Trouble {
                    epoch,
                    is_missing_there: true,
                    ahead: closed.epoch,
                };
                self.mended(attempt, trouble).await;
                Taking::Later("the gate is closed")
            }
            _ => Taking::Ran(Err(refusal)),
        })
    }

    /// A sale that is over: coupons tell all, and where they leave a place a new gate is opened.
    async fn try_folded(&self, this: &Try<'_>, read: &Read) -> StoreResult<Taking> {
        let attempt = this.attempt;
        let template = attempt.request.template_id;
        let has_one = self
            .store
            .is_holder(template, &attempt.request.user_id)
            .await?;
        let refusal = coupon::take_place(&read.template, has_one, read.template.issue_count).err();
        match refusal {
            Some(refusal) if attempt.keyed.is_some() => {
                let answer = match refusal {
                    IssueRefusal::AlreadyIssued => this.numbers.refusals.already_issued,
                    _ => this.numbers.refusals.sold_out,
                };
                self.remember(this, Some(refusal), answer).await
            }
            Some(refusal) => Ok(Taking::Ran(Err(refusal))),
            None => {
                self.opened(attempt, this.epoch).await;
                Ok(Taking::Later("the gate is being opened again"))
            }
        }
    }

    async fn try_open(&self, this: &Try<'_>, seen: &Seen) -> StoreResult<Taking> {
        let (attempt, epoch, verdict) = (this.attempt, this.epoch, this.verdict);
        let template = attempt.request.template_id;
        let Some(read) = &seen.read else {
            return Ok(Taking::Again);
        };
        let event = IssueEvent {
            coupon_id: attempt.coupon_id,
            template_id: template,
            epoch,
            user_id: attempt.request.user_id.clone(),
            accepted_at: attempt.accepted_at,
            keyed: attempt.keyed,
            valid_until: gate::valid_until(read.read_at),
        };
        let bound = self.valkey.bound()?;
        let problem = self
            .kafka_problem()
            .or_else(|| self.clock_problem(&event, read));
        if let Some(problem) = problem {
            return self.known(&event, verdict, problem, &bound).await;
        }
        let taken = {
            let turn = tokio::time::timeout_at(attempt.give_up_at.into(), self.at_gates.acquire());
            let Ok(_turn) = turn.await else {
                metrics::counter!("goodpon_gate_turned_away_total").increment(1);
                return Err(unavailable("too many wait for gates", false));
            };
            let (gate, answers) = (gate_of(template), this.numbers.refusals);
            bound.take(gate, &event, verdict, answers, this.now).await?
        };
        Ok(match taken {
            Taken::Replay(finished) => Taking::Replay(finished),
            Taken::Mismatch => Taking::Mismatch,
            Taken::Unreadable => Taking::Later("a newer goodpon wrote what this one cannot read"),
            Taken::Refused(refusal) => Taking::Ran(Err(refusal)),
            Taken::AlreadyIssued => Taking::Ran(Err(IssueRefusal::AlreadyIssued)),
            Taken::SoldOut => Taking::Ran(Err(IssueRefusal::SoldOut)),
            Taken::Wait => Taking::Later("the last places are not yet sure"),
            Taken::Reserved { .. } => {
                self.publish(&event, seen.asked).await?;
                let answer = this.numbers.success;
                self.confirmer.confirm(Confirmation { event, answer });
                Taking::Ran(Ok(()))
            }
            Taken::Help(pending) => {
                metrics::counter!("goodpon_gate_helps_total", "by" => "partner").increment(1);
                self.publish(&pending, seen.asked).await?;
                self.confirm_helped(vec![pending]).await?;
                Taking::Again
            }
            Taken::Closed(closed) => {
                // What was read may be older than the gate.
                let ahead = closed.epoch.filter(|there| *there > epoch);
                if ahead.is_some() && !attempt.asks_again {
                    self.gates.forget(template);
                    return Ok(Taking::Again);
                }
                let trouble = Trouble {
                    epoch,
                    // An older one there is as good as none: who was to bring this one has died on the way. So is a
                    // greater one that the database does not know of: nobody will ever ask it.
                    is_missing_there: closed.epoch != Some(epoch),
                    ahead,
                };
                self.mended(attempt, trouble).await;
                Taking::Later("the gate is closed")
            }
        })
    }

    /// Why what this process accepts now would be kept from becoming a coupon: its clock is wrong.
    fn clock_problem(&self, event: &IssueEvent, read: &Read) -> Option<String> {
        let (own, database) = (event.accepted_at, read.read_at);
        let is_near = self.store.is_near(own, database, gate::CLOCKS_APART);
        (!is_near).then(|| {
            format!("this process's clock says {own}, and the database's {database}: set it right")
        })
    }

    /// Tells what is sure while nothing can be published; places are not given out then.
    async fn known(
        &self,
        event: &IssueEvent,
        verdict: Option<IssueRefusal>,
        problem: String,
        bound: &Bound,
    ) -> StoreResult<Taking> {
        let (gate, user) = (gate_of(event.template_id), Some(event.user_id.as_str()));
        let now = self.clock.now();
        let look = bound
            .look(gate, event.epoch, user, event.keyed, now)
            .await?;
        match (look.key, look.gate) {
            (Some(KeyState::Replay(finished)), _) => return Ok(Taking::Replay(finished)),
            (Some(KeyState::Mismatch), _) => return Ok(Taking::Mismatch),
            (Some(KeyState::Unreadable), _) => return Err(written_by_a_newer_one()),
            // A fact, but it cannot be remembered as the answer to a key without a place at the gate.
            (None, Ok(counts)) if verdict.is_none() && event.keyed.is_none() => {
                if counts.user == Some(Holding::Coupon) {
                    return Ok(Taking::Ran(Err(IssueRefusal::AlreadyIssued)));
                }
                if counts.confirmed == counts.cap && counts.user.is_none() {
                    return Ok(Taking::Ran(Err(IssueRefusal::SoldOut)));
                }
            }
            _ => {}
        }
        Err(unavailable(problem, false))
    }

    /// Publishes a copy of an event and waits until it counts (P4, P5). `asked`: when the gate was asked about whose
    /// time stands in the event, by this process's own clock.
    ///
    /// # Errors
    /// It does not count, or it is not known whether it does: nothing is undone.
    pub(crate) async fn publish(&self, event: &IssueEvent, asked: Instant) -> StoreResult<()> {
        let lifetime = EVENT_LIFETIME.unsigned_abs();
        let rest = lifetime.saturating_sub(asked.elapsed());
        let partitions = self.partitions();
        let partition = goodpon_kafka::partition_of(&event.user_id, partitions);
        // Read before it is sent: an issuer may be faster than the acknowledgement.
        let worked_through = self.worked_through(partition);
        let acked = self.publisher.publish(event, partition, rest).await;
        let appended = acked.map_err(|error| {
            metrics::counter!("goodpon_events_unacknowledged_total").increment(1);
            unavailable(error.to_string(), true)
        })?;
        if appended.offset < worked_through {
            let why = self
                .topic
                .went_back(partition, appended.offset, worked_through);
            return Err(unavailable(why, true));
        }
        let spare = event.valid_until.duration_since(appended.appended_at);
        metrics::histogram!("goodpon_event_spare_seconds").record(spare.as_secs_f64());
        if !gate::counts(appended.appended_at, event.valid_until) || asked.elapsed() >= lifetime {
            metrics::counter!("goodpon_events_void_total", "by" => "partner").increment(1);
            return Err(unavailable(
                "the log took the event in too late to count",
                true,
            ));
        }
        Ok(())
    }

    /// How a gate is told to callers where Valkey does not answer, or has not got it: as the rows are.
    async fn written_standing(
        &self,
        template: &Template,
        user_id: Option<&str>,
    ) -> StoreResult<IssueStanding> {
        let counts = self.store.written_counts(&[template.id]).await?;
        let user_has_one = match user_id {
            None => false,
            Some(user_id) => self.store.is_holder(template.id, user_id).await?,
        };
        Ok(IssueStanding {
            issue_count: counts.first().copied().unwrap_or_default(),
            user_has_one,
        })
    }

    /// How a template's issue stands by its gate, if it is open and can be asked.
    async fn open_standing(
        &self,
        template: TemplateId,
        user_id: Option<&str>,
    ) -> StoreResult<Option<IssueStanding>> {
        // What this process has answered counts at once.
        self.confirmer.flush(&[template]).await;
        let seen = self.gates.seen(template).await?;
        let gate = seen.read.as_ref().and_then(|read| read.gate.as_ref());
        match gate.filter(|gate| gate.state == GateState::Open) {
            Some(gate) => Ok(self.gate_standing(template, gate, user_id).await),
            None => Ok(None),
        }
    }

    /// How an open gate stands; `None` where it does not answer.
    async fn gate_standing(
        &self,
        template: TemplateId,
        gate: &Gate,
        user_id: Option<&str>,
    ) -> Option<IssueStanding> {
        let bound = self.valkey.bound().ok()?;
        let look = bound.look(
            gate_of(template),
            gate.epoch,
            user_id,
            None,
            self.clock.now(),
        );
        let counts = look.await.ok()?.gate.ok()?;
        Some(IssueStanding {
            issue_count: counts.base + counts.confirmed,
            user_has_one: counts.user == Some(Holding::Coupon),
        })
    }
}

/// What asking for a place came to.
enum Taking {
    Ran(IssueOutcome),
    Replay(Finished),
    Mismatch,
    Again,
    Later(&'static str),
}

#[async_trait]
impl IssueGate for Scaled {
    async fn issue(
        &self,
        request: IssueRequest,
        idempotency: Option<Idempotency<IssueOutcome>>,
    ) -> StoreResult<Outcome<IssueOutcome>> {
        let accepted_at = self.clock.now();
        let keyed = idempotency.as_ref().map(|one| Keyed {
            key: one.key,
            body: one.body,
        });
        let mut attempt = Attempt {
            request: &request,
            keyed,
            coupon_id: CouponId::new(accepted_at, self.random_u64()),
            accepted_at,
            give_up_at: Instant::now() + PATIENCE,
            asks_again: false,
        };
        let mut pause = FIRST_PAUSE;
        loop {
            let waits_for = match self.try_issue(&attempt, idempotency.as_ref()).await? {
                Step::Answer(outcome) => return Ok(outcome),
                Step::Again => "the gate changes again and again",
                Step::Later(why) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    why
                }
            };
            attempt.asks_again = true;
            if Instant::now() >= attempt.give_up_at {
                return Err(unavailable(waits_for, false));
            }
        }
    }

    async fn standing(
        &self,
        template: &Arc<Template>,
        user_id: Option<&str>,
    ) -> StoreResult<IssueStanding> {
        let id = template.id;
        let standing = match user_id {
            Some(_) => self.open_standing(id, user_id).await?,
            None => {
                let scaled = self.clone();
                let look = move || {
                    let scaled = scaled.clone();
                    async move { scaled.open_standing(id, None).await.ok().flatten() }
                };
                self.gates.standing(id, look).await
            }
        };
        match standing {
            Some(standing) => Ok(standing),
            None => self.written_standing(template, user_id).await,
        }
    }

    async fn issue_counts(&self, templates: &[Arc<Template>]) -> StoreResult<Vec<i64>> {
        let ids: Vec<TemplateId> = templates.iter().map(|template| template.id).collect();
        self.confirmer.flush(&ids).await;
        let mut counts = self.store.written_counts(&ids).await?;
        let gates = self.store.gates_of(&ids).await?;
        let standings = gates.into_iter().zip(ids).map(|(gate, id)| async move {
            let gate = gate.filter(|gate| gate.state == GateState::Open)?;
            self.gate_standing(id, &gate, None).await
        });
        let standings = stream::iter(standings).buffered(LOOKS_AT_A_TIME);
        let standings: Vec<_> = standings.collect().await;
        for (count, standing) in counts.iter_mut().zip(standings) {
            if let Some(standing) = standing {
                *count = standing.issue_count;
            }
        }
        Ok(counts)
    }

    async fn peek(
        &self,
        template: TemplateId,
        idempotency: &Idempotency<IssueOutcome>,
    ) -> StoreResult<Peek> {
        self.confirmer.flush(&[template]).await;
        let keyed = Keyed {
            key: idempotency.key,
            body: idempotency.body,
        };
        let seen = self.gates.seen(template).await?;
        let gate = seen.read.as_ref().and_then(|read| read.gate.as_ref());
        let epoch = gate.map_or(Epoch::default(), |gate| gate.epoch);
        let bound = self.valkey.bound()?;
        let now = self.clock.now();
        let look = bound
            .look(gate_of(template), epoch, None, Some(keyed), now)
            .await?;
        match look.key {
            Some(KeyState::Replay(finished)) => {
                let answer = self.answers.replay(finished, idempotency).await?;
                Ok(Peek::Finished(answer))
            }
            Some(KeyState::Mismatch) => Ok(Peek::PayloadMismatch),
            Some(KeyState::Unreadable) => Err(written_by_a_newer_one()),
            Some(KeyState::Pending) => Ok(Peek::Processing),
            // A gate that holds its keys says so; where none does, none can be missing.
            None if look.gate.is_ok() => Ok(Peek::Free),
            None => match gate.map(|gate| gate.state) {
                None | Some(GateState::Folded) => Ok(Peek::Free),
                _ => Err(unavailable("the gate is closed", false)),
            },
        }
    }
}
