//! The mechanics of serving HTTP/1.1, for every API and page of Goodpon: connections, limits, traces, logs, figures,
//! request bodies and the reading of fields.
//!
//! Every request is answered, also one that is no HTTP, that takes too long or that panics; head, body, time, rate and
//! number of connections are bounded, and every answer carries a trace id. Nothing here knows an envelope, a language, a
//! way to authenticate or a coupon: a failure leaves as a [`fault::Fault`], which each API or page renders in its own form.

pub mod address;
pub mod asset;
pub mod body;
mod connection;
mod durations;
pub mod fault;
mod headers;
pub mod input;
pub mod login_limit;
pub mod metric;
pub mod note;
pub mod observe;
pub mod pieces;
pub mod rate_limit;
mod refuse;
pub mod scope;
pub mod serve;
pub mod time_limit;
pub mod trace;

#[cfg(test)]
mod stub;
