//! Prepared statements: their number is bounded, and a statement that cannot be prepared is sent as text.

use goodpon_domain::{gate::GateState, id::TemplateId};
use goodpon_port_laws::World;

use super::{Database, open_with};
use crate::{Store, prepared_per_connection};

/// Counts the statements that the store's only connection has prepared in all, and those of them that it has closed.
async fn prepared(store: &Store) -> (i64, i64) {
    let count = async |name: &str| {
        let sql = format!("SHOW SESSION STATUS LIKE '{name}'");
        let read = store.read(|session| {
            Box::pin(session.first(&sql, (), |row| {
                row.read::<String>()?;
                row.read::<String>()
            }))
        });
        let text = read.await.unwrap().unwrap();
        text.parse::<i64>().unwrap()
    };
    (
        count("Com_stmt_prepare").await,
        count("Com_stmt_close").await,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_any_length_need_few_statements() {
    let (database, clock) = (Database::create().await, World::clock());
    let store = open_with(&database, &clock, 1);
    store.migrate().await.unwrap();
    let (before, _) = prepared(&store).await;
    let ids: Vec<_> = (1..600).map(TemplateId).collect();
    for length in 0..ids.len() {
        let some = &ids[..length];
        assert_eq!(store.written_counts(some).await.unwrap(), vec![0; length]);
        assert!(
            store
                .gates_of(some)
                .await
                .unwrap()
                .iter()
                .all(Option::is_none)
        );
    }
    let (after, _) = prepared(&store).await;
    // Four sizes of each of two statements, and SHOW STATUS itself.
    assert!(after - before <= 9, "{} statements", after - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_keeps_a_bounded_number_of_statements() {
    let (database, clock) = (Database::create().await, World::clock());
    let store = open_with(&database, &clock, 1);
    for number in 0..200 {
        let sql = format!("SELECT {number}");
        let read = store.read(|session| Box::pin(session.first(&sql, (), |row| row.read::<i64>())));
        assert_eq!(read.await.unwrap(), Some(number));
    }
    let (made, closed) = prepared(&store).await;
    let max_kept = i64::try_from(prepared_per_connection(1)).unwrap();
    assert!(made >= 200 && made - closed <= max_kept, "{made} {closed}");
}

#[test]
fn many_processes_fit_the_servers_limit() {
    for connections in [2, 16, 40, 64] {
        let per_process = connections * prepared_per_connection(connections);
        assert!(
            per_process * 31 <= 16_382,
            "{per_process} with {connections}"
        );
    }
}

/// A server never prepares PREPARE itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_cannot_be_prepared_is_sent_as_text() {
    let (store, _clock, _database) = super::store().await;
    let read = store.read(|session| {
        Box::pin(async move {
            session.run("PREPARE one FROM 'SELECT 7'", ()).await?;
            session
                .first("EXECUTE one", (), |row| row.read::<i64>())
                .await
        })
    });
    assert_eq!(read.await.unwrap(), Some(7));
    let gates = store.gates_in(GateState::Open, TemplateId(0), 10).await;
    assert!(gates.unwrap().is_empty());
}
