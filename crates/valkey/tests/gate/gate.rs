//! The gate script rule by rule, in their order, and confirmation.

use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Closed, Epoch, IssueEvent, Taken, UNLIMITED},
};

use crate::scene::{ANSWERS, GATE, Scene, answer_of, event, finished, hours, keyed, minutes, now};

const AT_ONE: Taken = Taken::Closed(Closed {
    epoch: Some(Epoch(1)),
});

#[tokio::test]
async fn a_finished_answer_comes_before_everything() {
    let scene = Scene::open(5).await;
    let first = event("a", 1, keyed(1, 1));
    scene.issue(&first).await;
    let again = event("a", 2, keyed(1, 1));
    let other_body = event("b", 3, keyed(1, 2));
    assert_eq!(scene.take(&again).await, Taken::Replay(finished(Ok(()))));
    assert_eq!(scene.take(&other_body).await, Taken::Mismatch);
    // It also comes before the template's verdict, and needs no gate.
    let verdict = IssueRefusal::NotIssuable;
    assert_eq!(
        scene.refuse(&again, verdict).await,
        Taken::Replay(finished(Ok(())))
    );
    let _: i64 = scene.server.run(&format!("DEL {}", Scene::name("g"))).await;
    assert_eq!(scene.take(&again).await, Taken::Replay(finished(Ok(()))));
    assert_eq!(scene.take(&other_body).await, Taken::Mismatch);
}

