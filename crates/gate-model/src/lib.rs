//! The first-come gate scaled out, without the servers: what is proved about it is proved here.
//!
//! [`gate`] is the gate as a plain value, the reference that the scripts in Valkey are held against. [`model`] is the
//! whole path of an issue with all that can go wrong, [`search`] looks for a schedule that breaks a promise, and
//! [`sale`] tells how a large sale goes. Everything follows from a seed: the same one gives the same run. Nothing here
//! talks to a server, reads a clock or is part of the program; what is decided by time is decided by
//! `goodpon_domain::gate`.

pub mod gate;
pub mod random;
pub mod sale;
