//! The first-come gate scaled out: its places and keys in Valkey 8, each decision one script.
//!
//! [`Valkey`] keeps a connection; [`Valkey::bound`] gives it together with the server that it leads to, as one
//! immutable pair, and everything that is asked of a gate is asked of such a [`Bound`]. A gate belongs to one server
//! (its run id and its replication id): data that was lost, restored elsewhere or taken over by a promoted replica
//! is never mistaken for it, it is closed.
//!
//! What the scripts do and why is told in ARCHITECTURE.md; each is a file of its own beside this one.

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
pub use gate::{Closed, Taken};
pub use invalidation::{Invalidation, Invalidations};
pub use look::{Counts, Holding, KeyState, Look};
pub use names::Gate;
pub use opening::{Folding, Installation, KeptSuccess};
