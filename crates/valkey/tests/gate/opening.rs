//! Loading and installing an epoch, and clearing it away.

use std::time::Duration;

use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Epoch, FoldResult, InstallResult, IssueEvent, KeptSuccess, KeyDigests, Taken},
    id::CouponId,
};
use goodpon_valkey::user_digest;

use crate::scene::{GATE, Scene, answer_of, event, finished, hours, keyed, now};

fn kept(key: u8, body: u8) -> KeptSuccess {
    KeptSuccess {
        keyed: keyed(key, body).unwrap(),
        stored_at: now() - hours(1),
        rest: Duration::from_secs(23 * 3600),
        answer: answer_of(Ok(())),
    }
}

#[tokio::test]
async fn a_gate_opens_with_all_that_was_loaded() {
    let scene = Scene::empty().await;
    let users: Vec<_> = (0..2500).map(|i| user_digest(&i.to_string())).collect();
    for (batch, key) in [(&users[..1500], 1), (&users[1500..], 2)] {
        let keys = [kept(key, key)];
        let loaded = scene.bound.load(GATE, Epoch(3), batch, &keys).await;
        assert_eq!(loaded.unwrap(), InstallResult::Done);
    }
    let left: i64 = scene
        .server
        .run(&format!("PTTL {}", Scene::name("u:3")))
        .await;
    assert!((1..=3_600_000).contains(&left), "{left}");
    let installed = scene.bound.install(GATE, Epoch(3), 10, 2500, 2500).await;
    assert_eq!(installed.unwrap(), InstallResult::Done);
    let left: i64 = scene
        .server
        .run(&format!("PTTL {}", Scene::name("u:3")))
        .await;
    assert_eq!(left, -1, "it does not expire any more");

    let look = scene
        .bound
        .look(GATE, Epoch(3), None, None, now())
        .await
        .unwrap();
    let counts = look.gate.unwrap();
    assert_eq!(
        (counts.cap, counts.base, counts.spent, counts.confirmed),
        (10, 2500, 0, 0)
    );
    let mut wish = event("1700", 1, None);
    wish.epoch = Epoch(3);
    assert_eq!(scene.take(&wish).await, Taken::AlreadyIssued);
    for key in [1, 2] {
        let mut again = event("x", 1, keyed(key, key));
        again.epoch = Epoch(3);
        assert_eq!(scene.take(&again).await, Taken::Replay(finished(Ok(()))));
    }
}

fn numbered(number: u32) -> KeyDigests {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&number.to_be_bytes());
    KeyDigests { key, body: key }
}

/// Lua cannot unpack the arguments of such a batch at once.
#[tokio::test]
async fn batches_may_be_large() {
    let scene = Scene::empty().await;
    let names: Vec<String> = (0..5_000).map(|number| format!("user-{number}")).collect();
    let users: Vec<_> = names.iter().map(|name| user_digest(name)).collect();
    let successes: Vec<_> = (0..5_000)
        .map(|number| KeptSuccess {
            keyed: numbered(number),
            ..kept(0, 0)
        })
        .collect();
    let loaded = scene.bound.load(GATE, Epoch(1), &users, &successes).await;
    assert_eq!(loaded.unwrap(), InstallResult::Done);
    let installed = scene
        .bound
        .install(GATE, Epoch(1), 9_000, 5_000, 5_000)
        .await;
    assert_eq!(installed.unwrap(), InstallResult::Done);
    let wish = |number: u32| IssueEvent {
        keyed: Some(numbered(number)),
        coupon_id: CouponId::from_bytes(numbered(number).key),
        ..event(&format!("user-{number}"), 0, None)
    };
    let known = scene.take(&wish(4_999)).await;
    assert_eq!(known, Taken::Replay(finished(Ok(()))));
    let mut events = Vec::new();
    for number in 5_000..8_000 {
        let event = wish(number);
        assert!(matches!(scene.take(&event).await, Taken::Reserved { .. }));
        events.push(event);
    }
    let confirmed = scene.confirm(&events).await;
    assert!(confirmed.iter().all(|confirmed| *confirmed));
    let unknown = scene
        .bound
        .count_unknown_users(GATE, Epoch(1), &users)
        .await;
    assert_eq!(unknown.unwrap(), 0);
    assert_eq!(
        scene.take(&events[7]).await,
        Taken::Replay(finished(Ok(())))
    );
}

