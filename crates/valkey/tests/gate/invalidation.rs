//! Word between processes.

use goodpon_valkey::{Invalidation, Invalidations, Valkey};
use tokio::time::timeout;

use crate::scene::{SOON, Scene};

async fn next(words: &mut Invalidations) -> Invalidation {
    timeout(SOON, words.next()).await.expect("no word came")
}

fn changed(text: &str) -> Invalidation {
    Invalidation::Changed(text.into())
}

#[tokio::test]
async fn every_subscriber_of_the_installation_hears_every_word() {
    let scene = Scene::empty().await;
    let elsewhere = Valkey::open(&scene.server.url(), "test").unwrap();
    let other = Valkey::open(&scene.server.url(), "other").unwrap();
    let mut all = [scene.valkey.subscribe(), elsewhere.subscribe()];
    let mut stranger = other.subscribe();
    for words in all.iter_mut().chain([&mut stranger]) {
        assert_eq!(next(words).await, Invalidation::Missed);
    }
    other.bound_within(SOON).await.unwrap();
    scene.valkey.invalidate("template 1").await.unwrap();
    scene.valkey.invalidate("쿠폰").await.unwrap();
    other.invalidate("theirs").await.unwrap();
    for words in &mut all {
        assert_eq!(next(words).await, changed("template 1"));
        assert_eq!(next(words).await, changed("쿠폰"));
    }
    assert_eq!(next(&mut stranger).await, changed("theirs"));
}

#[tokio::test]
async fn an_interruption_is_told() {
    let mut scene = Scene::empty().await;
    let mut words = scene.valkey.subscribe();
    assert_eq!(next(&mut words).await, Invalidation::Missed);
    let killed: i64 = scene.server.run("CLIENT KILL TYPE pubsub").await;
    assert_eq!(killed, 1);
    assert_eq!(next(&mut words).await, Invalidation::Missed);
    scene.server.restart(&[]).await;
    assert_eq!(next(&mut words).await, Invalidation::Missed);
    // The publisher's connection finds out for itself.
    let sent = async {
        while scene.valkey.invalidate("again").await.is_err() {
            let _ = scene.valkey.bound_within(SOON).await;
        }
    };
    timeout(SOON, sent).await.unwrap();
    assert_eq!(next(&mut words).await, changed("again"));
}

#[tokio::test]
async fn who_falls_behind_is_told_so() {
    let scene = Scene::empty().await;
    let mut words = scene.valkey.subscribe();
    assert_eq!(next(&mut words).await, Invalidation::Missed);
    let mut watcher = scene.valkey.subscribe();
    assert_eq!(next(&mut watcher).await, Invalidation::Missed);
    for i in 0..3000 {
        scene.valkey.invalidate(&i.to_string()).await.unwrap();
        assert_eq!(next(&mut watcher).await, changed(&i.to_string()));
    }
    // Its own connection may bring the last of them a moment later.
    let heard = async { while words.next().await != Invalidation::Missed {} };
    timeout(SOON, heard).await.unwrap();
}
