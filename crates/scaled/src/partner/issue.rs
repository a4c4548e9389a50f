//! The way of an issue request (P1 to P6): it gets a place at the gate, its event is appended to the log in time to count,
//! and only then a success is answered.

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
        KeyDigests, KeyState, Taken,
    },
    id::{CouponId, TemplateId},
    template::{Owned, Template},
};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    Partner,
    answers::AnswerNumbers,
    gate_cache::{Seen, TemplateAndGate},
};
use crate::{opening::NotOpen, ports::GateServer};

/// The time for which a request waits for a gate that is closed or whose last places are not yet confirmed.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The pause before the second attempt; it doubles with each further attempt, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// A request that is being answered: the values that are the same in each attempt.
pub(super) struct IssueInProgress<'a> {
    pub(super) request: &'a IssueRequest,
    idempotency: Option<&'a Idempotency<IssueOutcome>>,
    pub(super) keyed: Option<KeyDigests>,
    coupon_id: CouponId,
    accepted_at: Timestamp,
    give_up_at: Instant,
}

impl IssueInProgress<'_> {
    /// Returns its success.
    fn issued(&self) -> Issued {
        Issued {
            coupon_id: Some(self.coupon_id),
        }
    }
}

/// One attempt to answer a request, over the template and gate as they were read.
pub(super) struct Attempt<'a> {
    pub(super) issue: &'a IssueInProgress<'a>,
    pub(super) is_first: bool,
    pub(super) epoch: Epoch,
    /// The template's refusal, if it refuses.
    pub(super) verdict: Option<IssueRefusal>,
    /// The numbers of the texts of the possible answers, if the request has a key.
    pub(super) numbers: AnswerNumbers,
    pub(super) now: Timestamp,
}

/// The result of an attempt.
pub(super) enum Attempted {
    /// The request has its answer.
    Answered(Outcome<IssueOutcome>),
    /// The next attempt may follow at once.
    RetryNow,
    /// The next attempt follows after a pause, for this reason.
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

/// The reason for a retry if the gate's answer has a form that only a newer program, beside this one, can read.
pub(super) const UNREADABLE: &str = "a newer goodpon wrote what this one cannot read";

/// Returns the template's refusal, if it refuses.
fn verdict(seen: &Seen, request: &IssueRequest, now: Timestamp) -> Option<IssueRefusal> {
    let owned = match &seen.read {
        None => Owned::Absent,
        Some(read) if read.template.merchant_id != request.merchant_id => Owned::Foreign,
        Some(read) => Owned::Mine(&*read.template),
    };
    coupon::check_template(owned, now).err()
}

impl Partner {
    async fn try_issue(
        &self,
        issue: &IssueInProgress<'_>,
        is_first: bool,
    ) -> StoreResult<Attempted> {
        let seen = self.gates.seen(issue.request.template_id).await?;
        let now = self.clock.now();
        let verdict = verdict(&seen, issue.request, now);
        if let (Some(refusal), None) = (verdict, issue.keyed) {
            return Ok(Attempted::refused(refusal));
        }
        let gate = seen.read.as_ref().and_then(|read| read.gate.as_ref());
        let attempt = Attempt {
            issue,
            is_first,
            epoch: gate.map_or(Epoch::default(), |gate| gate.epoch),
            verdict,
            numbers: self
                .answers
                .numbers(issue.idempotency, verdict, issue.issued())
                .await?,
            now,
        };
        match (gate.map(|gate| gate.state), &seen.read) {
            (Some(GateState::Open), Some(read)) => self.at_gate(&attempt, read, seen.asked).await,
            // The server may have the answer of the key, which does not need an open gate. It is asked once.
            (Some(GateState::Sealing), Some(read)) if issue.keyed.is_some() && is_first => {
                self.at_gate(&attempt, read, seen.asked).await
            }
            (Some(GateState::Sealing), _) => {
                self.drive_opening(&attempt, NotOpen::in_database(attempt.epoch))
                    .await;
                Ok(Attempted::RetryLater("the gate is being moved"))
            }
            (Some(GateState::Folded), Some(read)) => self.after_sale(&attempt, read).await,
            _ => self.without_gate(&attempt).await,
        }
    }

    /// Does the step that is due at the gate, or waits for the task that does it, until the request's time is over.
    pub(super) async fn drive_opening(&self, attempt: &Attempt<'_>, found: NotOpen) {
        let issue = attempt.issue;
        let drive = self.openings.drive(issue.request.template_id, found);
        let _ = tokio::time::timeout_at(issue.give_up_at, drive).await;
    }