#[tokio::test]
async fn a_batch_may_be_loaded_twice_and_replaces_no_answer() {
    let scene = Scene::empty().await;
    let verdict = IssueRefusal::NotIssuable;
    let there = keyed(1, 1).unwrap();
    scene
        .bound
        .remember(
            GATE,
            Epoch(0),
            there,
            verdict,
            answer_of(Err(verdict)),
            now(),
        )
        .await
        .unwrap();
    let users = [user_digest("a")];
    for _ in 0..2 {
        scene
            .bound
            .load(GATE, Epoch(1), &users, &[kept(1, 1)])
            .await
            .unwrap();
    }
    let installed = scene.bound.install(GATE, Epoch(1), 5, 1, 1).await.unwrap();
    assert_eq!(installed, InstallResult::Done);
    let replay = scene.take(&event("b", 1, keyed(1, 1))).await;
    assert_eq!(replay, Taken::Replay(finished(Err(verdict))));
}

#[tokio::test]
async fn a_gate_does_not_open_when_users_are_missing() {
    let scene = Scene::empty().await;
    let install = async |epoch, loaded| {
        let installed = scene.bound.install(GATE, Epoch(epoch), 5, 2, loaded);
        installed.await.unwrap()
    };
    let users = ["a", "b"].map(user_digest);
    scene.bound.load(GATE, Epoch(1), &users, &[]).await.unwrap();
    assert_eq!(install(1, 3).await, InstallResult::CountDiffers(Some(2)));
    // A gate without users must not open either if its load was lost: its installation may be the repetition of one that
    // gave places already.
    scene.bound.load(GATE, Epoch(2), &[], &[]).await.unwrap();
    assert_eq!(install(2, 0).await, InstallResult::Done);
    let _: () = scene.server.run("FLUSHALL").await;
    assert_eq!(install(2, 0).await, InstallResult::CountDiffers(None));
    assert_eq!(scene.names().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_epoch_is_installed_once_and_never_over_a_newer_one() {
    let scene = Scene::empty().await;
    scene.install(Epoch(2), 5, &[]).await;
    let mut wish = event("a", 1, None);
    wish.epoch = Epoch(2);
    scene.take(&wish).await;
    for epoch in [1, 2] {
        let there = InstallResult::NotOlder(Epoch(2));
        let users = [user_digest("x")];
        let loaded = scene.bound.load(GATE, Epoch(epoch), &users, &[]).await;
        assert_eq!(loaded.unwrap(), there);
        let installed = scene.bound.install(GATE, Epoch(epoch), 9, 0, 0).await;
        assert_eq!(installed.unwrap(), there);
    }
    let look = scene
        .bound
        .look(GATE, Epoch(2), None, None, now())
        .await
        .unwrap();
    assert_eq!(look.gate.unwrap().spent, 1);
}

#[tokio::test]
async fn the_next_epoch_takes_the_place_of_the_one_before() {
    let scene = Scene::open(5).await;
    let first = event("a", 1, keyed(1, 1));
    scene.issue(&first).await;
    scene.take(&event("b", 2, keyed(2, 2))).await;
    scene.install(Epoch(2), 4, &["a"]).await;
    assert_eq!(scene.names().await, [Scene::name("g"), Scene::name("u:2")]);
    let in_second = |mut event: goodpon_domain::gate::IssueEvent| {
        event.epoch = Epoch(2);
        event
    };
    let closed = scene.take(&event("c", 3, None)).await;
    assert!(matches!(closed, Taken::Closed(_)));
    assert!(!scene.confirm(&[event("b", 2, keyed(2, 2))]).await[0]);
    // Answers belong to no epoch; the unconfirmed reservation is gone.
    let again = in_second(event("a", 4, keyed(1, 1)));
    assert_eq!(scene.take(&again).await, Taken::Replay(finished(Ok(()))));
    let anew = in_second(event("b", 5, keyed(2, 2)));
    assert_eq!(scene.take(&anew).await, Taken::Reserved { spent: 1 });
}

#[tokio::test]
async fn a_gate_is_cleared_away_if_it_has_no_reservation() {
    let scene = Scene::open(5).await;
    let there = event("a", 1, keyed(1, 1));
    scene.take(&there).await;
    let fold = async |epoch| scene.bound.fold(GATE, Epoch(epoch)).await.unwrap();
    assert_eq!(fold(1).await, FoldResult::StillPending);
    scene.confirm(&[there]).await;
    assert_eq!(fold(2).await, FoldResult::NotThere(Some(Epoch(1))));
    assert_eq!(fold(1).await, FoldResult::Done);
    assert_eq!(fold(1).await, FoldResult::NotThere(None));
    assert_eq!(scene.names().await, Vec::<String>::new());
    let again = event("a", 2, keyed(1, 1));
    assert_eq!(scene.take(&again).await, Taken::Replay(finished(Ok(()))));
}
