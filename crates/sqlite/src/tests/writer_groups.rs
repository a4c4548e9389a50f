//! A group is one transaction, and yet each request stands and falls by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use goodpon_application::{
    idempotency::{Answer, Idempotency, Outcome},
    ports::{Audit, Health, IssueGate, IssueOutcome, IssueRequest, StoreError, Templates},
};
use goodpon_domain::{
    coupon::IssueRefusal,
    template::{Limit, Owned},
};

use super::Scene;
use crate::{store::Store, write::tx::Tx};

/// Runs `bad` in one group with two good writes, which must both be kept.
async fn with_neighbours(bad: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<()> + Send + 'static) {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let note = |name: &'static str| {
        let runs = Arc::clone(&runs);
        scene.store.write(move |tx| {
            runs.fetch_add(1, Ordering::SeqCst);
            tx.template(template)?.unwrap().issue_count += 1;
            tx.connection
                .execute("INSERT INTO merchants (name, client_id, created_at, updated_at) VALUES (?1, ?1, 0, 0)", [name])
        })
    };
    let held = scene.hold_writer().await;
    let (before, failed, after, ()) = tokio::join!(
        note("before"),
        scene.store.write(bad),
        note("after"),
        held.release(),
    );
    assert_eq!((before.unwrap(), after.unwrap()), (1, 1));
    assert!(
        matches!(failed, Err(StoreError::Unexpected(_))),
        "{failed:?}"
    );
    assert_eq!(
        runs.load(Ordering::SeqCst),
        3,
        "one before it in the group, then each alone"
    );
    let connection = scene.raw();
    let count = |sql: &str| {
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(
        count("SELECT count(*) FROM merchants WHERE name IN ('before', 'after')"),
        2
    );
    assert_eq!(
        count("SELECT count(*) FROM merchants WHERE name = 'bad'"),
        0
    );
    assert_eq!(count("SELECT issue_count FROM coupon_templates"), 2);
    let Owned::Mine(cached) = scene.store.find(scene.merchant, template).await.unwrap() else {
        panic!("the template is gone");
    };
    assert_eq!(cached.issue_count, 2);
}

fn half_done(tx: &mut Tx<'_>) -> rusqlite::Result<()> {
    let sql = "INSERT INTO merchants (name, client_id, created_at, updated_at) VALUES ('bad', 'bad', 0, 0)";
    tx.connection.execute(sql, []).map(drop)
}

#[tokio::test]
async fn a_failing_request_leaves_its_neighbours_intact() {
    with_neighbours(|tx| {
        half_done(tx)?;
        half_done(tx)
    })
    .await;
}

#[tokio::test]
async fn a_panicking_request_leaves_its_neighbours_intact() {
    with_neighbours(|tx| {
        half_done(tx)?;
        panic!("on purpose");
    })
    .await;
}

async fn limit_pages(store: &Store, more: i64) {
    store
        .write(move |tx| {
            let pages: i64 = tx
                .connection
                .pragma_query_value(None, "page_count", |row| row.get(0))?;
            let sql = format!("PRAGMA max_page_count = {}", pages + more);
            tx.connection.query_row(&sql, [], |_| Ok(()))
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_full_disk_is_an_outage_and_loses_nothing() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    limit_pages(&scene.store, 8).await;
    let mut issued = 0;
    let error = loop {
        match scene
            .issue(template, &format!("user {issued} {}", "x".repeat(200)))
            .await
        {
            Ok(outcome) => assert_eq!(outcome, Outcome::Ran(Ok(()))),
            Err(error) => break error,
        }
        issued += 1;
        assert!(issued < 10_000);
    };
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(scene.store.inner.writer.pulse().is_failing());
    let health = scene.store.check().await;
    assert_eq!(health[0].problem.as_deref(), Some("writes fail"));
    limit_pages(&scene.store, 1_000_000).await;
    scene.issued(template, "one more").await;
    let Owned::Mine(stored) = scene.store.find(scene.merchant, template).await.unwrap() else {
        panic!("the template is gone");
    };
    let counts = scene.store.issue_counts(&[stored]).await.unwrap();
    assert_eq!(counts, [issued + 1]);
    assert_eq!(scene.store.audit().await.unwrap(), []);
}

#[tokio::test]
async fn without_the_index_of_holders_no_user_gets_a_second_coupon() {
    let scene = Scene::with(0).await;
    let template = scene.template(Limit::None).await;
    for user in ["entered", "waiting"] {
        scene.issued(template, user).await;
    }
    let connection = scene.raw();
    connection
        .execute_batch("DROP TABLE coupon_holders")
        .unwrap();
    let again = scene.issue(template, "waiting").await.unwrap();
    assert_eq!(again, Outcome::Ran(Err(IssueRefusal::AlreadyIssued)));
    let error = scene.issue(template, "entered").await;
    assert!(matches!(error, Err(StoreError::Unexpected(_))), "{error:?}");
    let differences = scene.store.audit().await.unwrap();
    assert_eq!(differences[0].subject, "schema coupon_holders");
}

#[tokio::test]
async fn queued_writes_are_finished_on_close_and_the_log_is_emptied() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    for user in 0..100 {
        scene.issue(template, &user.to_string()).await.unwrap();
    }
    let Scene {
        store,
        folder,
        clock,
        ..
    } = scene;
    store.close();
    let log = folder.path().join("goodpon.db-wal");
    assert!(log.metadata().map_or(true, |log| log.len() == 0));
    let store = super::open(&folder, &clock).unwrap();
    assert_eq!(store.audit().await.unwrap(), []);
}

#[tokio::test]
async fn a_commit_waits_for_the_disk() {
    let scene = Scene::new().await;
    let settings = scene.store.write(|tx| {
        let read = |name| {
            tx.connection
                .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
        };
        Ok((read("journal_mode")?, read("synchronous")?))
    });
    // 2 is FULL.
    assert_eq!(settings.await.unwrap(), ("wal".to_owned().into(), 2.into()));
}

#[tokio::test]
async fn an_answer_is_remembered_across_a_restart() {
    let scene = Scene::new().await;
    let template_id = scene.template(Limit::None).await;
    let request = IssueRequest {
        merchant_id: scene.merchant,
        template_id,
        user_id: "user".into(),
    };
    let answer = Answer {
        status: 200,
        body: "as written".into(),
    };
    let kept = answer.clone();
    let keyed = Idempotency::<IssueOutcome> {
        key: [7; 16],
        body: [8; 16],
        render: Arc::new(move |_| kept.clone()),
    };
    let first = scene.store.issue(request.clone(), Some(keyed.clone()));
    assert!(matches!(first.await.unwrap(), Outcome::Ran(Ok(_))));
    let Scene {
        store,
        folder,
        clock,
        ..
    } = scene;
    store.close();
    let store = super::open(&folder, &clock).unwrap();
    let again = store.issue(request, Some(keyed)).await.unwrap();
    assert_eq!(again, Outcome::Replayed(answer));
}

/// Answers of issues are common. Should they ever carry data, the table stays small, and each is still kept to the byte.
#[tokio::test]
async fn the_table_of_common_answers_refuses_to_grow() {
    let scene = Scene::new().await;
    let template_id = scene.template(Limit::None).await;
    let keyed = |number: u8| {
        let answer = Answer {
            status: 200,
            body: format!("answer {number}").into(),
        };
        let kept = answer.clone();
        let idempotency = Idempotency::<IssueOutcome> {
            key: [number; 16],
            body: [0; 16],
            render: Arc::new(move |_| kept.clone()),
        };
        (idempotency, answer)
    };
    let issue = |number: u8| {
        let request = IssueRequest {
            merchant_id: scene.merchant,
            template_id,
            user_id: format!("user {number}"),
        };
        scene.store.issue(request, Some(keyed(number).0))
    };
    for number in 0..100 {
        assert!(matches!(issue(number).await.unwrap(), Outcome::Ran(Ok(_))));
    }
    let count = |sql: &str| -> i64 { scene.raw().query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("SELECT count(*) FROM common_answers"), 64);
    let own = "SELECT count(*) FROM idempotency_records WHERE own_answer IS NOT NULL";
    assert_eq!(count(own), 36);
    for number in 0..100 {
        let (_, answer) = keyed(number);
        assert_eq!(issue(number).await.unwrap(), Outcome::Replayed(answer));
    }
    assert_eq!(scene.store.audit().await.unwrap(), []);
}
