//! The end-to-end suite of Goodpon: drives the real binary over HTTP and its command line.
//!
//! The suite knows the published contract, the command line and the names of the settings, and nothing of the product's
//! code. A test that cannot run (no binary, no `cc`, no `curl`) fails; none is skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

pub mod abuse;
pub mod actors;
pub mod backend;
pub mod client;
pub mod expect;
pub mod faults;
pub mod history;
pub mod ledger;
pub mod no_retry;
pub mod power;
pub mod program;
pub mod raw;
pub mod scaled;
pub mod server;
pub mod snapshot;
pub mod template;
pub mod torture;
pub mod upgrade;
pub mod world;

pub use actors::{Account, Anonymous, OtherShop, Owner, Shop, Staff, Stranger, Unverified};
pub use client::{Answer, Api, Client};
pub use server::{Options, Server};
pub use template::Template;
pub use world::{Shared, World};
