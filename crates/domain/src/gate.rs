//! The first-come gate, scaled out: the decisions of partners, issuers and openers of gates, and the times they rest on.
//!
//! Three rules make it exact:
//!
//! 1. One epoch holds all free places of a template. The next epoch gets them only when no event of an older epoch can
//!    become a coupon any more.
//! 2. A copy of an event counts if and only if the log appended it at or before the event's `valid_until`. The publisher
//!    and the issuer compare the same two times, so they agree.
//! 3. A reservation of a live gate is never released; it is published again until one of its copies counts.

mod batch;
mod event;
mod opening;
mod place;
mod state;

pub use batch::{
    Appended, BatchDecision, Known, LogContent, LogRecord, NewCoupon, PollResult, Tally, ToPark,
    Unreadable, Verdict, WriteResult, judge, judge_batch,
};
pub use event::{
    CLOCK_TOLERANCE, EVENT_LIFETIME, Epoch, IssueEvent, KeyDigests, MAX_ACCEPTANCE_DISTANCE,
    MAX_CLOCK_DIFFERENCE, MAX_GATE_READ_AGE, counts, valid_until,
};
pub use opening::{
    FoldResult, GateRead, Holder, InstallResult, KeptSuccess, Opening, SALE_OVER_AGE, SealResult,
};
pub use place::{
    Closed, Confirmation, Counts, Due, Finished, GateId, Holding, KeyState, Look, RefusalAnswers,
    Taken,
};
pub use state::{Gate, GateState, SERVER_TIMEOUT, UNLIMITED, may_bump, may_seal, places_left};
