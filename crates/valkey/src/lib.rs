//! The first-come gate scaled out: its places and keys in Valkey 8, each decision one script.
//!
//! [`Valkey`] keeps a connection; [`Valkey::bound`] gives it together with the server that it leads to, as one
//! immutable pair, and everything that is asked of a gate is asked of such a [`Bound`]. A gate belongs to one server
//! (its run id and its replication id): data that was lost, restored elsewhere or taken over by a promoted replica
//! is never mistaken for it, it is closed.
//!
//! A gate's keys, all under one hash tag (`names.rs`):
//!
//! | key | what |
//! | --- | --- |
//! | `g` | hash: epoch, server, cap, base (coupons at its opening), users (in `u` then), spent, conf (known to count), checked_ms, confirmed_at, layout |
//! | `u:<epoch>` | set of the digests of users who have a coupon, and the epoch's number as the mark of its load |
//! | `p:<epoch>` | hash: user to event, of places that are not yet known to count |
//! | `z:<epoch>` | sorted set: those users by when they are next due for help, in the server's milliseconds |
//! | `q:<epoch>` | hash: idempotency key to user, of the same |
//! | `k:<key>` | a finished answer, for 24 hours: a fact, bound to no epoch and no server |
//!
//! Beside them stands one `busy` for each server: a sorted set of the gates (with their epoch) of which anything is
//! pending, by when it is to be looked at. It only tells where to look first.
//!
//! Versions run beside each other. What a program does not know the form of (a layout, a `k`, a `p`) it leaves alone,
//! as closed or to be asked about later: `docs/upgrades.md` tells which forms there are.
//!
//! A gate whose parts do not fit its counts has lost something: the script that finds it so takes it away, and it is
//! opened anew like one that was lost whole.
//!
//! Nothing that only Valkey holds is the truth: it may be lost whole at any time. No gate answers to a caller of another
//! server or epoch, and no reservation is given back while its gate lives.
//!
//! The scripts stand beside this file; the numbers in `gate.lua` are those of its rules, in their order. Each may be
//! run again after a reply was lost.

mod address;
mod codec;
mod connection;
mod fault;
mod gate;
mod info;
mod invalidation;
mod look;
mod names;
mod opening;
mod script;

pub use address::ConfigError;
pub use codec::user_digest;
pub use connection::{Bound, Valkey};
pub use invalidation::{Invalidation, Invalidations};
