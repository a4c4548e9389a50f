//! The laws of every port, on a database of its own each.

use std::sync::Arc;

use goodpon_port_laws::World;

use super::{direct_gate::DirectGate, store};

async fn world() -> World {
    let (store, clock, database) = store().await;
    let gate = Arc::new(DirectGate(store.clone()));
    let store = Arc::new(store);
    World {
        accounts: Arc::clone(&store) as _,
        merchants: Arc::clone(&store) as _,
        templates: Arc::clone(&store) as _,
        gate,
        coupons: Arc::clone(&store) as _,
        histories: Arc::clone(&store) as _,
        outbox: Arc::clone(&store) as _,
        upkeep: Arc::clone(&store) as _,
        health: store,
        clock,
        zone: World::zone(),
        settle: Arc::new(|| Box::pin(std::future::ready(()))),
        entries_may_come_late: true,
        kept: Arc::new(database),
    }
}

goodpon_port_laws::port_laws!(world);
