//! The use cases of Goodpon, as functions over [`App`], a context of ports.
//!
//! A use case calls ports and returns the outcome, with its refusals as types. The turns of wide reads, the check of
//! shop credentials and the digests of idempotency keys are here, once for both sets of back ends. A use case leaves
//! decisions to the domain, and reaches database, network, wall clock and randomness through [`ports`] alone. It knows
//! no adapter and words no answer.

pub mod account;
mod app;
pub mod audit;
pub mod coupon;
pub mod credentials;
pub mod history;
pub mod idempotency;
pub mod in_flight;
pub mod mail;
pub mod merchant;
pub mod metric;
pub mod network;
pub mod ports;
pub mod stores;
pub mod template;
pub mod turns;
pub mod verification_mail;

pub use app::{App, Failure};
pub use stores::Stores;
