//! Sessions whose futures are dropped, and the permits of the pool.

use std::future::pending;

use futures::{FutureExt, future::join_all, poll};
use goodpon_application::ports::StoreError;
use goodpon_port_laws::{World, eventually};
use mysql_async::{Conn, Opts, prelude::Queryable};
use tokio::sync::{Mutex, Notify};

use super::{Database, open_with};
use crate::{Store, fault::Result, session::Session};

/// Opens a connection beside all stores.
pub(super) async fn onlooker(database: &Database) -> Conn {
    Conn::new(Opts::from_url(&database.url()).unwrap())
        .await
        .unwrap()
}

/// Waits until some connection to this database runs a statement with this beginning.
pub(super) async fn until_running(onlooker: &mut Conn, statement: &str) {
    let sql = "SELECT COUNT(*) FROM information_schema.processlist
               WHERE db = DATABASE() AND info LIKE CONCAT(?, '%')";
    let onlooker = &Mutex::new(onlooker);
    eventually("the statement runs", || async {
        let mut onlooker = onlooker.lock().await;
        let running: Option<i64> = onlooker.exec_first(sql, (statement,)).await.unwrap();
        running > Some(0)
    })
    .await;
}

/// Makes a store with at most `connections` connections, and a table of numbers.
pub(super) async fn numbers(connections: usize) -> (Store, Database) {
    let (database, clock) = (Database::create().await, World::clock());
    let mut onlooker = onlooker(&database).await;
    let table =
        "CREATE TABLE numbers (id INT NOT NULL PRIMARY KEY, value INT NOT NULL) ENGINE=InnoDB";
    onlooker.query_drop(table).await.unwrap();
    (open_with(&database, &clock, connections), database)
}

pub(super) async fn write(session: &mut Session<'_>, id: i64, value: i64) -> Result<u64> {
    let sql = "INSERT INTO numbers (id, value) VALUES (?, ?)";
    session.run(sql, (id, value)).await
}

/// Returns all committed numbers.
pub(super) async fn written(store: &Store) -> Vec<(i64, i64)> {
    let sql = "SELECT id, value FROM numbers ORDER BY id";
    store
        .read(|session| Box::pin(session.rows(sql, (), |row| Ok((row.read()?, row.read()?)))))
        .await
        .unwrap()
}

