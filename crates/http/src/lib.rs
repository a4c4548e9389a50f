//! The two HTTP APIs of Goodpon, dashboard and partner: the contract's paths, fields, codes and messages
//! over the use cases of `goodpon-application` and the mechanics of `goodpon-web`.
//!
//! Every answer of the APIs, also to what is no HTTP, is in the envelope with a trace id; checks come in the contract's
//! order, and no handler of the partner API is reached without authentication. The dashboard's table of routes states for
//! each path who may call it and within which limit. Nothing here decides a rule or reaches a store past a use case, and no
//! cause of an error is sent to a client.

pub mod admin;
pub mod answer;
mod contract_values;
pub mod dashboard;
mod docs;
pub mod error;
pub mod error_code;
mod idempotency;
mod local_time;
pub mod openapi;
pub mod partner;
pub mod service;
mod words;

#[cfg(test)]
mod stub;
