//! Migrations.

use futures::future::join_all;
use goodpon_port_laws::World;

use super::{Database, open, store};
use crate::OpenError;

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_may_migrate_at_once() {
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
async fn a_schema_for_newer_programs_is_left_alone() {
    let (store, _clock, _database) = store().await;
    store
        .transact(|session| {
            Box::pin(session.run("INSERT INTO schema_steps VALUES (99, 99, 0)", ()))
        })
        .await
        .unwrap();
    for refused in [store.check().await, store.migrate().await] {
        assert!(matches!(
            refused,
            Err(OpenError::SchemaTooNew { found: 99, .. })
        ));
    }
}

fn at(url: &str) -> Result<crate::Store, OpenError> {
    let random = std::sync::Arc::new(goodpon_port_laws::FreshRandom::default());
    crate::Store::new(url, 1, World::clock(), random, World::zone())
}

#[tokio::test]
async fn a_password_that_is_not_encoded_is_hinted_at_but_not_shown() {
    for url in [
        "mysql://u:hun/ter2@127.0.0.1:1/d",
        "mysql://u:12/hunter2@127.0.0.1:1/d",
        "mysql://u:hun#ter2@127.0.0.1:1/d",
        "mysql://u:12?hunter2@127.0.0.1:1/d",
        "mysql://u:hunter2:x@127.0.0.1:x/d",
    ] {
        let error = at(url).err().expect(url).to_string();
        assert!(error.contains("percent-encoded"), "{error}");
        assert!(!error.contains("hun") && !error.contains("ter2"), "{error}");
    }
    assert!(at("mysql://u:hun%2Fter2@127.0.0.1:1/d").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_reported_in_one_line() {
    let store = at("mysql://u:hunter2@127.0.0.1:1/d");
    let error = store.unwrap().check().await.unwrap_err().to_string();
    assert!(
        error.starts_with("the database cannot be used: "),
        "{error}"
    );
    assert!(
        !error.contains("hunter2") && !error.contains('\n'),
        "{error}"
    );
}
