//! Looks at a gate, and its reservations that are due for help.

use std::time::Duration;

use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Closed, Counts, Epoch, Holding, IssueEvent, KeyDigests, KeyState, Look, Taken},
};

use crate::scene::{GATE, Scene, event, finished, keyed, minutes, now};

async fn look(scene: &Scene, epoch: i64, user: &str, keyed: Option<KeyDigests>) -> Look {
    let looked = scene
        .bound
        .look(GATE, Epoch(epoch), Some(user), keyed, now());
    looked.await.unwrap()
}

#[tokio::test]
async fn a_look_finds_counts_users_and_keys() {
    let scene = Scene::open(5).await;
    let (held, pending) = (event("a", 1, keyed(1, 1)), event("b", 2, keyed(2, 2)));
    let before = look(&scene, 1, "a", None).await.gate.unwrap();
    assert_eq!((before.confirmed_at, before.user), (None, None));
    scene.issue(&held).await;
    scene.take(&pending).await;
    let counts = |user| Counts {
        cap: 5,
        base: 0,
        spent: 2,
        confirmed: 1,
        confirmed_at: Some(now()),
        user,
    };
    let expected = |key, user| Look {
        key,
        gate: Ok(counts(user)),
    };
    let issued = Some(KeyState::Replay(finished(Ok(()))));
    let coupon = Some(Holding::Coupon);
    assert_eq!(
        look(&scene, 1, "a", keyed(1, 1)).await,
        expected(issued, coupon)
    );
    let (waits, place) = (Some(KeyState::Pending), Some(Holding::Pending));
    let found = look(&scene, 1, "b", keyed(2, 9)).await;
    assert_eq!(found, expected(waits, place));
    let found = look(&scene, 1, "c", keyed(1, 2)).await;
    assert_eq!(found, expected(Some(KeyState::Mismatch), None));
    let found = look(&scene, 1, "c", keyed(3, 3)).await;
    assert_eq!(found, expected(None, None));
}

#[tokio::test]
async fn a_look_at_a_closed_gate_finds_only_finished_answers() {
    let scene = Scene::open(5).await;
    let verdict = IssueRefusal::NotIssuable;
    scene.refuse(&event("a", 1, keyed(1, 1)), verdict).await;
    scene.take(&event("b", 2, keyed(2, 2))).await;
    let gate = Err(Closed {
        epoch: Some(Epoch(1)),
    });
    let key = Some(KeyState::Replay(finished(Err(verdict))));
    assert_eq!(look(&scene, 2, "a", keyed(1, 1)).await, Look { key, gate });
    assert_eq!(
        look(&scene, 2, "b", keyed(2, 2)).await,
        Look { key: None, gate }
    );
    let _: () = scene.server.run("FLUSHALL").await;
    let gate = Err(Closed { epoch: None });
    assert_eq!(
        look(&scene, 1, "a", keyed(1, 1)).await,
        Look { key: None, gate }
    );
}

#[tokio::test]
async fn reservations_are_handed_out_by_age_and_then_not_for_a_second() {
    let scene = Scene::open(9).await;
    let events = [
        event("a", 1, keyed(1, 1)),
        event("b", 2, None),
        event("c", 3, None),
    ];
    for event in &events {
        scene.take(event).await;
    }
    let handed_out = |event: &IssueEvent| IssueEvent {
        valid_until: jiff::Timestamp::UNIX_EPOCH,
        ..event.clone()
    };
    let age = Duration::from_hours(1);
    let pending = async |limit| {
        let asked = scene.bound.pending(GATE, Epoch(1), age, limit);
        asked.await.unwrap().unwrap().events
    };
    assert_eq!(pending(9).await, []);
    for (user, since) in [("a", 70), ("b", 90), ("c", 50)] {
        scene.make_due(user, minutes(since)).await;
    }
    assert_eq!(pending(1).await, [handed_out(&events[1])]);
    assert_eq!(pending(9).await, [handed_out(&events[0])]);
    assert_eq!(pending(9).await, []);
    // No reservation is released by that.
    assert_eq!(scene.counts().await, (3, 0));
    assert!(matches!(
        scene.take(&events[0]).await,
        Taken::Reserved { spent: 3 }
    ));
    let elsewhere = scene.bound.pending(GATE, Epoch(2), age, 9).await;
    let epoch = Some(Epoch(1));
    assert_eq!(elsewhere.unwrap(), Err(Closed { epoch }));
}
