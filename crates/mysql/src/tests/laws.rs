//! The laws of every port, each on its own database.

use std::sync::Arc;

use goodpon_application::Stores;
use goodpon_port_laws::World;

use super::{direct_gate::DirectGate, store};

async fn world() -> World {
    let (store, clock, database) = store().await;
    let gate = Arc::new(DirectGate(store.clone()));
    World {
        stores: Stores::over(Arc::new(store), gate),
        clock,
        zone: World::zone(),
        settle: Arc::new(|| Box::pin(std::future::ready(()))),
        entries_may_come_late: true,
        kept: Arc::new(database),
    }
}

goodpon_port_laws::port_laws!(world);
