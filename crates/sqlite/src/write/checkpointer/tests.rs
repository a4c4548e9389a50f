//! A sync that fails ends the process, and a log that grows is logged.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::sync::Mutex;

use goodpon_domain::template::Limit;
use rusqlite::Connection;

use super::*;
use crate::tests::Scene;

/// A disk whose database cannot be synced, and the reasons for which the process would have ended.
fn broken_disk(scene: &Scene) -> (Disk, Arc<Mutex<Vec<String>>>) {
    let whys: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&whys);
    let end = Arc::new(move |why: &str| sink.lock().unwrap().push(why.to_owned()));
    // No device syncs this one.
    let null = File::open("/dev/null").unwrap();
    (Disk::new(scene.folder.path(), null, end), whys)
}

#[tokio::test]
async fn a_sync_of_moved_pages_that_fails_ends_the_process() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    scene.issued(template, "user").await;
    let (disk, whys) = broken_disk(&scene);
    let connection =
        Connection::open(scene.folder.path().join(crate::folder::DATABASE_FILE)).unwrap();
    let inner = &scene.store.inner;
    let handle = inner.writer.handle();
    move_bulk(&connection, &disk, &handle);
    assert!(disk.has_failed());
    let whys = whys.lock().unwrap();
    assert_eq!(whys.len(), 1, "at the first pass: {whys:?}");
    assert!(
        whys[0].starts_with("a sync of goodpon.db failed"),
        "{whys:?}"
    );
}

#[test]
fn a_growing_log_is_logged_at_the_bound_and_at_each_doubling() {
    let mut size = LogSize::of(Path::new("nowhere"));
    let warned: Vec<bool> = [1, 1023, 1024, 1500, 2047, 2048, 4095, 4096, 100, 1024, 1025]
        .map(|mebibytes: u64| size.is_worth_warning(mebibytes << 20))
        .into();
    let wanted = [
        false, false, true, false, false, true, false, true, false, true, false,
    ];
    assert_eq!(warned, wanted);
}

#[tokio::test]
async fn a_log_that_grew_is_cut_back() {
    let scene = Scene::new().await;
    let limit: i64 = connect(&scene.folder.path().join(crate::folder::DATABASE_FILE))
        .unwrap()
        .pragma_query_value(None, "journal_size_limit", |row| row.get(0))
        .unwrap();
    assert_eq!(limit, 256 << 20);
}
