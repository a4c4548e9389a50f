//! Translates the reference's answers into those of the scripts, each with the name of its kind.

use goodpon_domain::gate::{
    Closed, Counts, FoldResult, Holding, InstallResult, IssueEvent, KeyState, Look, Taken,
};
use goodpon_gate_model::gate as model;

use crate::scene::{GATE, finished};

/// Translates an answer to the request for `event`. An event to be helped has the `valid_until` of `event`.
pub fn taken(taken: model::Taken, event: &IssueEvent) -> (&'static str, Taken) {
    match taken {
        model::Taken::Replay(outcome) => ("Replay", Taken::Replay(finished(outcome))),
        model::Taken::Mismatch => ("Mismatch", Taken::Mismatch),
        model::Taken::Closed { epoch } => ("Closed", Taken::Closed(Closed { epoch })),
        model::Taken::Reserved { spent } => ("Reserved", Taken::Reserved { spent }),
        model::Taken::Help(pending) => {
            let event = pending.event(GATE.template, event.epoch, event.valid_until);
            ("Help", Taken::Help(event))
        }
        model::Taken::Refused(refusal) => ("Refused", Taken::Refused(refusal)),
        model::Taken::AlreadyIssued => ("AlreadyIssued", Taken::AlreadyIssued),
        model::Taken::SoldOut => ("SoldOut", Taken::SoldOut),
        model::Taken::Wait => ("Wait", Taken::Wait),
    }
}

pub fn installation(installation: model::InstallResult) -> (&'static str, InstallResult) {
    match installation {
        model::InstallResult::Done => ("Done", InstallResult::Done),
        model::InstallResult::WrongServer => ("WrongServer", InstallResult::WrongServer),
        model::InstallResult::NotOlder(epoch) => ("NotOlder", InstallResult::NotOlder(epoch)),
        model::InstallResult::CountDiffers(count) => {
            let count = count.map(|count| i64::try_from(count).unwrap());
            ("CountDiffers", InstallResult::CountDiffers(count))
        }
    }
}

pub fn folding(folding: model::FoldResult) -> (&'static str, FoldResult) {
    match folding {
        model::FoldResult::Done => ("Done", FoldResult::Done),
        model::FoldResult::StillPending => ("StillPending", FoldResult::StillPending),
        model::FoldResult::NotThere(epoch) => ("NotThere", FoldResult::NotThere(epoch)),
    }
}

/// Translates a look. The reference does not know the time of the latest confirmation.
pub fn look(look: model::Look) -> Look {
    let key = look.key.map(|key| match key {
        model::KeyState::Replay(outcome) => KeyState::Replay(finished(outcome)),
        model::KeyState::Mismatch => KeyState::Mismatch,
        model::KeyState::Pending => KeyState::Pending,
    });
    let gate = look.gate.map_err(|epoch| Closed { epoch });
    let gate = gate.map(|counts| Counts {
        cap: counts.cap,
        base: counts.base,
        spent: counts.spent,
        confirmed: counts.confirmed,
        confirmed_at: None,
        user: counts.user.map(|holding| match holding {
            model::Holding::Coupon => Holding::Coupon,
            model::Holding::Pending => Holding::Pending,
        }),
    });
    Look { key, gate }
}
