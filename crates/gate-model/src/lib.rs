//! The first-come gate scaled out, without the servers: what is proved about it is proved here.
//!
//! [`gate`] is the gate as a plain value, the reference that the scripts in Valkey are held against. [`model`] is the
//! whole path of an issue with all that can go wrong, [`search`] looks for a schedule that breaks a promise, and
//! [`sale`] tells how a large sale goes.

pub mod gate;
pub mod model;
pub mod random;
pub mod sale;
pub mod search;
