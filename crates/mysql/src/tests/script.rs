//! Scripts on a real server.

use super::store;
use crate::{fault::Fault, script::Script};

const INSERT: &str = "INSERT INTO idempotency_records (id, body, status, answer, stored_at)
                      VALUES (?, ?, 200, '', ?)";

fn insert(script: &mut Script, id: u8) {
    script.add(INSERT, [(&[id; 16]).into(), (&[0; 16]).into(), 0.into()]);
}

/// Texts with any characters are stored unchanged.
#[tokio::test(flavor = "multi_thread")]
async fn values_arrive_as_they_are() {
    let (store, _clock, _database) = store().await;
    let texts = [
        "",
        "'",
        "\\",
        "\\'; DROP TABLE x; -- ",
        "a?b",
        "쿠폰 🎟\r\n\t",
        "%_\u{1}",
        "\u{10ffff}",
    ];
    for (number, text) in texts.into_iter().enumerate() {
        let number = i64::try_from(number).unwrap();
        let mut script = Script::default();
        script.add_must_change(
            "INSERT INTO discard_walks (template_id, passed_user_id, finished) VALUES (?, ?, ?)",
            [number.into(), text.into(), 0.into()],
        );
        let script = &script;
        let read = store.transact(|session| {
            Box::pin(async move {
                session.run_script(script).await?;
                let sql = "SELECT passed_user_id FROM discard_walks WHERE template_id = ?";
                session
                    .first(sql, (number,), |row| row.read::<String>())
                    .await
            })
        });
        assert_eq!(read.await.unwrap().as_deref(), Some(text));
    }
}

/// When a statement in the middle fails, its error is returned, none after it runs, and the session can still be used.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_the_middle_ends_the_script() {
    let (store, _clock, _database) = store().await;
    let (mut double, mut lacking, mut wrong) =
        (Script::default(), Script::default(), Script::default());
    for id in [1, 1, 2] {
        insert(&mut double, id);
    }
    insert(&mut lacking, 3);
    lacking.add_must_change(
        "DELETE FROM idempotency_records WHERE id = ?",
        [(&[9; 16]).into()],
    );
    insert(&mut wrong, 4);
    wrong.add("DELETE FROM no_such_table", []);
    let (double, lacking, wrong) = (&double, &lacking, &wrong);
    let tried = store.transact_late(|session| {
        Box::pin(async move {
            let mut faults = Vec::new();
            for script in [double, lacking, wrong] {
                let (fault, one) = (
                    session.run_script(script).await,
                    session
                        .first("SELECT 1", (), |row| row.read::<i64>())
                        .await?,
                );
                assert_eq!(one, Some(1));
                session.roll_back().await?;
                faults.push(fault.unwrap_err());
            }
            Ok(faults)
        })
    });
    let faults = tried.await.unwrap();
    assert!(
        matches!(
            faults[..],
            [Fault::Overtaken, Fault::Overtaken, Fault::Sql(_)]
        ),
        "{faults:?}"
    );
    let sql = "SELECT COUNT(*) FROM idempotency_records";
    let left = store.read(|session| Box::pin(session.first(sql, (), |row| row.read::<i64>())));
    assert_eq!(left.await.unwrap(), Some(0));
}
