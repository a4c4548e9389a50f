//! The issue queue scaled out: a log of accepted issues in Kafka.
//!
//! Partners append an event for each accepted issue ([`Publisher`]), issuers read the log and write the coupons
//! ([`Consumer`]). What counts is decided by the log's own append time, which both see: in the acknowledgement and
//! in the record. [`topic`] makes the topic such that it tells that time, and checks it.
//!
//! An acknowledged event is with all replicas in sync; a partition's records come in order, without a gap, from where the
//! caller says. Nothing here decides whether an event counts, writes a coupon, or goes by Kafka's committed offsets.

mod client;
mod consumer;
mod event;
mod partition;
mod place;
mod publisher;
mod record;
pub mod topic;

pub use client::{Cluster, DEFAULT_TOPIC, HAS_TLS};
pub use consumer::{Consumer, ConsumerSettings, StartOffset};
pub use partition::partition_of;
pub use publisher::{BrokerWatch, PublishError, Publisher};
pub use record::{keep, reread};

/// What goes wrong with Kafka, in one line for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No broker answers at the addresses given.
    #[error("no Kafka broker answers at {brokers}: {reason}")]
    Unreachable {
        /// The addresses that were tried.
        brokers: String,
        /// The client's word for it.
        reason: String,
    },
    /// A broker answered, and did not do what it was asked.
    #[error("Kafka cannot {what}: {reason}")]
    Refused {
        /// What it was asked.
        what: String,
        /// The broker's word for it.
        reason: String,
    },
    /// A property among the given ones is unknown or has a wrong value.
    #[error("the settings for Kafka are wrong: {0}")]
    Settings(String),
}
