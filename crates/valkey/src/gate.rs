//! Gives places, confirms them, and remembers answers.

use goodpon_application::ports::StoreResult;
use goodpon_domain::{
    coupon::{IssueRefusal, Issued},
    gate::{
        Closed, Confirmation, Epoch, Finished, GateId, IssueEvent, KeyDigests, RefusalAnswers,
        Taken,
    },
};
use jiff::Timestamp;

use crate::{
    Bound,
    codec::{self, corrupt, user_digest},
    names::{self, GateKeys},
    script::{Reply, Script},
};

static GATE: Script = Script::new(concat!(
    "#!lua\n",
    include_str!("server.lua"),
    include_str!("answer.lua"),
    include_str!("gate.lua")
));

static CONFIRM: Script = Script::new(concat!(
    "#!lua flags=allow-oom\n",
    include_str!("server.lua"),
    include_str!("answer.lua"),
    include_str!("confirm.lua")
));

static VERDICT: Script = Script::new(concat!(
    "#!lua\n",
    include_str!("answer.lua"),
    include_str!("verdict.lua")
));

impl Bound {
    /// Asks for a place. If there is one, the caller publishes `event`, which has a fresh coupon id (the same if a lost
    /// reply makes the caller ask again). `verdict` is the template's refusal, if it refuses; `answers` are remembered with
    /// refusals; `now` is the caller's clock. An event that is to be helped gets the `valid_until` of `event`.
    ///
    /// # Errors
    ///
    /// Unavailable. The call may be repeated in any case.
    pub async fn take(
        &self,
        gate: GateId,
        event: &IssueEvent,
        verdict: Option<IssueRefusal>,
        answers: RefusalAnswers,
        now: Timestamp,
    ) -> StoreResult<Taken> {
        let names = GateKeys::new(&self.shared().installation, gate);
        let mut keys = Vec::with_capacity(7);
        keys.push(names.gate());
        keys.extend(['u', 'p', 'z', 'q'].map(|letter| names.of_epoch(letter, event.epoch)));
        keys.push(names::busy(&self.shared().installation).into_bytes());
        keys.extend(event.keyed.map(|keyed| names.answer(keyed.key)));
        let letter = verdict.map(codec::refusal_letter);
        let mut call = GATE
            .call(&keys)
            .arg(self.server())
            .arg(event.epoch.0)
            .arg(&user_digest(&event.user_id)[..])
            .arg(codec::event(event))
            .arg(now.as_microsecond())
            .arg(i32::from(self.is_short_of_memory()))
            .arg(letter.as_slice())
            .arg(names::busy_member(gate, event.epoch));
        if let Some(keyed) = event.keyed {
            call = call.arg(&keyed.key[..]).arg(&keyed.body[..]);
            for answer in [answers.verdict, answers.already_issued, answers.sold_out] {
                call = call.arg(codec::number(answer));
            }
        }
        let mut reply = self.run(call).await?;
        Ok(match (reply.letter()?, verdict) {
            (b'Y', _) => Taken::Replay(finished(&mut reply)?),
            (b'M', _) => Taken::Mismatch,
            (b'V', _) => Taken::Unreadable,
            (b'C', _) => Taken::Closed(self.closed(gate, &mut reply)?),
            (b'R', _) => Taken::Reserved {
                spent: reply.integer()?,
            },
            (b'H', _) => {
                let bytes = reply.bytes()?;
                let until = event.valid_until;
                codec::read_event(&bytes, gate.template, event.epoch, until)
                    .map_or(Taken::Unreadable, Taken::Help)
            }
            (b'N', Some(refusal)) => Taken::Refused(refusal),
            (b'A', _) => Taken::AlreadyIssued,
            (b'S', _) => Taken::SoldOut,
            (b'W', _) => Taken::Wait,
            _ => return Err(corrupt("an unknown answer of the gate")),
        })
    }

