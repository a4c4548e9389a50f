//! The scaled-out issue path on simulated servers: the product's own partners and issuers, driven by random schedules.
//!
//! Database, Valkey, log, network and clocks are one world (`world.rs`) behind the ports of `goodpon_scaled`. Each
//! call waits there until the schedule lets it happen, so that a [`search`] chooses every order, loss, crash and pause. The
//! processes are the program's: `goodpon_scaled::Partner` and `goodpon_scaled::IssueWriter`.
//!
//! Everything follows from a seed: nothing here reads a clock, draws randomness, or depends on the order of a hash map.
//! Not simulated: shards, operators' work on parked events, the end of a gate's life, the end of a key's 24 hours, the
//! topic's own troubles. Assumed: a server that is demoted and promoted again takes longer for it than a script
//! believes it to be who it was, and the clocks of brokers and database step back by a second each.

mod guard;
mod ports;
pub mod search;
mod simulation;
mod size;
mod world;

pub use guard::Guard;
pub use simulation::{Action, Kind, Simulation};
pub use size::{Budget, Reached, Size};
pub use world::{call::Actor, truth::Broken, valkey::Fault};
