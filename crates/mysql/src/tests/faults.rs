//! Lost connections, deadlocks, lock timeouts, and servers that take no writes.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use std::time::Duration;

use futures::{FutureExt, future::join_all};
use goodpon_application::ports::StoreError;
use goodpon_port_laws::{FreshRandom, World, within};
use mysql_async::prelude::Queryable;
use tokio::sync::Barrier;

use super::{
    proxy::{CutAt, Proxy},
    session::{numbers, onlooker, until_running, write, written},
};
use crate::{Store, fault::Result, session::Session};

fn is_outage(error: &StoreError, may_have: bool) -> bool {
    matches!(error, StoreError::Unavailable { may_have_happened, .. } if *may_have_happened == may_have)
}

async fn connection_id(session: &mut Session<'_>) -> Result<i64> {
    let id = session.first("SELECT CONNECTION_ID()", (), |row| row.read());
    Ok(id.await?.unwrap())
}

async fn add(session: &mut Session<'_>, id: i64, value: i64) -> Result<u64> {
    let sql = "UPDATE numbers SET value = value + ? WHERE id = ?";
    session.run(sql, (value, id)).await
}

/// Opens a store that connects through a proxy.
fn through(proxy: &Proxy, connections: usize) -> Store {
    let (clock, random) = (World::clock(), Arc::new(FreshRandom::default()));
    Store::new(proxy.url(), connections, clock, random, World::zone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_connection_is_killed_between_statements_runs_again() {
    let (store, database) = numbers(2).await;
    let (mut onlooker, mut runs) = (onlooker(&database).await, 0);
    let onlooker = &mut onlooker;
    for id in 1..=10 {
        let kill = Arc::new(tokio::sync::Mutex::new(&mut *onlooker));
        runs = 0;
        let run = store.transact(|session| {
            runs += 1;
            let (kill, is_first) = (Arc::clone(&kill), runs == 1);
            Box::pin(async move {
                write(session, id, 1).await?;
                if is_first {
                    let kill_it = format!("KILL CONNECTION {}", connection_id(session).await?);
                    kill.lock().await.query_drop(kill_it).await.unwrap();
                }
                add(session, id, 1).await
            })
        });
        run.await.unwrap();
        assert_eq!(runs, 2);
    }
    assert_eq!(runs, 2);
    assert_eq!(
        written(&store).await,
        (1..=10).map(|id| (id, 2)).collect::<Vec<_>>()
    );
    assert_eq!(store.inner.pool.idle_and_free().1, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_connection_is_killed_in_a_statement_runs_again() {
    let (store, database) = numbers(2).await;
    let mut onlooker = onlooker(&database).await;
    store
        .transact(|session| write(session, 1, 0).boxed())
        .await
        .unwrap();
    onlooker.query_drop("START TRANSACTION").await.unwrap();
    onlooker
        .query_drop("SELECT * FROM numbers FOR UPDATE")
        .await
        .unwrap();
    let (ids, mut all_ids) = tokio::sync::mpsc::unbounded_channel();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move {
            let run = store.transact(|session| {
                let ids = ids.clone();
                Box::pin(async move {
                    ids.send(connection_id(session).await?).unwrap();
                    add(session, 1, 1).await
                })
            });
            run.await
        }
    });
    let first = within("a first connection", all_ids.recv()).await.unwrap();
    until_running(&mut onlooker, "UPDATE numbers").await;
    onlooker
        .query_drop(format!("KILL CONNECTION {first}"))
        .await
        .unwrap();
    let second = within("a second connection", all_ids.recv()).await;
    assert_ne!(second.unwrap(), first);
    onlooker.query_drop("ROLLBACK").await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(written(&store).await, [(1, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_deadlocked_transactions_one_runs_again() {
    let (store, _database) = numbers(4).await;
    for id in [1, 2] {
        store
            .transact(|session| write(session, id, 0).boxed())
            .await
            .unwrap();
    }
    let (runs, both) = (AtomicU32::new(0), Barrier::new(2));
    let (runs, both) = (&runs, &both);
    let crossed = async |order: [i64; 2]| {
        let mut is_first = true;
        let store = &store;
        store
            .transact(|session| {
                runs.fetch_add(1, Ordering::SeqCst);
                let is_first = std::mem::take(&mut is_first);
                Box::pin(async move {
                    add(session, order[0], 1).await?;
                    if is_first {
                        within("both hold a lock", both.wait()).await;
                    }
                    add(session, order[1], 10).await
                })
            })
            .await
    };
    let (one, other) = tokio::join!(crossed([1, 2]), crossed([2, 1]));
    one.and(other).unwrap();
    assert_eq!(written(&store).await, [(1, 11), (2, 11)]);
    assert_eq!(runs.load(Ordering::SeqCst), 3, "one of them ran again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_timeout_is_an_outage_without_effect() {
    let (store, database) = numbers(1).await;
    let mut onlooker = onlooker(&database).await;
    store
        .transact(|session| write(session, 1, 0).boxed())
        .await
        .unwrap();
    onlooker.query_drop("START TRANSACTION").await.unwrap();
    onlooker
        .query_drop("SELECT * FROM numbers FOR UPDATE")
        .await
        .unwrap();
    let refused = store.transact(|session| add(session, 1, 1).boxed()).await;
    let refused = refused.unwrap_err();
    assert!(is_outage(&refused, false), "{refused:?}");
    onlooker.query_drop("ROLLBACK").await.unwrap();
    store
        .transact(|session| add(session, 1, 10).boxed())
        .await
        .unwrap();
    assert_eq!(written(&store).await, [(1, 10)]);
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_an_outage_and_its_connection_is_closed() {
    let (store, _database) = numbers(1).await;
    let mut demoted = store.scan_session().await.unwrap();
    demoted
        .run_text("SET SESSION TRANSACTION READ ONLY")
        .await
        .unwrap();
    drop(demoted);
    let refused = store.transact(|session| write(session, 1, 1).boxed()).await;
    let refused = refused.unwrap_err();
    assert!(is_outage(&refused, false), "{refused:?}");
    store
        .transact(|session| write(session, 1, 2).boxed())
        .await
        .unwrap();
    assert_eq!(written(&store).await, [(1, 2)]);
}

#[tokio::test]
async fn after_a_commit_without_an_answer_the_outcome_is_open() {
    let (direct, database) = numbers(1).await;
    let proxy = Proxy::to(&database).await;
    let store = through(&proxy, 1);
    for (id, cut_at) in [(1, CutAt::Command), (2, CutAt::Answer), (3, CutAt::Never)] {
        proxy.cut_commit(cut_at);
        let outcome = store
            .transact(|session| write(session, id, 0).boxed())
            .await;
        match outcome {
            Ok(_) => assert_eq!(cut_at, CutAt::Never),
            Err(error) => assert!(is_outage(&error, true) && id < 3, "{error:?}"),
        }
    }
    assert_eq!(written(&direct).await, [(2, 0), (3, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_away_is_used_again_at_once() {
    let (_direct, database) = numbers(1).await;
    let proxy = Proxy::to(&database).await;
    let store = through(&proxy, 16);
    let all = join_all((0..16).map(|_| store.scan_session())).await;
    assert!(all.iter().all(|one| one.is_ok()));
    drop(all);
    assert_eq!(store.inner.pool.idle_and_free(), (16, 16));
    proxy.cut_all();
    assert_eq!(written(&store).await, []);
    assert_eq!(
        store.inner.pool.idle_and_free(),
        (1, 16),
        "the lost ones are closed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fell_silent_while_idle_are_closed() {
    let (_direct, database) = numbers(1).await;
    let proxy = Proxy::to(&database).await;
    let store = through(&proxy, 4);
    drop(join_all((0..4).map(|_| store.scan_session())).await);
    assert_eq!(store.inner.pool.idle_and_free(), (4, 4));
    proxy.silence_all();
    store.inner.pool.age_idle(Duration::from_secs(5));
    assert_eq!(written(&store).await, []);
    assert_eq!(store.inner.pool.idle_and_free(), (1, 4));
}

/// A process that is suspended in the middle of a transaction, but not ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_stands_still_does_not_block_others_for_ever() {
    let (store, _database) = numbers(4).await;
    let mut suspended = store.scan_session().await.unwrap();
    suspended.begin().await.unwrap();
    suspended
        .run("INSERT INTO numbers VALUES (1, 1)", ())
        .await
        .unwrap();
    let add = "INSERT INTO numbers VALUES (1, 2)";
    let give_up_at = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let run = store.transact(|session| Box::pin(session.run(add, ())));
        match run.await {
            Ok(_) => break,
            Err(error) => assert!(is_outage(&error, false), "{error:?}"),
        }
        assert!(tokio::time::Instant::now() < give_up_at, "it still waits");
    }
    assert!(suspended.commit().await.is_err());
    assert_eq!(written(&store).await, [(1, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_idle_for_long_are_closed() {
    let (store, _database) = numbers(4).await;
    drop(join_all((0..4).map(|_| store.scan_session())).await);
    store.inner.pool.age_idle(Duration::from_secs(61));
    assert_eq!(written(&store).await, []);
    assert_eq!(store.inner.pool.idle_and_free(), (1, 4));
}
