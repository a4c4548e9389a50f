//! The issue queue scaled out: a log of accepted issues in Kafka.
//!
//! Partners append an event for each accepted issue ([`Publisher`]), issuers read the log and write the coupons
//! ([`Consumer`]). The log's own append time decides whether an event counts; both see it, in the acknowledgement and in
//! the record. [`topic`] makes the topic such that its records have that time, and checks it.
//!
//! An acknowledged event is with all replicas in sync; a partition's records come in order, without a gap, from the
//! caller's offset on. The crate decides of no event whether it counts, writes no coupon, and does not use Kafka's
//! committed offsets as progress.

mod client;
mod consumer;
mod event;
pub mod metric;
mod partition;
mod publisher;
mod reader;
mod record;
pub mod topic;

pub use client::{Cluster, DEFAULT_TOPIC, HAS_TLS};
pub use consumer::{Consumer, ConsumerSettings, StartOffset};
pub use partition::partition_of;
pub use publisher::{BrokerWatch, PublishError, Publisher};
pub use record::{keep, reread};

/// An error of Kafka, in one line for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No broker answers at the addresses given.
    #[error("no Kafka broker answers at {brokers}: {reason}")]
    Unreachable {
        /// The addresses that were tried.
        brokers: String,
        /// The client library's reason.
        reason: String,
    },
    /// A broker answered, and refused the request.
    #[error("Kafka cannot {what}: {reason}")]
    Refused {
        /// The request.
        what: String,
        /// The broker's reason.
        reason: String,
    },
    /// A property among the given ones is unknown or has a wrong value.
    #[error("the settings for Kafka are wrong: {0}")]
    Settings(String),
}