    /// Confirms the reservations of `epoch` whose published events count. Returns for each event whether its reservation
    /// was there to be confirmed; at a gate that is closed to the caller none was.
    ///
    /// # Errors
    ///
    /// Unavailable. The call may be repeated in any case.
    pub async fn confirm(
        &self,
        gate: GateId,
        epoch: Epoch,
        events: &[Confirmation],
        now: Timestamp,
    ) -> StoreResult<Vec<bool>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let names = GateKeys::new(&self.shared().installation, gate);
        let mut keys = vec![names.gate()];
        keys.extend(['u', 'p', 'z', 'q'].map(|letter| names.of_epoch(letter, epoch)));
        // The index in KEYS of each event's `k`, which the script counts from 1; 0 for an event without a key.
        let mut indexes = Vec::with_capacity(events.len());
        for Confirmation { event, .. } in events {
            keys.extend(event.keyed.map(|keyed| names.answer(keyed.key)));
            indexes.push(event.keyed.map_or(0, |_| keys.len()));
        }
        let mut call = CONFIRM
            .call(&keys)
            .arg(self.server())
            .arg(epoch.0)
            .arg(now.as_microsecond());
        for (Confirmation { event, answer }, index) in events.iter().zip(indexes) {
            call = call
                .arg(&user_digest(&event.user_id)[..])
                .arg(&event.coupon_id.to_bytes()[..])
                .arg(index)
                .arg(codec::number(*answer));
        }
        let mut reply = self.run(call).await?;
        if reply.letter()? == b'C' {
            self.closed(gate, &mut reply)?;
            return Ok(vec![false; events.len()]);
        }
        events.iter().map(|_| Ok(reply.integer()? == 1)).collect()
    }

    /// Remembers a refusal by the template, with `answer`, while no gate holds places: `epoch` is 0 or was folded. Returns
    /// [`Taken::Closed`] if a gate was opened meanwhile, which the caller then has to ask.
    ///
    /// # Errors
    ///
    /// Unavailable. The call may be repeated in any case.
    pub async fn remember(
        &self,
        gate: GateId,
        epoch: Epoch,
        keyed: KeyDigests,
        verdict: IssueRefusal,
        answer: Option<u32>,
        now: Timestamp,
    ) -> StoreResult<Taken> {
        let names = GateKeys::new(&self.shared().installation, gate);
        let call = VERDICT
            .call(&[names.gate(), names.answer(keyed.key)])
            .arg(epoch.0)
            .arg(now.as_microsecond())
            .arg(&[codec::refusal_letter(verdict)][..])
            .arg(&keyed.body[..])
            .arg(codec::number(answer));
        let mut reply = self.run(call).await?;
        Ok(match reply.letter()? {
            b'Y' => Taken::Replay(finished(&mut reply)?),
            b'M' => Taken::Mismatch,
            b'V' => Taken::Unreadable,
            b'C' => Taken::Closed(self.closed(gate, &mut reply)?),
            b'N' => Taken::Refused(verdict),
            _ => return Err(corrupt("an unknown answer to a verdict")),
        })
    }

    /// Reads the rest of a reply that the gate is closed, and logs the reason if it is unusual. Gives the pair up if the
    /// script found that the server has another identity.
    pub(crate) fn closed(&self, gate: GateId, reply: &mut Reply) -> StoreResult<Closed> {
        let epoch = reply.decimal()?.map(Epoch);
        match reply.integer()? {
            1 => self.give_up("a script found it to be another server than it was"),
            2 => tracing::error!(
                template = %gate.template,
                "Valkey has thrown away a part of this template's gate: the rest of it went too, and it is opened anew"
            ),
            3 => tracing::warn!(
                template = %gate.template,
                "this template's gate is laid out in a way that this version does not know: a newer one serves it"
            ),
            _ => {}
        }
        Ok(Closed { epoch })
    }
}

/// Reads the rest of a reply that the key has its answer.
pub(crate) fn finished(reply: &mut Reply) -> StoreResult<Finished> {
    let outcome = codec::outcome(reply.letter()?)?;
    let answer = reply.decimal()?;
    let answer = answer.map(|answer| u32::try_from(answer).map_err(|_| corrupt("an answer")));
    let coupon_id = codec::coupon_id(&reply.bytes()?)?;
    Ok(Finished {
        outcome: outcome.map(|()| Issued { coupon_id }),
        answer: answer.transpose()?,
    })
}
