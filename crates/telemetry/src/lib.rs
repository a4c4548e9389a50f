//! How a running Goodpon is seen: log lines on stderr and Prometheus metrics.
//!
//! Everything else in the workspace speaks to the `tracing` and `metrics` facades; this crate
//! installs what listens to them, once per process.

mod json;
pub mod logs;
pub mod metrics;
