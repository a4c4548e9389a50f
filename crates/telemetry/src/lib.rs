//! Log lines on stderr and Prometheus metrics.
//!
//! All other crates use the facades `tracing` and `metrics`; this crate installs the subscriber and the recorder behind
//! them, once per process. A request pays for making its line only: no request waits for a line, and a line that does
//! not fit into the queue is dropped and counted. The crate knows nothing of coupons and sends nothing: metrics are
//! rendered when they are asked for.

mod json;
pub mod logs;
pub mod metrics;
pub mod process;