#[tokio::test]
async fn a_finished_answer_counts_for_a_day_by_both_clocks() {
    let scene = Scene::open(5).await;
    scene.issue(&event("a", 1, keyed(1, 1))).await;
    let at = async |hour| {
        let other = event("b", 2, keyed(1, 2));
        scene
            .bound
            .take(GATE, &other, None, ANSWERS, now() + hours(hour))
            .await
    };
    assert_eq!(at(23).await.unwrap(), Taken::Mismatch);
    assert!(matches!(at(24).await.unwrap(), Taken::Reserved { .. }));

    let scene = Scene::open(5).await;
    scene.issue(&event("a", 1, keyed(1, 1))).await;
    let names: Vec<Vec<u8>> = scene.server.run("KEYS *:k:*").await;
    let mut pttl = redis::cmd("PTTL");
    let mut connection = scene.server.connect().await;
    let left: i64 = pttl
        .arg(&names[0])
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!((80_000_000..=86_400_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_gate_is_closed_if_it_is_missing_or_has_another_epoch() {
    let scene = Scene::empty().await;
    let wish = event("a", 1, None);
    let missing = Taken::Closed(Closed { epoch: None });
    assert_eq!(scene.take(&wish).await, missing);
    scene.install(Epoch(1), 5, &[]).await;
    for epoch in [Epoch(0), Epoch(2)] {
        let wish = IssueEvent {
            epoch,
            ..wish.clone()
        };
        assert_eq!(scene.take(&wish).await, AT_ONE);
    }
    // A closed gate remembers no verdict either.
    let keyed = IssueEvent {
        epoch: Epoch(2),
        ..event("a", 1, keyed(1, 1))
    };
    let verdict = IssueRefusal::NotIssuable;
    assert_eq!(scene.refuse(&keyed, verdict).await, AT_ONE);
    assert_eq!(scene.refuse(&keyed, verdict).await, AT_ONE);
    assert_eq!(scene.counts().await, (0, 0));
}

#[tokio::test]
async fn asking_again_after_a_lost_reply_finds_the_same_place() {
    let scene = Scene::open(5).await;
    for wish in [event("a", 1, None), event("b", 2, keyed(1, 1))] {
        let first = scene.take(&wish).await;
        assert!(matches!(first, Taken::Reserved { .. }));
        assert_eq!(scene.take(&wish).await, first);
        // This holds even if the template refuses by now.
        let verdict = IssueRefusal::NotIssuablePeriod;
        assert_eq!(scene.refuse(&wish, verdict).await, first);
    }
    assert_eq!(scene.counts().await, (2, 0));
}

#[tokio::test]
async fn a_key_that_is_pending_is_helped_whatever_the_user_and_body() {
    let scene = Scene::open(5).await;
    let first = event("a", 1, keyed(1, 1));
    scene.take(&first).await;
    let help = Taken::Help(first);
    // This holds for the same body, for another user and body, and before the template's verdict.
    assert_eq!(scene.take(&event("a", 2, keyed(1, 1))).await, help);
    let other = event("b", 3, keyed(1, 2));
    assert_eq!(scene.take(&other).await, help);
    assert_eq!(scene.refuse(&other, IssueRefusal::NotIssuable).await, help);
    assert_eq!(scene.counts().await, (1, 0));
}

#[tokio::test]
async fn an_event_to_be_helped_has_the_helpers_valid_until() {
    let scene = Scene::open(5).await;
    let first = event("a", 1, keyed(1, 1));
    scene.take(&first).await;
    let later = IssueEvent {
        valid_until: now() + hours(1),
        ..event("a", 2, None)
    };
    let expected = IssueEvent {
        valid_until: later.valid_until,
        ..first
    };
    assert_eq!(scene.take(&later).await, Taken::Help(expected));
}

#[tokio::test]
async fn a_verdict_is_remembered_and_comes_before_the_users_pending_place() {
    let scene = Scene::open(5).await;
    scene.take(&event("a", 1, None)).await;
    let verdict = IssueRefusal::NotIssuablePeriod;
    let wish = event("a", 2, keyed(1, 1));
    let refused = Taken::Refused(verdict);
    assert_eq!(scene.refuse(&wish, verdict).await, refused);
    assert_eq!(
        scene.take(&wish).await,
        Taken::Replay(finished(Err(verdict)))
    );
    let other_body = event("a", 3, keyed(1, 2));
    assert_eq!(scene.take(&other_body).await, Taken::Mismatch);
    // Without a key there is nothing to remember.
    let unkeyed = event("b", 4, None);
    assert_eq!(scene.refuse(&unkeyed, verdict).await, refused);
    assert!(matches!(scene.take(&unkeyed).await, Taken::Reserved { .. }));
}

#[tokio::test]
async fn a_user_whose_place_is_pending_is_helped_first() {
    let scene = Scene::open(1).await;
    let first = event("a", 1, None);
    scene.take(&first).await;
    let help = Taken::Help(first);
    assert_eq!(scene.take(&event("a", 2, None)).await, help);
    assert_eq!(scene.take(&event("a", 3, keyed(1, 1))).await, help);
}

#[tokio::test]
async fn a_holder_is_refused_before_places_are_looked_at() {
    let scene = Scene::open(1).await;
    scene.issue(&event("a", 1, None)).await;
    let wish = event("a", 2, keyed(1, 1));
    let refusal = IssueRefusal::AlreadyIssued;
    assert_eq!(scene.take(&wish).await, Taken::AlreadyIssued);
    assert_eq!(
        scene.take(&wish).await,
        Taken::Replay(finished(Err(refusal)))
    );
    assert_eq!(
        scene.take(&event("b", 3, keyed(1, 2))).await,
        Taken::Mismatch
    );
}

#[tokio::test]
async fn loaded_users_are_holders() {
    let scene = Scene::empty().await;
    scene.install(Epoch(1), 5, &["a", "b"]).await;
    assert_eq!(scene.take(&event("a", 1, None)).await, Taken::AlreadyIssued);
    assert!(matches!(
        scene.take(&event("c", 2, None)).await,
        Taken::Reserved { spent: 1 }
    ));
}

#[tokio::test]
async fn sold_out_is_answered_only_when_every_place_is_confirmed() {
    let scene = Scene::open(2).await;
    let (first, second) = (event("a", 1, None), event("b", 2, None));
    scene.take(&first).await;
    scene.take(&second).await;
    let late = event("c", 3, keyed(1, 1));
    for user in ["a", "b"] {
        scene.make_due(user, -hours(1)).await;
    }
    assert_eq!(scene.take(&late).await, Taken::Wait);
    scene.confirm(&[first]).await;
    assert_eq!(scene.take(&late).await, Taken::Wait);
    // Once due, a reservation is helped, and is then due again in a second.
    scene.make_due("b", minutes(0)).await;
    let before = scene.clock().await;
    assert_eq!(scene.take(&late).await, Taken::Help(second.clone()));
    let until = before + 1000..=scene.clock().await + 1000;
    assert!(until.contains(&scene.due_at("b").await));
    scene.make_due("b", -hours(1)).await;
    assert_eq!(scene.take(&late).await, Taken::Wait);
    scene.confirm(&[second]).await;
    assert_eq!(scene.take(&late).await, Taken::SoldOut);
    let refusal = IssueRefusal::SoldOut;
    assert_eq!(
        scene.take(&late).await,
        Taken::Replay(finished(Err(refusal)))
    );
}

#[tokio::test]
async fn the_oldest_that_is_due_is_helped_first() {
    let scene = Scene::open(3).await;
    let events = [
        event("a", 1, None),
        event("b", 2, None),
        event("c", 3, None),
    ];
    for event in &events {
        scene.take(event).await;
    }
    for (user, since) in [("a", 10), ("b", 30), ("c", 20)] {
        scene.make_due(user, minutes(since)).await;
    }
    let late = event("d", 4, None);
    for helped in [1, 2, 0] {
        let help = Taken::Help(events[helped].clone());
        assert_eq!(scene.take(&late).await, help);
    }
}

#[tokio::test]
async fn a_gate_may_have_no_places_or_unlimited_ones() {
    let scene = Scene::open(0).await;
    assert_eq!(scene.take(&event("a", 1, None)).await, Taken::SoldOut);
    let scene = Scene::open(UNLIMITED).await;
    scene.issue(&event("a", 1, None)).await;
    let look = scene.bound.look(GATE, Epoch(1), None, None, now());
    assert_eq!(look.await.unwrap().gate.unwrap().cap, UNLIMITED);
    assert!(matches!(
        scene.take(&event("b", 2, None)).await,
        Taken::Reserved { spent: 2 }
    ));
}

#[tokio::test]
async fn short_of_memory_repeatable_refusals_are_not_remembered() {
    let scene = Scene::open(1).await;
    scene.issue(&event("a", 1, None)).await;
    let used: i64 = {
        let info: String = scene.server.run("INFO memory").await;
        let used = info
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        used.unwrap().parse().unwrap()
    };
    let set = format!("CONFIG SET maxmemory {}", used * 10 / 9);
    let _: () = scene.server.run(&set).await;
    scene.bound.prove_writable().await.unwrap();
    assert!(scene.valkey.is_short_of_memory());
    let (holder, late) = (event("a", 2, keyed(1, 1)), event("b", 3, keyed(2, 2)));
    let verdict = IssueRefusal::NotIssuable;
    for _ in 0..2 {
        assert_eq!(scene.take(&holder).await, Taken::AlreadyIssued);
        assert_eq!(scene.take(&late).await, Taken::SoldOut);
    }
    // A verdict is remembered all the same: the template may not refuse later.
    let third = event("c", 4, keyed(3, 3));
    scene.refuse(&third, verdict).await;
    assert_eq!(
        scene.take(&third).await,
        Taken::Replay(finished(Err(verdict)))
    );
}

#[tokio::test]
async fn confirming_is_for_one_coupon_and_may_be_repeated() {
    let scene = Scene::open(5).await;
    let events = [event("a", 1, keyed(1, 1)), event("b", 2, None)];
    for event in &events {
        scene.take(event).await;
    }
    let strangers = [event("a", 9, None), event("x", 8, keyed(5, 5))];
    assert_eq!(scene.confirm(&strangers).await, [false, false]);
    assert_eq!(scene.counts().await, (2, 0));
    assert_eq!(scene.confirm(&events).await, [true, true]);
    assert_eq!(scene.confirm(&events).await, [false, false]);
    assert_eq!(scene.counts().await, (2, 2));
    assert_eq!(scene.names().await, [Scene::name("g"), Scene::name("u:1")]);
}

#[tokio::test]
async fn confirming_at_another_epoch_does_nothing() {
    let scene = Scene::open(5).await;
    let there = event("a", 1, None);
    scene.take(&there).await;
    let elsewhere = IssueEvent {
        epoch: Epoch(2),
        ..there.clone()
    };
    assert_eq!(scene.confirm(&[elsewhere]).await, [false]);
    assert_eq!(scene.counts().await, (1, 0));
    assert_eq!(scene.confirm(&[there]).await, [true]);
}

#[tokio::test]
async fn a_verdict_without_a_gate_is_remembered_until_a_gate_opens() {
    let scene = Scene::empty().await;
    let verdict = IssueRefusal::NotOwnedByMerchant;
    let remember = async |key, body, verdict| {
        let keyed = keyed(key, body).unwrap();
        let asked = scene.bound.remember(
            GATE,
            Epoch(0),
            keyed,
            verdict,
            answer_of(Err(verdict)),
            now(),
        );
        asked.await.unwrap()
    };
    assert_eq!(remember(1, 1, verdict).await, Taken::Refused(verdict));
    let replay = Taken::Replay(finished(Err(verdict)));
    assert_eq!(remember(1, 1, IssueRefusal::NotIssuable).await, replay);
    assert_eq!(remember(1, 2, verdict).await, Taken::Mismatch);
    // A gate may have a reservation of the key, so it must be asked. The remembered answer stays.
    scene.install(Epoch(1), 5, &[]).await;
    assert_eq!(remember(2, 2, verdict).await, AT_ONE);
    assert_eq!(remember(1, 1, verdict).await, replay);
    assert_eq!(scene.take(&event("a", 1, keyed(1, 1))).await, replay);
}
