//! Requests about templates of which no gate holds places: it was never opened, or was folded after the sale.

use goodpon_application::{idempotency::Outcome, ports::StoreResult};
use goodpon_domain::{
    coupon::{self, IssueRefusal},
    gate::{GateId, Keyed, Taken},
};

use super::{
    Partner,
    gate_cache::Read,
    issue::{Attempted, Try, UNREADABLE, unavailable},
};
use crate::opening::Trouble;

impl Partner {
    /// Answers where the template never had a gate, or does not exist.
    pub(super) async fn without_gate(&self, this: &Try<'_>) -> StoreResult<Attempted> {
        match (this.verdict, this.wish.keyed) {
            (Some(refusal), Some(keyed)) => {
                let answer = this.numbers.refusals.verdict;
                self.remember(this, refusal, keyed, answer).await
            }
            (Some(refusal), None) => Ok(Attempted::refused(refusal)),
            (None, _) => {
                self.mend(this, Trouble::known(this.epoch)).await;
                Ok(Attempted::RetryLater("the gate is being opened"))
            }
        }
    }

    /// Answers of a sale that is over: the coupons know everything, and where they leave a place a new gate is opened.
    pub(super) async fn after_sale(&self, this: &Try<'_>, read: &Read) -> StoreResult<Attempted> {
        let wish = this.wish;
        let (template, user_id) = (wish.request.template_id, &wish.request.user_id);
        let refusal = match this.verdict {
            Some(refusal) => Some(refusal),
            None => {
                let has_one = self.records.is_holder(template, user_id).await?;
                coupon::take_place(&read.template, has_one, read.template.issue_count).err()
            }
        };
        match (refusal, wish.keyed) {
            (Some(refusal), Some(keyed)) => {
                let answer = match (this.verdict, refusal) {
                    (Some(_), _) => this.numbers.refusals.verdict,
                    (None, IssueRefusal::AlreadyIssued) => this.numbers.refusals.already_issued,
                    (None, _) => this.numbers.refusals.sold_out,
                };
                self.remember(this, refusal, keyed, answer).await
            }
            (Some(refusal), None) => Ok(Attempted::refused(refusal)),
            (None, _) => {
                self.mend(this, Trouble::known(this.epoch)).await;
                Ok(Attempted::RetryLater("the gate is being opened again"))
            }
        }
    }

    /// Remembers the refusal of a request with a key where no gate holds places.
    async fn remember(
        &self,
        this: &Try<'_>,
        refusal: IssueRefusal,
        keyed: Keyed,
        answer: Option<u32>,
    ) -> StoreResult<Attempted> {
        let gate = GateId::of(this.wish.request.template_id);
        let server = self.servers.bound()?;
        let taken = server
            .remember(gate, this.epoch, keyed, refusal, answer, this.now)
            .await?;
        match taken {
            Taken::Replay(finished) => self.replay(this.wish, finished).await,
            Taken::Mismatch => Ok(Attempted::Answered(Outcome::PayloadMismatch)),
            Taken::Unreadable => Err(unavailable(UNREADABLE)),
            Taken::Closed(_) if this.is_first => {
                self.gates.forget(gate.template);
                Ok(Attempted::RetryNow)
            }
            Taken::Closed(closed) => {
                // There is a gate that the database still does not know of: it was set back.
                let trouble = Trouble {
                    epoch: this.epoch,
                    is_missing_there: true,
                    ahead: closed.epoch,
                };
                self.mend(this, trouble).await;
                Ok(Attempted::RetryLater("the gate is closed"))
            }
            _ => Ok(Attempted::refused(refusal)),
        }
    }
}
