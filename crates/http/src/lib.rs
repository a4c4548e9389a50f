//! The two HTTP APIs of Goodpon, dashboard and partner: the contract's paths, fields, codes and messages
//! over the use cases of `goodpon-application`.

pub mod answer;
pub mod body;
mod connection;
mod coupon;
pub mod error;
mod idempotency;
pub mod input;
mod local_time;
pub mod observe;
pub mod partner;
pub mod rate_limit;
pub mod serve;
pub mod time_limit;
pub mod trace;
mod words;
