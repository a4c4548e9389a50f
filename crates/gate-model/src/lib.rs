//! The first-come gate scaled out, as a plain value, and sales over it.
//!
//! [`gate`] is the gate as a plain value: the reference that the scripts in Valkey are compared with, and the Valkey of
//! the simulator (`crates/simulator`). [`sale`] shows how a large sale goes. Everything follows from a seed: the same
//! one gives the same run. Nothing here talks to a server, reads a clock or is part of the program; what is decided by
//! time is decided by `goodpon_domain::gate`.

pub mod gate;
pub mod random;
pub mod sale;
