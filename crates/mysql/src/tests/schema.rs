//! Migrations.

use futures::future::join_all;
use goodpon_port_laws::World;

use super::{Database, open, store};
use crate::OpenError;

#[tokio::test(flavor = "multi_thread")]
async fn many_may_migrate_at_once() {
    let database = Database::create().await;
    let clock = World::clock();
    let stores: Vec<_> = (0..8).map(|_| open(&database, &clock)).collect();
    assert!(matches!(
        stores[0].check().await,
        Err(OpenError::NotMigrated)
    ));
    for migrated in join_all(stores.iter().map(|store| store.migrate())).await {
        migrated.unwrap();
    }
    let names = join_all(stores.iter().map(|store| store.installation())).await;
    let names: Vec<_> = names.into_iter().map(Result::unwrap).collect();
    assert!(names[0].len() == 16 && names.iter().all(|name| *name == names[0]));
    stores[7].check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_left_alone() {
    let (store, _clock, _database) = store().await;
    store
        .transact(|session| Box::pin(session.run("INSERT INTO schema_version VALUES (99, 0)", ())))
        .await
        .unwrap();
    for refused in [store.check().await, store.migrate().await] {
        assert!(matches!(
            refused,
            Err(OpenError::SchemaTooNew { found: 99, .. })
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_told_in_one_line() {
    let clock = World::clock();
    let store = crate::Store::new(
        "mysql://u:hunter2@127.0.0.1:1/d",
        1,
        clock,
        std::sync::Arc::new(goodpon_port_laws::FreshRandom::default()),
        World::zone(),
    );
    let told = store.unwrap().check().await.unwrap_err().to_string();
    assert!(told.starts_with("the database cannot be used: "), "{told}");
    assert!(!told.contains("hunter2") && !told.contains('\n'), "{told}");
}
