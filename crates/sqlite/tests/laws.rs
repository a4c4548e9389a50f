//! The laws of every port, on a store of its own each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use goodpon_port_laws::{FreshRandom, World};
use goodpon_sqlite::Store;

async fn world() -> World {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let clock = World::clock();
    let random = Arc::new(FreshRandom::default());
    let store = Store::open(folder.path(), clock.clone(), random, World::zone());
    World::of_one_store(store.expect("an open store"), clock, Arc::new(folder))
}

goodpon_port_laws::port_laws!(world);
