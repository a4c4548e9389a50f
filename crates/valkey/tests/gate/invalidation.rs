//! Messages between processes.

use goodpon_valkey::{Invalidation, Invalidations, Valkey};
use tokio::time::timeout;

use crate::scene::{SOON, Scene};

async fn next(messages: &mut Invalidations) -> Invalidation {
    let message = timeout(SOON, messages.next()).await;
    message.expect("no message came")
}

fn changed(text: &str) -> Invalidation {
    Invalidation::Changed(text.into())
}

#[tokio::test]
async fn every_subscriber_of_the_installation_gets_every_message() {
    let scene = Scene::empty().await;
    let elsewhere = Valkey::open(&scene.server.url(), "test").unwrap();
    let other = Valkey::open(&scene.server.url(), "other").unwrap();
    let mut all = [scene.valkey.subscribe(), elsewhere.subscribe()];
    let mut others = other.subscribe();
    for messages in all.iter_mut().chain([&mut others]) {
        assert_eq!(next(messages).await, Invalidation::Missed);
    }
    other.bound_within(SOON).await.unwrap();
    scene.valkey.invalidate("template 1").await.unwrap();
    scene.valkey.invalidate("쿠폰").await.unwrap();
    other.invalidate("theirs").await.unwrap();
    for messages in &mut all {
        assert_eq!(next(messages).await, changed("template 1"));
        assert_eq!(next(messages).await, changed("쿠폰"));
    }
    assert_eq!(next(&mut others).await, changed("theirs"));
}

#[tokio::test]
async fn an_interruption_is_reported() {
    let mut scene = Scene::empty().await;
    let mut messages = scene.valkey.subscribe();
    assert_eq!(next(&mut messages).await, Invalidation::Missed);
    let killed: i64 = scene.server.run("CLIENT KILL TYPE pubsub").await;
    assert_eq!(killed, 1);
    assert_eq!(next(&mut messages).await, Invalidation::Missed);
    scene.server.restart(&[]).await;
    assert_eq!(next(&mut messages).await, Invalidation::Missed);
    // The publisher's own connection may still be the old one.
    let sent = async {
        while scene.valkey.invalidate("again").await.is_err() {
            let _ = scene.valkey.bound_within(SOON).await;
        }
    };
    timeout(SOON, sent).await.unwrap();
    assert_eq!(next(&mut messages).await, changed("again"));
}

#[tokio::test]
async fn a_subscriber_that_falls_behind_is_told_that_it_missed_messages() {
    let scene = Scene::empty().await;
    let mut messages = scene.valkey.subscribe();
    assert_eq!(next(&mut messages).await, Invalidation::Missed);
    let mut watcher = scene.valkey.subscribe();
    assert_eq!(next(&mut watcher).await, Invalidation::Missed);
    for i in 0..3000 {
        scene.valkey.invalidate(&i.to_string()).await.unwrap();
        assert_eq!(next(&mut watcher).await, changed(&i.to_string()));
    }
    // Its own connection may bring the last messages a moment later.
    let missed = async { while messages.next().await != Invalidation::Missed {} };
    timeout(SOON, missed).await.unwrap();
}
