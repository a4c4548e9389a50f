//! Folders and schemas that are refused, and backups.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use goodpon_application::ports::{Audit, Coupons, Histories, Mails};
use goodpon_application::ports::{Direction, HistoryFilter};
use goodpon_domain::{account::EmailKey, template::Limit};
use jiff::SignedDuration;
use rusqlite::Connection;
use tempfile::TempDir;

use super::{Scene, open};
use crate::{
    backup::{self, BackupError, restore},
    error::OpenError,
    folder::DATABASE_FILE,
    read_only::ReadOnlyStore,
};

#[tokio::test]
async fn a_folder_has_one_writer() {
    let scene = Scene::new().await;
    let refused = open(&scene.folder, &scene.clock).err().unwrap();
    assert!(matches!(refused, OpenError::InUse(_)));
    assert!(!refused.to_string().contains('\n'));
    let Scene {
        store,
        folder,
        clock,
        ..
    } = scene;
    store.close();
    assert!(open(&folder, &clock).is_ok());
}

#[tokio::test]
async fn a_schema_that_is_too_new_is_refused() {
    let Scene {
        store,
        folder,
        clock,
        ..
    } = Scene::new().await;
    store.close();
    let path = folder.path().join(DATABASE_FILE);
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    for refused in [
        open(&folder, &clock).err().unwrap(),
        ReadOnlyStore::open(folder.path()).err().unwrap(),
    ] {
        assert!(
            matches!(refused, OpenError::SchemaTooNew { found: 99, .. }),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_schema_to_which_a_newer_program_added_is_worked_on() {
    let Scene {
        store,
        folder,
        clock,
        ..
    } = Scene::new().await;
    store.close();
    let connection = Connection::open(folder.path().join(DATABASE_FILE)).unwrap();
    let asked = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    // Programs of version 1 look at nothing else.
    assert_eq!(asked("PRAGMA user_version"), Ok(1));
    let newer = "ALTER TABLE accounts ADD COLUMN more INTEGER NOT NULL DEFAULT 0;
                 INSERT INTO schema_steps (version) VALUES (99)";
    connection.execute_batch(newer).unwrap();
    let store = open(&folder, &clock).unwrap();
    assert_eq!(store.audit().await.unwrap(), []);
    let reader = ReadOnlyStore::open(folder.path()).unwrap();
    assert_eq!(reader.audit().await.unwrap(), []);
    let copy = folder.path().join("copy");
    backup::write(folder.path(), &copy).unwrap();
    let restored = TempDir::new().unwrap();
    restore(&copy, &restored.path().join("data")).unwrap();
    assert_eq!(asked("SELECT max(version) FROM schema_steps"), Ok(99));
}

#[tokio::test]
async fn a_second_process_can_read() {
    let scene = Scene::new().await;
    let reader = ReadOnlyStore::open(scene.folder.path()).unwrap();
    assert_eq!(reader.audit().await.unwrap(), []);
    let mails = reader.mails(Some("owner@EXAMPLE.com"), 10).await.unwrap();
    assert_eq!(mails.len(), 1);
    let empty = TempDir::new().unwrap();
    let missing = ReadOnlyStore::open(empty.path());
    assert!(matches!(missing, Err(OpenError::Missing(_))));
}

#[tokio::test]
async fn mails_are_matched_as_typed_before_any_case() {
    let scene = Scene::new().await;
    let key = EmailKey::of("owner@example.com");
    let connection = scene.raw();
    let sql =
        "INSERT INTO mails (recipient, subject, text, html, created_at) VALUES (?1, '', '', '', 0)";
    connection.execute(sql, [key.as_str()]).unwrap();
    let to = async |address| {
        let mails = Mails::list(&scene.store, Some(address), 10).await.unwrap();
        mails.into_iter().map(|mail| mail.to).collect::<Vec<_>>()
    };
    assert_eq!(to("Owner@example.com").await, ["Owner@example.com"]);
    assert_eq!(to("owner@example.com").await, ["owner@example.com"]);
    assert_eq!(
        to("OWNER@example.com").await,
        ["owner@example.com", "Owner@example.com"]
    );
}

/// Names in a folder, without those of the database itself.
fn others(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with("goodpon.")).collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_one_moment_of_a_store_that_serves() {
    let scene = Arc::new(Scene::new().await);
    let template = scene.template(Limit::None).await;
    scene.issued(template, "first").await;
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup.db");
    let issuing = tokio::spawn({
        let scene = Arc::clone(&scene);
        async move {
            for user in 0..200 {
                scene.issued(template, &user.to_string()).await;
            }
        }
    });
    let (folder, to) = (scene.folder.path().to_owned(), file.clone());
    tokio::task::spawn_blocking(move || backup::write(&folder, &to))
        .await
        .unwrap()
        .unwrap();
    issuing.await.unwrap();
    assert_eq!(others(place.path()), ["backup.db", "backup.db.sha256"]);
    let again = backup::write(scene.folder.path(), &file);
    assert!(matches!(again, Err(BackupError::Exists(_))));

    let target = TempDir::new().unwrap();
    restore(&file, target.path()).unwrap();
    let refused = restore(&file, target.path());
    assert!(matches!(refused, Err(BackupError::HasDatabase(_))));
    assert!(others(target.path()).is_empty());
    let with_log = TempDir::new().unwrap();
    fs::write(with_log.path().join("goodpon.db-wal"), "left over").unwrap();
    let refused = restore(&file, with_log.path());
    assert!(matches!(refused, Err(BackupError::HasDatabase(_))));
    let restored = open(&target, &scene.clock).unwrap();
    assert_eq!(restored.audit().await.unwrap(), []);
    assert_eq!(
        restored
            .held(scene.merchant, "first", usize::MAX)
            .await
            .unwrap()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn an_unsound_backup_is_not_restored() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    for user in 0..200 {
        scene
            .issue(template, &format!("user {user}"))
            .await
            .unwrap();
    }
    let place = TempDir::new().unwrap();
    let sound = place.path().join("sound");
    backup::write(scene.folder.path(), &sound).unwrap();
    let target = TempDir::new().unwrap();
    let try_it = |name: &str, content: Option<&[u8]>| {
        let file = place.path().join(name);
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let refused = restore(&file, target.path()).unwrap_err();
        assert!(!refused.to_string().contains('\n'), "{refused}");
        assert!(!target.path().join(DATABASE_FILE).exists());
        refused
    };
    assert!(matches!(try_it("absent", None), BackupError::File { .. }));
    assert!(matches!(
        try_it("empty", Some(b"")),
        BackupError::Unsound { .. }
    ));
    assert!(matches!(
        try_it("text", Some(&[b'x'; 9_000])),
        BackupError::Unsound { .. }
    ));
    let mut bytes = fs::read(&sound).unwrap();
    fs::remove_file(place.path().join("sound.sha256")).unwrap();
    let half = bytes.len() / 2;
    assert!(matches!(
        try_it("cut", Some(&bytes[..half])),
        BackupError::Unsound { .. }
    ));
    bytes[half..half + 4_096].fill(0xaa);
    assert!(matches!(
        try_it("damaged", Some(&bytes)),
        BackupError::Unsound { .. }
    ));
    let connection = Connection::open(&sound).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let newer = try_it("sound", None);
    assert!(
        matches!(newer, BackupError::Folder(OpenError::SchemaTooNew { .. })),
        "{newer}"
    );
}

#[tokio::test]
async fn a_backup_is_what_its_checksum_says() {
    let scene = Scene::new().await;
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup");
    backup::write(scene.folder.path(), &file).unwrap();
    let target = TempDir::new().unwrap();
    let connection = Connection::open(&file).unwrap();
    // No check of the database finds a text that was replaced by another.
    let changed = connection.execute("UPDATE accounts SET name = 'Mallory'", []);
    assert_eq!(changed.unwrap(), 1);
    drop(connection);
    let refused = restore(&file, target.path()).unwrap_err().to_string();
    assert!(refused.contains("its SHA-256 is"), "{refused}");
    fs::remove_file(place.path().join("backup.sha256")).unwrap();
    restore(&file, target.path()).unwrap();
    fs::write(place.path().join("other.sha256"), "").unwrap();
    let taken = backup::write(scene.folder.path(), &place.path().join("other"));
    assert!(matches!(taken, Err(BackupError::Exists(_))), "{taken:?}");
}

#[tokio::test]
async fn a_schema_that_is_not_ours_is_neither_restored_nor_opened() {
    for (change, word) in [
        (
            "CREATE TRIGGER spy AFTER INSERT ON accounts BEGIN UPDATE accounts SET name = 'x'; END",
            "trigger spy",
        ),
        (
            "DROP TABLE mails; CREATE VIEW mails AS SELECT 1 AS id",
            "view mails",
        ),
        ("DROP TABLE mails", "mails is missing"),
        ("CREATE TABLE hoard (x)", "hoard"),
        (
            "ALTER TABLE mails ADD COLUMN hoard INTEGER",
            "mails is not as",
        ),
    ] {
        let Scene {
            store,
            folder,
            clock,
            ..
        } = Scene::new().await;
        store.close();
        let path = folder.path().join(DATABASE_FILE);
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(change).unwrap();
        connection
            .pragma_update(None, "journal_mode", "delete")
            .unwrap();
        drop(connection);
        let target = TempDir::new().unwrap();
        let refused = restore(&path, target.path()).unwrap_err().to_string();
        assert!(refused.contains(word), "{change}: {refused}");
        assert!(!target.path().join(DATABASE_FILE).exists());
        let refused = open(&folder, &clock).err().unwrap();
        assert!(matches!(refused, OpenError::Strange(_)), "{refused}");
        assert!(refused.to_string().contains(word), "{change}: {refused}");
    }
}

#[tokio::test]
async fn names_are_taken_as_they_stand() {
    let scene = Scene::new().await;
    let place = TempDir::new().unwrap();
    for name in [
        "file:backup.db?mode=ro",
        "file::memory:?cache=shared",
        ":memory:",
        "?mode=ro#x",
        "%41",
        "--help",
        " ",
    ] {
        let file = place.path().join(name);
        backup::write(scene.folder.path(), &file).unwrap();
        assert!(file.is_file(), "{name}");
        let target = place.path().join(format!("into {name}"));
        restore(&file, &target).unwrap();
        let store = ReadOnlyStore::open(&target).unwrap();
        assert_eq!(store.audit().await.unwrap(), [], "{name}");
    }
    for name in ["-", "a/", ".", "..", ""] {
        let refused = backup::write(scene.folder.path(), Path::new(name));
        assert!(matches!(refused, Err(BackupError::Name(_))), "{name}");
        let refused = restore(Path::new(name), place.path());
        assert!(matches!(refused, Err(BackupError::Name(_))), "{name}");
    }
}

#[tokio::test]
async fn rows_that_refer_to_nothing_and_unknown_roles_are_differences() {
    let scene = Scene::new().await;
    let connection = scene.raw();
    connection
        .execute_batch(
            "PRAGMA foreign_keys = OFF;
             UPDATE merchant_members SET role = 7;
             INSERT INTO merchant_members (merchant_id, account_id, role, created_at) VALUES (77, 1, 0, 0);",
        )
        .unwrap();
    let found = scene.store.audit().await.unwrap();
    let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert!(
        texts
            .iter()
            .any(|line| line.contains("role") && line.contains('7')),
        "{texts:?}"
    );
    assert!(
        texts
            .iter()
            .any(|line| line.contains("one of merchants that it names")),
        "{texts:?}"
    );
}

/// A store of the first schema, with a coupon that is redeemed for `order 1`, opened by today's program.
#[tokio::test]
async fn entries_of_before_may_lack_their_amounts() {
    let scene = Scene::with(0).await;
    let template = scene.template(Limit::None).await;
    let old = scene.issued(template, "old").await;
    scene.redeem(old, "old", "order 1").await;
    let Scene {
        store,
        folder,
        clock,
        merchant,
        owner,
    } = scene;
    store.close();
    let path = folder.path().join(DATABASE_FILE);
    as_of_the_first_schema(&path);
    let refused = ReadOnlyStore::open(folder.path());
    let text = refused.err().unwrap().to_string();
    assert!(text.contains("run `goodpon serve` once"), "{text}");
    let store = open(&folder, &clock).unwrap();
    let scene = Scene {
        store,
        clock,
        merchant,
        owner,
        folder,
    };
    assert_eq!(scene.store.audit().await.unwrap(), []);
    scene.clock.advance(SignedDuration::from_secs(1));
    scene.cancel(old, "order 1").await;
    scene.redeem(old, "old", "order 2").await;
    assert_eq!(scene.store.audit().await.unwrap(), []);
    let forget = "UPDATE coupon_histories SET order_amount = NULL, discount_amount = NULL WHERE order_id = 'order 2'";
    scene.raw().execute_batch(forget).unwrap();
    let found = scene.store.audit().await.unwrap();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].subject.ends_with(" amounts"), "{found:#?}");
}

/// Makes a database of today's schema one of the first.
fn as_of_the_first_schema(path: &Path) {
    let connection = Connection::open(path).unwrap();
    let first = include_str!("../migrations/0001_initial.sql");
    let plain = Connection::open_in_memory().unwrap();
    plain.execute_batch(first).unwrap();
    let columns = |connection: &Connection, table: &str| -> Vec<String> {
        let sql = format!("SELECT name FROM pragma_table_info('{table}')");
        let mut statement = connection.prepare(&sql).unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    };
    let objects = |connection: &Connection, kind: &str| -> Vec<String> {
        let sql = format!(
            "SELECT name FROM sqlite_schema WHERE type = '{kind}' AND name NOT LIKE 'sqlite_%'"
        );
        let mut statement = connection.prepare(&sql).unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    };
    for kind in ["index", "table"] {
        let known = objects(&plain, kind);
        for new in objects(&connection, kind) {
            if !known.contains(&new) {
                connection
                    .execute_batch(&format!("DROP {kind} {new}"))
                    .unwrap();
            }
        }
    }
    for table in objects(&plain, "table") {
        let known = columns(&plain, &table);
        for new in columns(&connection, &table) {
            if !known.contains(&new) {
                let drop = format!("ALTER TABLE {table} DROP COLUMN {new}");
                connection.execute_batch(&drop).unwrap();
            }
        }
    }
    connection.pragma_update(None, "user_version", 1).unwrap();
}

/// A program of the version before may have served the folder in between: its entries are on pages nevertheless.
#[tokio::test]
async fn pages_tell_what_a_program_without_their_directory_wrote() {
    let scene = Scene::with(0).await;
    let template = scene.template(Limit::None).await;
    scene.issued(template, "before").await;
    scene.clock.advance(SignedDuration::from_secs(5));
    scene.issued(template, "beside").await;
    let forget =
        "DELETE FROM template_activity WHERE second = (SELECT max(second) FROM template_activity)";
    assert_eq!(scene.raw().execute(forget, []).unwrap(), 1);
    let page = async |scene: &Scene| {
        let filter = HistoryFilter::default();
        let page = scene
            .store
            .page(scene.merchant, &filter, Direction::Descending, None, 10);
        page.await.unwrap().len()
    };
    assert_eq!(page(&scene).await, 1, "it is not known");
    let scene = scene.reopened();
    assert_eq!(page(&scene).await, 2);
    assert_eq!(scene.store.audit().await.unwrap(), []);
}
