//! Reads run beside the callers' runtime, are not begun for callers that left, and stop no other read.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::tests::Scene;

const DEADLINE: Duration = Duration::from_secs(20);

/// On one thread alone a read that stands still leaves the runtime to others; further ones queue up, and those whose
/// callers leave meanwhile are never begun.
#[tokio::test(flavor = "current_thread")]
async fn a_read_that_stands_still_stops_neither_the_runtime_nor_other_reads() {
    let scene = Scene::new().await;
    let readers = &scene.store.inner.readers;
    let begun = Arc::new(AtomicUsize::new(0));
    let mut held = Vec::new();
    let mut releases = Vec::new();
    for _ in 0..readers.scans.threads.len() {
        let (release, released) = mpsc::channel::<()>();
        let (began, begins) = tokio::sync::oneshot::channel();
        let read = scene.store.scan(move |_| {
            let _ = began.send(());
            let _ = released.recv_timeout(DEADLINE);
            Ok(())
        });
        let mut read = Box::pin(read);
        assert!((&mut read).now_or_never().is_none());
        tokio::time::timeout(DEADLINE, begins)
            .await
            .unwrap()
            .unwrap();
        held.push(read);
        releases.push(release);
    }
    let count = |begun: &Arc<AtomicUsize>| {
        let begun = Arc::clone(begun);
        move |_: &Connection| Ok(begun.fetch_add(1, Ordering::SeqCst))
    };
    let mut leaves = Box::pin(scene.store.scan(count(&begun)));
    assert!((&mut leaves).now_or_never().is_none(), "it queues up");
    drop(leaves);
    let look = scene.store.read(|_| Ok(()));
    let look = tokio::time::timeout(DEADLINE, look).await;
    assert!(
        matches!(look, Ok(Ok(_))),
        "look-ups have threads of their own"
    );
    releases.clear();
    for read in held {
        tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
    }
    let stays = tokio::time::timeout(DEADLINE, scene.store.scan(count(&begun)));
    assert_eq!(stays.await.unwrap().unwrap(), 0, "the other was not begun");
}

#[tokio::test]
async fn a_read_that_panics_fails_alone() {
    let scene = Scene::new().await;
    for _ in 0..20 {
        let failed = scene
            .store
            .read(|_| -> rusqlite::Result<()> { panic!("on purpose") });
        assert!(matches!(failed.await, Err(StoreError::Unexpected(_))));
    }
    let look = scene
        .store
        .read(|connection| connection.query_row("SELECT 1", [], |row| row.get::<_, i64>(0)));
    assert_eq!(look.await.unwrap(), 1);
}

#[tokio::test]
async fn more_scans_than_may_wait_are_refused() {
    let scene = Scene::new().await;
    let (release, released) = crossbeam_channel::bounded::<()>(0);
    let mut all = Vec::new();
    let refused = loop {
        let released = released.clone();
        let read = scene.store.scan(move |_| {
            let _ = released.recv_timeout(DEADLINE);
            Ok(())
        });
        let mut read = Box::pin(read);
        match (&mut read).now_or_never() {
            None => all.push(read),
            Some(refused) => break refused,
        }
        assert!(all.len() < 2 * MOST_SCANS);
    };
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })));
    assert!(all.len() >= MOST_SCANS);
    drop(release);
    for read in all {
        tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
    }
}
