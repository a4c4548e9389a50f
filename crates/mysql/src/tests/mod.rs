//! Tests on a real server: the laws of the ports, and what the laws do not cover.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audit;
mod coupon;
mod delivery;
mod direct_gate;
mod faults;
mod laws;
mod plans;
mod proxy;
mod records;
mod scene;
mod schema;
mod script;
mod session;
mod statements;
mod upkeep;

use std::sync::Arc;

use crate::Store;
pub(crate) use crate::scratch::Database;
use goodpon_port_laws::{FreshRandom, ManualClock, World};

/// Opens a store on a new, migrated database.
pub(crate) async fn store() -> (Store, Arc<ManualClock>, Database) {
    let (database, clock) = (Database::create().await, World::clock());
    let store = open(&database, &clock);
    store.migrate().await.unwrap();
    (store, clock, database)
}

/// Opens another store on the same database, as another process does.
pub(crate) fn open(database: &Database, clock: &Arc<ManualClock>) -> Store {
    open_with(database, clock, 16)
}

/// Opens another store on the same database, with at most `connections` connections.
pub(crate) fn open_with(
    database: &Database,
    clock: &Arc<ManualClock>,
    connections: usize,
) -> Store {
    let (clock, random) = (Arc::clone(clock) as _, Arc::new(FreshRandom::default()));
    Store::new(&database.url(), connections, clock, random, World::zone()).unwrap()
}
