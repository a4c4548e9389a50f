//! Requests under keys, and the words in which their answers are compared.

use std::sync::Arc;

use goodpon_application::idempotency::{Answer, Idempotency, Outcome};
use goodpon_domain::id::CouponId;

use super::plain::{Answered, Wish};
use super::readers::key;
use crate::{
    idempotency::{Answers, once},
    late::holder::Holder,
    write::tx::Tx,
};

pub(super) const NO_COUPON: [u8; 16] = [7; 16];

/// The holder's coupon as the transaction sees it.
pub(super) fn id_of(tx: &Tx<'_>, holder: &Holder) -> rusqlite::Result<CouponId> {
    let id = tx.memory.holders.find(tx.connection, holder)?;
    Ok(CouponId::from_bytes(id.unwrap_or(NO_COUPON)))
}

pub(super) type Word = Result<String, String>;
pub(super) type Effect =
    Box<dyn FnMut(&mut Tx<'_>) -> rusqlite::Result<(Word, Option<CouponId>)> + Send>;

pub(super) fn said(is_success: bool, success: &str) -> Word {
    match is_success {
        true => Ok(success.into()),
        false => Err("refused".into()),
    }
}

pub(super) fn word(outcome: Word) -> String {
    outcome.unwrap_or_else(|refusal| refusal)
}

/// Runs a wish under a key.
pub(super) fn keyed(
    tx: &mut Tx<'_>,
    number: u8,
    body: u8,
    wish: &Wish,
    effect: &mut Effect,
) -> rusqlite::Result<(Answered, Option<CouponId>)> {
    let idempotency = Idempotency {
        key: key(number),
        body: [body; 16],
        render: Arc::new(|outcome: &Word| Answer {
            status: 200,
            body: word(outcome.clone()).into(),
        }),
    };
    let answers = match wish {
        Wish::Issue(_) => Answers::Common,
        _ => Answers::Own,
    };
    let mut issued = None;
    let outcome = once(tx, Some(&idempotency), answers, |tx| {
        let (outcome, id) = effect(tx)?;
        issued = id;
        Ok(outcome)
    })?;
    let answered = match outcome {
        Outcome::Ran(outcome) => Answered::Ran(word(outcome)),
        Outcome::Replayed(answer) => {
            Answered::Replayed(String::from_utf8(answer.body.to_vec()).unwrap())
        }
        Outcome::PayloadMismatch => Answered::PayloadMismatch,
        Outcome::Processing => unreachable!("one request at a time runs"),
    };
    Ok((answered, issued))
}
