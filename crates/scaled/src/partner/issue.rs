//! The way of an issue request (P1 to P6): a place at the gate, an event in the log that counts, and only then a success.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use goodpon_application::{
    idempotency::{Idempotency, Outcome, Peek},
    ports::{IssueGate, IssueOutcome, IssueRequest, IssueStanding, StoreError, StoreResult},
};
use goodpon_domain::{
    coupon::{self, IssueRefusal, Issued},
    gate::{
        self, Closed, Confirmation, Epoch, Finished, GateId, GateState, Holding, IssueEvent,
        KeyState, Keyed, Taken,
    },
    id::{CouponId, TemplateId},
    template::{Owned, Template},
};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    Partner,
    answers::Numbers,
    gate_cache::{Read, Seen},
};
use crate::{opening::Trouble, ports::GateServer};

/// How long a request waits for a gate that is closed or whose last places are not yet sure.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it waits before it tries again for the first time; each further time twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// A request on its way: what stays the same however often it is tried.
pub(super) struct Wish<'a> {
    pub(super) request: &'a IssueRequest,
    idempotency: Option<&'a Idempotency<IssueOutcome>>,
    pub(super) keyed: Option<Keyed>,
    coupon_id: CouponId,
    accepted_at: Timestamp,
    give_up_at: Instant,
}

impl Wish<'_> {
    /// The success that it hopes for.
    fn issued(&self) -> Issued {
        Issued {
            coupon_id: Some(self.coupon_id),
        }
    }
}

/// One try of it, over the template and gate as they were read.
pub(super) struct Try<'a> {
    pub(super) wish: &'a Wish<'a>,
    pub(super) is_first: bool,
    pub(super) epoch: Epoch,
    pub(super) verdict: Option<IssueRefusal>,
    /// The numbers of its possible answers, if it has a key.
    pub(super) numbers: Numbers,
    pub(super) now: Timestamp,
}

/// The result of a try.
pub(super) enum Attempted {
    /// The request has its answer.
    Answered(Outcome<IssueOutcome>),
    /// The obstacle is gone: try again at once.
    RetryNow,
    /// Nothing can be done yet, for this reason: try again in a while.
    RetryLater(&'static str),
}

impl Attempted {
    fn ran(outcome: IssueOutcome) -> Self {
        Self::Answered(Outcome::Ran(outcome))
    }

    pub(super) fn refused(refusal: IssueRefusal) -> Self {
        Self::ran(Err(refusal))
    }
}

pub(super) fn unavailable(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable {
        reason: reason.into(),
        may_have_happened: false,
    }
}

/// A newer program that runs beside this one, or did, wrote it.
pub(super) const UNREADABLE: &str = "a newer goodpon wrote what this one cannot read";

/// The template's refusal, if it refuses.
fn verdict(seen: &Seen, request: &IssueRequest, now: Timestamp) -> Option<IssueRefusal> {
    let owned = match &seen.read {
        None => Owned::Absent,
        Some(read) if read.template.merchant_id != request.merchant_id => Owned::Foreign,
        Some(read) => Owned::Mine(&*read.template),
    };
    coupon::admit(owned, now).err()
}

impl Partner {
    async fn try_issue(&self, wish: &Wish<'_>, is_first: bool) -> StoreResult<Attempted> {
        let seen = self.gates.seen(wish.request.template_id).await?;
        let now = self.clock.now();
        let verdict = verdict(&seen, wish.request, now);
        if let (Some(refusal), None) = (verdict, wish.keyed) {
            return Ok(Attempted::refused(refusal));
        }
        let gate = seen.read.as_ref().and_then(|read| read.gate.as_ref());
        let this = Try {
            wish,
            is_first,
            epoch: gate.map_or(Epoch::default(), |gate| gate.epoch),
            verdict,
            numbers: self
                .answers
                .numbers(wish.idempotency, verdict, wish.issued())
                .await?,
            now,
        };
        match (gate.map(|gate| gate.state), &seen.read) {
            (Some(GateState::Open), Some(read)) => self.at_gate(&this, read, seen.asked).await,
            // A key that has its answer is known without a gate: that is looked up once.
            (Some(GateState::Sealing), Some(read)) if wish.keyed.is_some() && is_first => {
                self.at_gate(&this, read, seen.asked).await
            }
            (Some(GateState::Sealing), _) => {
                self.mend(&this, Trouble::known(this.epoch)).await;
                Ok(Attempted::RetryLater("the gate is being moved"))
            }
            (Some(GateState::Folded), Some(read)) => self.after_sale(&this, read).await,
            _ => self.without_gate(&this).await,
        }
    }

