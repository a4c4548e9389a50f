//! The first-come gate scaled out: what partners, issuers and openers of gates decide, and by which times.
//!
//! Three rules carry it. One epoch holds all free places of a template, and the next gets them only when nothing of
//! the older ones can become a coupon any more. A copy of an event counts exactly if the log's append time is not
//! past the event's `valid_until`; who publishes and who writes compare the same two numbers. A reservation is never
//! released in a live gate, only published again.

mod batch;
mod event;
mod opening;
mod place;
mod state;

pub use batch::{
    Appended, Content, Judged, Known, NewCoupon, Polled, Record, Tally, ToPark, Unreadable,
    Verdict, Written, judge, judge_batch,
};
pub use event::{
    ACCEPTED_WITHIN, CLOCK_TOLERANCE, CLOCKS_APART, EVENT_LIFETIME, Epoch, IssueEvent, Keyed,
    READ_BELIEVED, counts, valid_until,
};
pub use opening::{
    Folding, GateRead, Holder, Installation, KeptSuccess, Opening, SALE_OVER_AFTER, Sealed,
};
pub use place::{
    Closed, Confirmation, Counts, Due, Finished, GateId, Holding, KeyState, Look, RefusalAnswers,
    Taken,
};
pub use state::{Gate, GateState, SERVER_DEAD_AFTER, UNLIMITED, may_bump, may_seal, places_left};