    /// Asks the gate, and publishes the event if there is a place.
    async fn at_gate(
        &self,
        attempt: &Attempt<'_>,
        read: &TemplateAndGate,
        asked: Instant,
    ) -> StoreResult<Attempted> {
        let issue = attempt.issue;
        let event = IssueEvent {
            coupon_id: issue.coupon_id,
            template_id: issue.request.template_id,
            epoch: attempt.epoch,
            user_id: issue.request.user_id.clone(),
            accepted_at: issue.accepted_at,
            keyed: issue.keyed,
            valid_until: gate::valid_until(read.read_at),
        };
        let server = self.servers.bound()?;
        let problem = self.publishing.problem();
        if let Some(problem) = problem.or_else(|| self.clock_problem(&event, read)) {
            return self
                .answer_without_publishing(attempt, &event, problem, &*server)
                .await;
        }
        match self.take(attempt, &event, &*server).await? {
            Taken::Replay(finished) => self.replay(issue, finished).await,
            Taken::Mismatch => Ok(Attempted::Answered(Outcome::PayloadMismatch)),
            Taken::Unreadable => Ok(Attempted::RetryLater(UNREADABLE)),
            Taken::Refused(refusal) => Ok(Attempted::refused(refusal)),
            Taken::AlreadyIssued => Ok(Attempted::refused(IssueRefusal::AlreadyIssued)),
            Taken::SoldOut => Ok(Attempted::refused(IssueRefusal::SoldOut)),
            Taken::Wait => Ok(Attempted::RetryLater("the last places are not yet sure")),
            Taken::Reserved { .. } => {
                self.publishing.publish(&event, asked).await?;
                let answer = attempt.numbers.success;
                self.confirmer.confirm(Confirmation { event, answer });
                Ok(Attempted::ran(Ok(issue.issued())))
            }
            Taken::Help(pending) => {
                metrics::counter!("goodpon_gate_helps_total", "by" => "partner").increment(1);
                self.publishing.publish(&pending, asked).await?;
                self.confirm_helped(vec![pending]).await?;
                Ok(Attempted::RetryNow)
            }
            Taken::Closed(closed) => Ok(self.handle_closed(attempt, closed).await),
        }
    }

    /// Asks the gate for a place, after waiting for one of the process's permits to do so.
    async fn take(
        &self,
        attempt: &Attempt<'_>,
        event: &IssueEvent,
        server: &dyn GateServer,
    ) -> StoreResult<Taken> {
        let permit = tokio::time::timeout_at(attempt.issue.give_up_at, self.at_gates.acquire());
        let Ok(_permit) = permit.await else {
            metrics::counter!("goodpon_gate_turned_away_total").increment(1);
            return Err(unavailable("too many wait for gates"));
        };
        let (gate, answers) = (GateId::of(event.template_id), attempt.numbers.refusals);
        server
            .take(gate, event, attempt.verdict, answers, attempt.now)
            .await
    }

    /// Reads the gate again, or drives its opening on, if it is not open to this process.
    async fn handle_closed(&self, attempt: &Attempt<'_>, closed: Closed) -> Attempted {
        let epoch = attempt.epoch;
        let ahead = closed.epoch.filter(|there| *there > epoch);
        // The server's epoch may be newer than the cached one.
        if ahead.is_some() && attempt.is_first {
            self.gates.forget(attempt.issue.request.template_id);
            return Attempted::RetryNow;
        }
        let found = NotOpen {
            epoch,
            // The epoch is missing even if the server has another one. If that is older, the process that was to bring
            // the epoch has died on the way. If it is newer, the database does not know it, and no process asks it.
            is_missing_there: closed.epoch != Some(epoch),
            ahead,
        };
        self.drive_opening(attempt, found).await;
        Attempted::RetryLater("the gate is closed")
    }

    /// Answers like the first request with this key.
    pub(super) async fn replay(
        &self,
        issue: &IssueInProgress<'_>,
        finished: Finished,
    ) -> StoreResult<Attempted> {
        let Some(idempotency) = issue.idempotency else {
            return Ok(Attempted::ran(finished.outcome));
        };
        let answer = self.answers.replay(finished, idempotency).await?;
        Ok(Attempted::Answered(Outcome::Replayed(answer)))
    }

    /// Returns a problem if this process's clock is so wrong that issuers would park the event.
    fn clock_problem(&self, event: &IssueEvent, read: &TemplateAndGate) -> Option<String> {
        let (own, database) = (event.accepted_at, read.read_at);
        let is_near = self
            .records
            .is_near(own, database, gate::MAX_CLOCK_DIFFERENCE);
        (!is_near).then(|| {
            format!("this process's clock says {own}, and the database's {database}: set it right")
        })
    }

    /// Answers from the gate's state while nothing can be published, if that is certain; no place is given then.
    async fn answer_without_publishing(
        &self,
        attempt: &Attempt<'_>,
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
            (Some(KeyState::Replay(finished)), _) => {
                return self.replay(attempt.issue, finished).await;
            }
            (Some(KeyState::Mismatch), _) => {
                return Ok(Attempted::Answered(Outcome::PayloadMismatch));
            }
            (Some(KeyState::Unreadable), _) => return Err(unavailable(UNREADABLE)),
            // With a key the refusal would have to be remembered, which a look does not do.
            (None, Ok(counts)) if attempt.verdict.is_none() && event.keyed.is_none() => {
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
        let issue = IssueInProgress {
            request: &request,
            idempotency,
            keyed: idempotency.map(Idempotency::keyed),
            coupon_id: CouponId::new(accepted_at, self.random_u64()),
            accepted_at,
            give_up_at: Instant::now() + MAX_WAIT,
        };
        let (mut is_first, mut pause) = (true, FIRST_PAUSE);
        loop {
            let reason = match self.try_issue(&issue, is_first).await? {
                Attempted::Answered(outcome) => return Ok(outcome),
                Attempted::RetryNow => "the gate changes again and again",
                Attempted::RetryLater(reason) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    reason
                }
            };
            is_first = false;
            if Instant::now() >= issue.give_up_at {
                return Err(unavailable(reason));
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
            // An open gate knows all its pending keys. Without a gate that holds places, no key is pending.
            None if look.gate.is_ok() => Ok(Peek::Free),
            None => match gate.map(|gate| gate.state) {
                None | Some(GateState::Folded) => Ok(Peek::Free),
                _ => Err(unavailable("the gate is closed")),
            },
        }
    }
}
