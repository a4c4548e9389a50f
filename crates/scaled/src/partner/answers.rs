//! The answers of issues, to the byte: a key's second request gets what its first did, whatever words a later version
//! has for it. The database keeps the texts, and what is remembered of a key names one by its number.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use goodpon_application::{
    idempotency::{Answer, Idempotency},
    ports::{IssueOutcome, StoreResult},
};
use goodpon_domain::{
    coupon::{IssueRefusal, Issued},
    gate::{Finished, RefusalAnswers},
};
use goodpon_mysql::LONGEST_ISSUE_ANSWER;
use jiff::Timestamp;

use crate::ports::GateRecords;

/// Texts that are remembered; a version has seven. Beyond that the database is asked each time.
const REMEMBERED: usize = 1_000;

/// The texts that this process has met.
pub(crate) struct Answers {
    records: Arc<dyn GateRecords>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    /// By whether it is a success's.
    numbers: [HashMap<Answer, u32>; 2],
    answers: HashMap<u32, Answer>,
}

/// The numbers of what a request may be answered with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Numbers {
    pub(crate) success: Option<u32>,
    pub(crate) refusals: RefusalAnswers,
}

/// What successes were answered with over time.
pub(crate) struct Successes(Vec<(Timestamp, u32)>);

impl Successes {
    /// What one that was accepted then is answered with; `None` if none was ever answered with a text that is kept.
    pub(crate) fn at(&self, accepted_at: Timestamp) -> Option<u32> {
        let before = self.0.iter().rev().find(|(since, _)| *since <= accepted_at);
        before.or(self.0.first()).map(|(_, number)| *number)
    }
}

impl Answers {
    pub(crate) fn new(records: Arc<dyn GateRecords>) -> Self {
        Self {
            records,
            known: RwLock::default(),
        }
    }

    /// The numbers of all that a request with a key may be answered with. `verdict` is the template's refusal, if it
    /// refuses.
    pub(crate) async fn numbers(
        &self,
        idempotency: Option<&Idempotency<IssueOutcome>>,
        verdict: Option<IssueRefusal>,
        issued: Issued,
    ) -> StoreResult<Numbers> {
        let Some(idempotency) = idempotency else {
            return Ok(Numbers::default());
        };
        let number = async |outcome: IssueOutcome| {
            self.number((idempotency.render)(&outcome), outcome.is_ok())
                .await
        };
        if let Some(verdict) = verdict {
            let refusals = RefusalAnswers {
                verdict: number(Err(verdict)).await?,
                ..RefusalAnswers::default()
            };
            return Ok(Numbers {
                success: None,
                refusals,
            });
        }
        Ok(Numbers {
            success: number(Ok(issued)).await?,
            refusals: RefusalAnswers {
                verdict: None,
                already_issued: number(Err(IssueRefusal::AlreadyIssued)).await?,
                sold_out: number(Err(IssueRefusal::SoldOut)).await?,
            },
        })
    }

    /// The number of a text; `None` where it is too long to be kept.
    async fn number(&self, answer: Answer, is_success: bool) -> StoreResult<Option<u32>> {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(number) = known.numbers[usize::from(is_success)].get(&answer) {
                return Ok(Some(*number));
            }
        }
        if answer.body.len() > LONGEST_ISSUE_ANSWER {
            return Ok(None);
        }
        let number = self.records.keep_issue_answer(&answer, is_success).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let numbers = &mut known.numbers[usize::from(is_success)];
        if numbers.len() < REMEMBERED {
            numbers.insert(answer, number);
        }
        Ok(Some(number))
    }

    /// What was answered. Where that is not known, as of what the version before stored, it is written anew.
    pub(crate) async fn replay(
        &self,
        finished: Finished,
        idempotency: &Idempotency<IssueOutcome>,
    ) -> StoreResult<Answer> {
        let kept = match finished.answer {
            Some(number) => self.kept(number).await?,
            None => None,
        };
        Ok(kept.unwrap_or_else(|| (idempotency.render)(&finished.outcome)))
    }

    async fn kept(&self, number: u32) -> StoreResult<Option<Answer>> {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(answer) = known.answers.get(&number) {
                return Ok(Some(answer.clone()));
            }
        }
        let found = self.records.issue_answer(number).await?;
        if let Some(answer) = &found {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.answers.len() < REMEMBERED {
                known.answers.insert(number, answer.clone());
            }
        }
        Ok(found)
    }

    /// What successes were answered with until now.
    pub(crate) async fn successes(&self) -> StoreResult<Successes> {
        self.records.success_answers().await.map(Successes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_success_is_answered_with_the_words_of_its_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let none = Successes(Vec::new());
        assert_eq!(none.at(at(5)), None);
        let two = Successes(vec![(at(10), 1), (at(20), 7)]);
        let found = [5, 10, 19, 20, 99].map(|second| two.at(at(second)));
        assert_eq!(found, [Some(1), Some(1), Some(1), Some(7), Some(7)]);
    }
}
