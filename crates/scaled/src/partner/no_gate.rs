//! Answers requests about templates without a gate that holds places: it was never opened, or was folded after the sale.

use goodpon_application::{idempotency::Outcome, ports::StoreResult};
use goodpon_domain::{
    coupon::{self, IssueRefusal},
    gate::{GateId, KeyDigests, Taken},
};

use super::{
    Partner,
    gate_cache::TemplateAndGate,
    issue::{Attempt, Attempted, UNREADABLE, unavailable},
};
use crate::opening::NotOpen;

impl Partner {
    /// Answers a request whose template never had a gate, or does not exist.
    pub(super) async fn without_gate(&self, attempt: &Attempt<'_>) -> StoreResult<Attempted> {
        match (attempt.verdict, attempt.issue.keyed) {
            (Some(refusal), Some(keyed)) => {
                let answer = attempt.numbers.refusals.verdict;
                self.remember(attempt, refusal, keyed, answer).await
            }
            (Some(refusal), None) => Ok(Attempted::refused(refusal)),
            (None, _) => {
                self.drive_opening(attempt, NotOpen::in_database(attempt.epoch))
                    .await;
                Ok(Attempted::RetryLater("the gate is being opened"))
            }
        }
    }

    /// Answers a request whose template's sale is over from the written coupons. If they leave a place, the gate is opened
    /// again.
    pub(super) async fn after_sale(
        &self,
        attempt: &Attempt<'_>,
        read: &TemplateAndGate,
    ) -> StoreResult<Attempted> {
        let issue = attempt.issue;
        let (template, user_id) = (issue.request.template_id, &issue.request.user_id);
        let refusal = match attempt.verdict {
            Some(refusal) => Some(refusal),
            None => {
                let has_one = self.records.is_holder(template, user_id).await?;
                coupon::check_user_and_limit(&read.template, has_one, read.template.issue_count)
                    .err()
            }
        };
        match (refusal, issue.keyed) {
            (Some(refusal), Some(keyed)) => {
                let answers = &attempt.numbers.refusals;
                let answer = match (attempt.verdict, refusal) {
                    (Some(_), _) => answers.verdict,
                    (None, IssueRefusal::AlreadyIssued) => answers.already_issued,
                    (None, _) => answers.sold_out,
                };
                self.remember(attempt, refusal, keyed, answer).await
            }
            (Some(refusal), None) => Ok(Attempted::refused(refusal)),
            (None, _) => {
                self.drive_opening(attempt, NotOpen::in_database(attempt.epoch))
                    .await;
                Ok(Attempted::RetryLater("the gate is being opened again"))
            }
        }
    }

    /// Remembers the refusal of a request with a key while no gate holds places.
    async fn remember(
        &self,
        attempt: &Attempt<'_>,
        refusal: IssueRefusal,
        keyed: KeyDigests,
        answer: Option<u32>,
    ) -> StoreResult<Attempted> {
        let gate = GateId::of(attempt.issue.request.template_id);
        let server = self.servers.bound()?;
        let taken = server
            .remember(gate, attempt.epoch, keyed, refusal, answer, attempt.now)
            .await?;
        match taken {
            Taken::Replay(finished) => self.replay(attempt.issue, finished).await,
            Taken::Mismatch => Ok(Attempted::Answered(Outcome::PayloadMismatch)),
            Taken::Unreadable => Err(unavailable(UNREADABLE)),
            Taken::Closed(_) if attempt.is_first => {
                self.gates.forget(gate.template);
                Ok(Attempted::RetryNow)
            }
            Taken::Closed(closed) => {
                // The server has an epoch that the database, read again, does not know: the database was restored from
                // an older copy.
                let found = NotOpen {
                    epoch: attempt.epoch,
                    is_missing_there: true,
                    ahead: closed.epoch,
                };
                self.drive_opening(attempt, found).await;
                Ok(Attempted::RetryLater("the gate is closed"))
            }
            _ => Ok(Attempted::refused(refusal)),
        }
    }
}
