//! The issue path, scaled out over MySQL, Valkey and Kafka: partners, issuers, openings of gates, the reconciler.
//!
//! A request gets a place at the gate in Valkey (`partner/issue.rs`), its event is appended to the log in Kafka, and an
//! issuer makes a coupon of it in MySQL (`issuer.rs`). The rows are the truth, the log decides which events become rows,
//! and the gate only decides which requests may try. `domain/gate.rs` defines gates and when they may move.
//!
//! A success is answered only if the log has the event in time, and each such event becomes one coupon. Any process may do
//! any step, and may die in the middle of it. A reservation of a live gate is never released, no place is given while the
//! log is unavailable, and a gate that was read more than two seconds ago is never used.

mod audit;
mod batch_size;
mod health;
mod invalidation;
mod issue_writer;
mod issuer;
mod kafka;
pub mod metric;
mod mysql;
mod opening;
mod partner;
pub mod ports;
mod progress;
mod rounds;
mod scaled;
mod standstill;
mod template;
#[cfg(test)]
mod tests;
mod topic;
mod valkey;

pub use goodpon_valkey::user_digest;
pub use health::IssuerHealth;
pub use issue_writer::IssueWriter;
pub use issuer::Issuer;
pub use partner::{
    Outside, Partner,
    reconcile::{Round, Unreadable},
};
pub use scaled::{OpenError, Scaled};
pub use topic::{TopicState, look_at as look_at_topic};
