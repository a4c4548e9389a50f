//! The gate and its connection on real servers. Each test starts one of its own, of the program that runs at
//! `GOODPON_VALKEY_URL`, so that it may empty, starve, stop and demote it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod connection;
mod crowd;
mod damage;
mod differential;
mod gate;
mod identity;
mod invalidation;
mod look;
mod opening;
mod scene;
mod server;
mod versions;