    /// Drives the gate's opening on, or waits for the task that does, as long as there is patience.
    pub(super) async fn mend(&self, this: &Try<'_>, trouble: Trouble) {
        let drive = self.openings.drive(this.wish.request.template_id, trouble);
        let _ = tokio::time::timeout_at(this.wish.give_up_at, drive).await;
    }

    async fn at_gate(&self, this: &Try<'_>, read: &Read, asked: Instant) -> StoreResult<Attempted> {
        let wish = this.wish;
        let event = IssueEvent {
            coupon_id: wish.coupon_id,
            template_id: wish.request.template_id,
            epoch: this.epoch,
            user_id: wish.request.user_id.clone(),
            accepted_at: wish.accepted_at,
            keyed: wish.keyed,
            valid_until: gate::valid_until(read.read_at),
        };
        let server = self.servers.bound()?;
        let problem = self.publishing.problem();
        if let Some(problem) = problem.or_else(|| self.clock_problem(&event, read)) {
            return self
                .answer_what_is_sure(this, &event, problem, &*server)
                .await;
        }
        match self.take(this, &event, &*server).await? {
            Taken::Replay(finished) => self.replay(wish, finished).await,
            Taken::Mismatch => Ok(Attempted::Answered(Outcome::PayloadMismatch)),
            Taken::Unreadable => Ok(Attempted::RetryLater(UNREADABLE)),
            Taken::Refused(refusal) => Ok(Attempted::refused(refusal)),
            Taken::AlreadyIssued => Ok(Attempted::refused(IssueRefusal::AlreadyIssued)),
            Taken::SoldOut => Ok(Attempted::refused(IssueRefusal::SoldOut)),
            Taken::Wait => Ok(Attempted::RetryLater("the last places are not yet sure")),
            Taken::Reserved { .. } => {
                self.publishing.publish(&event, asked).await?;
                let answer = this.numbers.success;
                self.confirmer.confirm(Confirmation { event, answer });
                Ok(Attempted::ran(Ok(wish.issued())))
            }
            Taken::Help(pending) => {
                metrics::counter!("goodpon_gate_helps_total", "by" => "partner").increment(1);
                self.publishing.publish(&pending, asked).await?;
                self.confirm_helped(vec![pending]).await?;
                Ok(Attempted::RetryNow)
            }
            Taken::Closed(closed) => Ok(self.closed(this, closed).await),
        }
    }

    /// Asks the gate for a place, one of a bounded number of requests at a time.
    async fn take(
        &self,
        this: &Try<'_>,
        event: &IssueEvent,
        server: &dyn GateServer,
    ) -> StoreResult<Taken> {
        let turn = tokio::time::timeout_at(this.wish.give_up_at, self.at_gates.acquire());
        let Ok(_turn) = turn.await else {
            metrics::counter!("goodpon_gate_turned_away_total").increment(1);
            return Err(unavailable("too many wait for gates"));
        };
        let (gate, answers) = (GateId::of(event.template_id), this.numbers.refusals);
        server
            .take(gate, event, this.verdict, answers, this.now)
            .await
    }

    /// Does what is due where the gate is not open to this process.
    async fn closed(&self, this: &Try<'_>, closed: Closed) -> Attempted {
        let epoch = this.epoch;
        // What was read may be older than the gate.
        let ahead = closed.epoch.filter(|there| *there > epoch);
        if ahead.is_some() && this.is_first {
            self.gates.forget(this.wish.request.template_id);
            return Attempted::RetryNow;
        }
        let trouble = Trouble {
            epoch,
            // An older one there is as good as none: the process that was to bring this one has died on the way. So is
            // a greater one that the database does not know of: nobody will ever ask it.
            is_missing_there: closed.epoch != Some(epoch),
            ahead,
        };
        self.mend(this, trouble).await;
        Attempted::RetryLater("the gate is closed")
    }

    /// Answers as the first request with this key was answered.
    pub(super) async fn replay(
        &self,
        wish: &Wish<'_>,
        finished: Finished,
    ) -> StoreResult<Attempted> {
        let Some(idempotency) = wish.idempotency else {
            let reason = "a gate replayed the answer of a request without a key";
            return Err(StoreError::Unexpected(reason.into()));
        };
        let answer = self.answers.replay(finished, idempotency).await?;
        Ok(Attempted::Answered(Outcome::Replayed(answer)))
    }