async fn answer(store: &Store, number: i64) -> i64 {
    store
        .read(|session| Box::pin(session.first("SELECT ?", (number,), |row| row.read())))
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn a_dropped_waiter_leaves_its_permit_to_the_next() {
    let (store, _database) = numbers(1).await;
    let only = store.scan_session().await.unwrap();
    let (mut first, mut second) = (
        Box::pin(store.scan_session()),
        Box::pin(store.scan_session()),
    );
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    drop(only);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    // The first waiter was woken, but never runs.
    drop(first);
    second.await.map(drop).unwrap();
}

#[tokio::test]
async fn a_connection_dropped_in_a_statement_answers_nobody_else() {
    let (store, database) = numbers(1).await;
    let mut onlooker = onlooker(&database).await;
    for number in 0..20 {
        let sleep = format!("SELECT SLEEP(1) + 1000 + {number}");
        let mut cancelled = Box::pin(
            store.read(|session| session.first(&sleep, (), |row| row.read::<i64>()).boxed()),
        );
        tokio::select! {
            _ = &mut cancelled => panic!("it sleeps"),
            () = until_running(&mut onlooker, &sleep) => {}
        }
        drop(cancelled);
        // The only permit is free again at once, for a new connection.
        assert_eq!(store.inner.pool.idle_and_free(), (0, 1));
        assert_eq!(answer(&store, number).await, number);
        assert_eq!(store.inner.pool.idle_and_free(), (1, 1));
    }
}

#[tokio::test]
async fn an_answer_dropped_half_way_is_read_by_nobody_else() {
    let (store, _database) = numbers(1).await;
    // Some megabytes, in many packets.
    let long = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 150)
                SELECT REPEAT('x', 1000) FROM n a, n b";
    for polls in 1..50 {
        let mut dropped = Box::pin(
            store.scan(|session| session.rows(long, (), |row| row.read::<String>()).boxed()),
        );
        for _ in 0..polls {
            if poll!(&mut dropped).is_ready() {
                return assert!(polls > 3, "all of it in {polls} polls");
            }
            tokio::task::yield_now().await;
        }
        drop(dropped);
        assert_eq!(answer(&store, polls).await, polls);
        assert_eq!(store.inner.pool.idle_and_free(), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_panic_free_their_permit() {
    let (store, _database) = numbers(1).await;
    let panicking = store.clone();
    let run = tokio::spawn(async move {
        let steps = panicking.transact(|session| {
            Box::pin(async move {
                let count = write(session, 1, 1).await?;
                assert_eq!(count, 0, "it panics here");
                Ok(())
            })
        });
        steps.await
    });
    assert!(run.await.unwrap_err().is_panic());
    store
        .transact(|session| write(session, 1, 2).boxed())
        .await
        .unwrap();
    assert_eq!(written(&store).await, [(1, 2)]);
}

#[tokio::test]
async fn a_dropped_transaction_is_rolled_back_and_frees_its_rows() {
    let (store, _database) = numbers(1).await;
    let wrote = &Notify::new();
    let mut dropped = Box::pin(store.transact(|session| {
        Box::pin(async move {
            write(session, 1, 1).await?;
            wrote.notify_one();
            pending::<Result<()>>().await
        })
    }));
    tokio::select! {
        _ = &mut dropped => panic!("it never ends"),
        () = wrote.notified() => {}
    }
    drop(dropped);
    store
        .transact(|session| write(session, 1, 2).boxed())
        .await
        .unwrap();
    assert_eq!(written(&store).await, [(1, 2)]);
}

#[tokio::test]
async fn a_connection_that_is_not_free_in_time_is_an_outage() {
    let (store, _database) = numbers(2).await;
    let all = join_all([store.scan_session(), store.scan_session()]).await;
    let refused = store
        .transact(|session| write(session, 1, 1).boxed())
        .await
        .unwrap_err();
    assert!(
        matches!(
            refused,
            StoreError::Unavailable {
                may_have_happened: false,
                ..
            }
        ),
        "{refused:?}"
    );
    drop(all);
    store
        .transact(|session| write(session, 1, 1).boxed())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_never_more_connections_than_permits() {
    let (store, database) = numbers(3).await;
    let mut onlooker = onlooker(&database).await;
    let sql = "SELECT COUNT(*) FROM information_schema.processlist
               WHERE db = DATABASE() AND id <> CONNECTION_ID()";
    let open = async |onlooker: &mut Conn| onlooker.query_first(sql).await.unwrap();
    // The connection that made the table may still be closing.
    let only = &Mutex::new(&mut onlooker);
    eventually("it is closed", || async {
        open(*only.lock().await).await == Some(0)
    })
    .await;
    for _ in 0..20 {
        let answers = join_all((0..50).map(|number| answer(&store, number)));
        assert_eq!(answers.await, (0..50).collect::<Vec<_>>());
        let open: Option<usize> = open(&mut onlooker).await;
        assert!(open <= Some(3), "{open:?}");
        let (idle, free) = store.inner.pool.idle_and_free();
        assert!((1..=3).contains(&idle) && free == 3, "{idle} {free}");
    }
}

#[tokio::test]
async fn a_snapshot_sees_one_moment() {
    let (store, _database) = numbers(2).await;
    let count = "SELECT COUNT(*) FROM numbers";
    let other = &store;
    let counts = store
        .read_snapshot(|session| {
            Box::pin(async move {
                let before = session.first(count, (), |row| row.read::<i64>()).await?;
                let written = other.transact(|session| write(session, 1, 1).boxed()).await;
                written.unwrap();
                Ok((before, session.first(count, (), |row| row.read()).await?))
            })
        })
        .await;
    assert_eq!(counts.unwrap(), (Some(0), Some(0)));
    // The next use of the connection is not in the snapshot any more.
    assert_eq!(written(&store).await, [(1, 1)]);
}
