//! How a running Goodpon is seen: log lines on stderr and Prometheus metrics.
//!
//! Everything else in the workspace speaks to the `tracing` and `metrics` facades; this crate
//! installs what listens to them, once per process. A request pays for making its line only: a line is never waited for,
//! and one that does not fit into the queue is dropped and counted. Nothing here knows coupons, and nothing is sent
//! anywhere: metrics are rendered when they are asked for.

mod json;
pub mod logs;
pub mod metrics;
