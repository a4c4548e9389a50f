//! The issue path scaled out, over MySQL, Valkey and Kafka: partners, issuers, openings of gates, the reconciler.
//!
//! A request takes a place at the gate in Valkey (`partner/issue.rs`), its event is appended to the log in Kafka, and an
//! issuer makes it a coupon in MySQL (`issuer.rs`). Rows are the truth, the log decides what becomes one, and the gate
//! only says who may try. What a gate is and when it may move stands in `domain/gate.rs`.
//!
//! A success is answered only when the log has its event in time, and such an event becomes one coupon. Any process may do
//! any step and be lost in it. A reservation is never released in a live gate, no place is given out while the log is
//! away, and nothing that was read of a gate more than two seconds ago is used.

mod audit;
mod batch_size;
mod health;
mod invalidation;
mod issue_writer;
mod issuer;
mod kafka;
mod metric;
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

pub use health::IssuerHealth;
pub use issue_writer::IssueWriter;
pub use issuer::Issuer;
pub use partner::{
    Outside, Partner,
    reconcile::{Round, Unreadable},
};
pub use scaled::{OpenError, Scaled};
pub use topic::{TopicState, look_at as look_at_topic};
