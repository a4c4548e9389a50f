//! The laws of every port, each on a database and a topic of its own.

use std::sync::Arc;

use goodpon_port_laws::World;

use super::Scene;

async fn world() -> World {
    let scene = Arc::new(Scene::new().await);
    let _ended_with_the_scene = scene.issuer();
    let settling = Arc::clone(&scene);
    World {
        stores: scene.scaled.stores(),
        clock: Arc::clone(&scene.clock),
        zone: World::zone(),
        settle: Arc::new(move || {
            let scene = Arc::clone(&settling);
            Box::pin(async move { scene.settled().await })
        }),
        entries_may_come_late: true,
        kept: scene,
    }
}

goodpon_port_laws::port_laws!(world);
