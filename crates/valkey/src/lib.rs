//! The first-come gate, scaled out: its places and keys in Valkey 8, with one script for each decision.
//!
//! [`Valkey`] maintains a connection. [`Valkey::bound`] returns the connection together with the identity of its server,
//! as one immutable pair, [`Bound`]; all calls about gates are made on such a pair. A gate belongs to one server (its run
//! id and its replication id). To any other server the gate is closed: data that was restored elsewhere, or taken over by
//! a promoted replica, is never used as the gate.
//!
//! The keys of a gate, all under one hash tag (`names.rs`):
//!
//! | key | content |
//! | --- | --- |
//! | `g` | hash: epoch, server, cap, base (number of coupons at its opening), users (number of members of `u` then), spent, conf (number of confirmed places), checked_ms, confirmed_at, layout |
//! | `u:<epoch>` | set: the digests of the users who have a coupon, and the epoch's number, which marks that users were loaded |
//! | `p:<epoch>` | hash: user to event, for the reservations that are not yet confirmed |
//! | `z:<epoch>` | sorted set: the users of these reservations by the time in the server's milliseconds at which they are next due for help |
//! | `q:<epoch>` | hash: idempotency key to user, for the same reservations |
//! | `k:<key>` | a finished answer, for 24 hours; it is true whatever the epoch and the server |
//!
//! Each server also has one key `busy`: a sorted set of the gates (with their epochs) that have reservations, by the time
//! at which each is to be looked at. It is only a hint where to look first.
//!
//! Programs of different versions run beside each other. A program leaves a form that it does not know (of a layout, a
//! `k` or a `p`) as it is, and treats the gate as closed or the answer as not yet known. `docs/upgrades.md` lists the
//! forms.
//!
//! A gate whose sets do not fit its counts has lost a part. The script that finds this deletes the rest, and the gate is
//! opened anew, like one that was lost whole.
//!
//! Valkey's data is never the only record of a fact: it may be lost whole at any time. No gate answers a caller of another
//! server or epoch, and no reservation is released while its gate lives.
//!
//! The scripts are the `.lua` files beside this one. The numbers in `gate.lua` are those of the protocol's rules, in their
//! order. Each script may be run again after its reply was lost.

mod address;
mod bound;
mod codec;
mod connection;
mod fault;
mod gate;
mod info;
mod invalidation;
mod look;
pub mod metric;
mod names;
mod opening;
mod script;

pub use address::ConfigError;
pub use bound::Bound;
pub use codec::user_digest;
pub use connection::Valkey;
pub use invalidation::{Invalidation, Invalidations};