    /// Why what this process accepts now would not become a coupon: its clock is wrong.
    fn clock_problem(&self, event: &IssueEvent, read: &Read) -> Option<String> {
        let (own, database) = (event.accepted_at, read.read_at);
        let is_near = self.records.is_near(own, database, gate::CLOCKS_APART);
        (!is_near).then(|| {
            format!("this process's clock says {own}, and the database's {database}: set it right")
        })
    }

    /// Answers what is sure while nothing can be published; places are not given out then.
    async fn answer_what_is_sure(
        &self,
        this: &Try<'_>,
        event: &IssueEvent,
        problem: String,
        server: &dyn GateServer,
    ) -> StoreResult<Attempted> {
        let (gate, user) = (GateId::of(event.template_id), Some(event.user_id.as_str()));
        let now = self.clock.now();
        let look = server
            .look(gate, event.epoch, user, event.keyed, now)
            .await?;
        match (look.key, look.gate) {
            (Some(KeyState::Replay(finished)), _) => return self.replay(this.wish, finished).await,
            (Some(KeyState::Mismatch), _) => {
                return Ok(Attempted::Answered(Outcome::PayloadMismatch));
            }
            (Some(KeyState::Unreadable), _) => return Err(unavailable(UNREADABLE)),
            // A fact, but it cannot be remembered as the answer to a key without a place at the gate.
            (None, Ok(counts)) if this.verdict.is_none() && event.keyed.is_none() => {
                if counts.user == Some(Holding::Coupon) {
                    return Ok(Attempted::refused(IssueRefusal::AlreadyIssued));
                }
                if counts.confirmed == counts.cap && counts.user.is_none() {
                    return Ok(Attempted::refused(IssueRefusal::SoldOut));
                }
            }
            _ => {}
        }
        Err(unavailable(problem))
    }
}

#[async_trait]
impl IssueGate for Partner {
    async fn issue(
        &self,
        request: IssueRequest,
        idempotency: Option<Idempotency<IssueOutcome>>,
    ) -> StoreResult<Outcome<IssueOutcome>> {
        let accepted_at = self.clock.now();
        let idempotency = idempotency.as_ref();
        let wish = Wish {
            request: &request,
            idempotency,
            keyed: idempotency.map(Idempotency::keyed),
            coupon_id: CouponId::new(accepted_at, self.random_u64()),
            accepted_at,
            give_up_at: Instant::now() + PATIENCE,
        };
        let (mut is_first, mut pause) = (true, FIRST_PAUSE);
        loop {
            let waits_for = match self.try_issue(&wish, is_first).await? {
                Attempted::Answered(outcome) => return Ok(outcome),
                Attempted::RetryNow => "the gate changes again and again",
                Attempted::RetryLater(why) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    why
                }
            };
            is_first = false;
            if Instant::now() >= wish.give_up_at {
                return Err(unavailable(waits_for));
            }
        }
    }

    async fn standing(
        &self,
        template: &Arc<Template>,
        user_id: Option<&str>,
    ) -> StoreResult<IssueStanding> {
        self.standings.of(template, user_id).await
    }

    async fn issue_counts(&self, templates: &[Arc<Template>]) -> StoreResult<Vec<i64>> {
        let ids: Vec<TemplateId> = templates.iter().map(|template| template.id).collect();
        self.standings.counts(&ids).await
    }

    async fn peek(
        &self,
        template: TemplateId,
        idempotency: &Idempotency<IssueOutcome>,
    ) -> StoreResult<Peek> {
        self.confirmer.flush(&[template]).await;
        let seen = self.gates.seen(template).await?;
        let gate = seen.read.as_ref().and_then(|read| read.gate.as_ref());
        let epoch = gate.map_or(Epoch::default(), |gate| gate.epoch);
        let (id, keyed) = (GateId::of(template), Some(idempotency.keyed()));
        let server = self.servers.bound()?;
        let look = server
            .look(id, epoch, None, keyed, self.clock.now())
            .await?;
        match look.key {
            Some(KeyState::Replay(finished)) => {
                let answer = self.answers.replay(finished, idempotency).await?;
                Ok(Peek::Finished(answer))
            }
            Some(KeyState::Mismatch) => Ok(Peek::PayloadMismatch),
            Some(KeyState::Unreadable) => Err(unavailable(UNREADABLE)),
            Some(KeyState::Pending) => Ok(Peek::Processing),
            // A gate that holds its keys says so; where none does, none can be missing.
            None if look.gate.is_ok() => Ok(Peek::Free),
            None => match gate.map(|gate| gate.state) {
                None | Some(GateState::Folded) => Ok(Peek::Free),
                _ => Err(unavailable("the gate is closed")),
            },
        }
    }
}
