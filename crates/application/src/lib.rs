//! What Goodpon does for its callers: use cases as functions over [`App`], a context of ports.
//!
//! A use case lets ports do the work and gives the outcome, with its refusals as types. Turns of wide reads, the check of
//! shop credentials and the digests of idempotency keys are here, once for both sets of back ends. A use case decides
//! nothing that the domain decides and touches nothing that a port stands for: database, network, wall clock and
//! randomness are reached through [`ports`] alone. It knows no adapter and words no answer.

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
pub mod network;
pub mod ports;
pub mod stores;
pub mod template;
pub mod turns;
pub mod verification_mail;

pub use app::{App, Failure};
pub use stores::Stores;
