//! The two HTTP APIs of Goodpon, dashboard and partner: the contract's paths, fields, codes and messages
//! over the use cases of `goodpon-application`.
//!
//! Every answer of the APIs, also to what is no HTTP, is in the envelope with a trace id; checks come in the contract's
//! order, and no handler of the partner API is reached without authentication. Head, body, time, rate and connections are
//! bounded. Nothing here decides a rule or reaches a store past a use case, and no cause of an error is sent to a client.

mod account;
pub mod admin;
pub mod answer;
pub mod body;
mod connection;
mod coupon;
pub mod dashboard;
mod docs;
pub mod error;
mod history;
mod idempotency;
pub mod input;
mod local_time;
mod merchant;
pub mod observe;
pub mod openapi;
pub mod partner;
pub mod rate_limit;
pub mod serve;
mod template;
pub mod time_limit;
pub mod trace;
mod verify_page;
mod words;

#[cfg(test)]
mod stub;

/// One API, ready to be served.
pub type Api = observe::Observe<time_limit::TimeLimit<axum::Router>>;
