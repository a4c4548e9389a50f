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
