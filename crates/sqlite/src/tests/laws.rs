//! The laws of every port, on a store of its own each.

use std::sync::Arc;

use goodpon_port_laws::{FreshRandom, World};
use goodpon_supervise::Supervisor;

use crate::{late::plan::MOST_WAITING, store::Store, tests::under};

async fn world(most_waiting: usize) -> World {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let clock = World::clock();
    let random = Arc::new(FreshRandom::default());
    let zone = World::zone();
    let store = Store::open_with(
        folder.path(),
        clock.clone(),
        random,
        zone,
        under(&Supervisor::new(), most_waiting),
    );
    let stores = store.expect("an open store").stores();
    World::that_settles_at_once(stores, clock, Arc::new(folder))
}

/// As the program opens it: few entries are entered while a law runs.
mod waiting {
    async fn world() -> goodpon_port_laws::World {
        super::world(super::MOST_WAITING).await
    }

    goodpon_port_laws::port_laws!(world);
}

/// Without a backlog: each group enters the entries of the one before it.
mod entered {
    async fn world() -> goodpon_port_laws::World {
        super::world(0).await
    }

    goodpon_port_laws::port_laws!(world);
}
