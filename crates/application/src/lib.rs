//! What Goodpon does for its callers: use cases as functions over [`App`], a context of ports.
//!
//! A use case decides nothing that the domain decides and touches nothing that a port stands for.

pub mod account;
mod app;
pub mod audit;
pub mod coupon;
pub mod credentials;
pub mod history;
pub mod idempotency;
pub mod in_flight;
pub mod issue_log;
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
