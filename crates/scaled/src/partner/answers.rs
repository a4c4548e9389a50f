//! The texts of answers. A key's second request gets the text of the first to the byte, even if a later version words it
//! differently. The database stores the texts, and a remembered answer refers to its text by number.

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
use goodpon_mysql::MAX_ISSUE_ANSWER_BYTES;
use jiff::Timestamp;

use crate::ports::GateRecords;

/// The largest number of texts that are remembered; one version has seven. For more the database is asked each time.
const MAX_REMEMBERED: usize = 1_000;

/// The texts of answers and their numbers, as far as this process knows them.
pub(crate) struct Answers {
    records: Arc<dyn GateRecords>,
    known: RwLock<KnownTexts>,
}

#[derive(Default)]
struct KnownTexts {
    /// The numbers by text: of refusals, and of successes.
    numbers: [HashMap<Answer, u32>; 2],
    answers: HashMap<u32, Answer>,
}

/// The numbers of the texts that a request may be answered with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AnswerNumbers {
    pub(crate) success: Option<u32>,
    pub(crate) refusals: RefusalAnswers,
}

/// The numbers of the texts of successes, each with the time since which it was used, the earliest first.
pub(crate) struct Successes(Vec<(Timestamp, u32)>);

impl Successes {
    /// Returns the number of the text for a success that was accepted at this time; `None` if no text was ever stored.
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

    /// Returns the numbers of the texts that a request with a key may be answered with. `verdict` is the template's
    /// refusal, if it refuses.
    pub(crate) async fn numbers(
        &self,
        idempotency: Option<&Idempotency<IssueOutcome>>,
        verdict: Option<IssueRefusal>,
        issued: Issued,
    ) -> StoreResult<AnswerNumbers> {
        let Some(idempotency) = idempotency else {
            return Ok(AnswerNumbers::default());
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
            return Ok(AnswerNumbers {
                success: None,
                refusals,
            });
        }
        Ok(AnswerNumbers {
            success: number(Ok(issued)).await?,
            refusals: RefusalAnswers {
                verdict: None,
                already_issued: number(Err(IssueRefusal::AlreadyIssued)).await?,
                sold_out: number(Err(IssueRefusal::SoldOut)).await?,
            },
        })
    }

    /// Returns the number of a text, and stores it if it is new; `None` if it is too long to be stored.
    async fn number(&self, answer: Answer, is_success: bool) -> StoreResult<Option<u32>> {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(number) = known.numbers[usize::from(is_success)].get(&answer) {
                return Ok(Some(*number));
            }
        }
        if answer.body.len() > MAX_ISSUE_ANSWER_BYTES {
            return Ok(None);
        }
        let number = self.records.keep_issue_answer(&answer, is_success).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let numbers = &mut known.numbers[usize::from(is_success)];
        if numbers.len() < MAX_REMEMBERED {
            numbers.insert(answer, number);
        }
        Ok(Some(number))
    }

    /// Returns the text that a request with the same key was answered with. If it is not known, as for an answer that the
    /// previous version remembered, the text is written anew.
    pub(crate) async fn replay(
        &self,
        finished: Finished,
        idempotency: &Idempotency<IssueOutcome>,
    ) -> StoreResult<Answer> {
        let text = match finished.answer {
            Some(number) => self.text(number).await?,
            None => None,
        };
        Ok(text.unwrap_or_else(|| (idempotency.render)(&finished.outcome)))
    }

    /// Returns the text with this number.
    async fn text(&self, number: u32) -> StoreResult<Option<Answer>> {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(answer) = known.answers.get(&number) {
                return Ok(Some(answer.clone()));
            }
        }
        let found = self.records.issue_answer(number).await?;
        if let Some(answer) = &found {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.answers.len() < MAX_REMEMBERED {
                known.answers.insert(number, answer.clone());
            }
        }
        Ok(found)
    }

    /// Reads the texts that successes have had until now.
    pub(crate) async fn successes(&self) -> StoreResult<Successes> {
        self.records.success_answers().await.map(Successes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_success_is_answered_with_the_text_of_its_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let none = Successes(Vec::new());
        assert_eq!(none.at(at(5)), None);
        let two = Successes(vec![(at(10), 1), (at(20), 7)]);
        let found = [5, 10, 19, 20, 99].map(|second| two.at(at(second)));
        assert_eq!(found, [Some(1), Some(1), Some(1), Some(7), Some(7)]);
    }
}
