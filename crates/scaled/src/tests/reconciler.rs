//! The reconciler: the gates that it looks at, and a gate with an error that must not delay others.

use std::time::Duration;

use goodpon_domain::{
    gate::{Epoch, GateId, GateState},
    template::Limit,
};
use goodpon_port_laws::eventually;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Scene, ran};
use crate::partner::reconcile::Unreadable;

/// Ends the loops, so that only the test runs rounds.
async fn stop_loops(scene: &Scene) {
    scene.supervisor.stop();
    let late = scene.supervisor.finish(Duration::from_secs(10)).await;
    assert!(late.is_empty(), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gates_without_reservations_are_not_looked_at() {
    let scene = Scene::new().await;
    for _ in 0..20 {
        let template = scene.template(Limit::IssueCount(2)).await;
        assert_eq!(ran(scene.issue(template, "a").await.unwrap()), Ok(()));
    }
    let busy = scene.template(Limit::IssueCount(2)).await;
    assert_eq!(ran(scene.issue(busy, "a").await.unwrap()), Ok(()));
    scene.scaled.partner.confirmer.flush_all().await;
    stop_loops(&scene).await;
    let bound = scene.scaled.valkey.bound().unwrap();
    let unreadable = &Mutex::new(Unreadable::default());
    // A gate is taken from the list a second after its reservation, once that is confirmed.
    eventually("nothing is listed", || async {
        let mut unreadable = unreadable.lock().await;
        scene
            .scaled
            .partner
            .reconcile(&mut unreadable)
            .await
            .unwrap();
        let all = bound.all_busy().await.unwrap();
        all.is_empty()
    })
    .await;
    scene.take_and_die(busy, "b").await;
    let (mut looked, mut helped) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        // Claims the sweep, so that none is done.
        bound.may_sweep(Duration::from_secs(60)).await.unwrap();
        let mut unreadable = unreadable.lock().await;
        let round = scene
            .scaled
            .partner
            .reconcile(&mut unreadable)
            .await
            .unwrap();
        assert!(round.troubles.is_empty(), "{:?}", round.troubles);
        (looked, helped) = (looked + round.looked, helped + round.helped);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(helped, 1);
    assert!((1..=4).contains(&looked), "{looked} looks at 21 gates");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_reservation_delays_no_other_gate() {
    let scene = Scene::new().await;
    let _issuer = scene.issuer();
    // Its template has the smallest id, so it comes first.
    let spoilt = scene.template(Limit::IssueCount(2)).await;
    let other = scene.template(Limit::IssueCount(2)).await;
    for template in [spoilt, other] {
        assert_eq!(ran(scene.issue(template, "a").await.unwrap()), Ok(()));
        scene.take_and_die(template, "b").await;
    }
    scene.spoil_pending(spoilt, "b").await;
    let (shop, bound) = (&scene, &scene.scaled.valkey.bound().unwrap());
    let confirmed = |template, count| async move {
        let now = shop.scaled.partner.clock.now();
        let look = bound.look(GateId::of(template), Epoch(1), None, None, now);
        look.await.unwrap().gate.unwrap().confirmed == count
    };
    eventually("the other is helped", || confirmed(other, 2)).await;
    assert!(confirmed(spoilt, 1).await);
    // A newcomer is asked to come again, and a holder is refused.
    let late = scene.issue(spoilt, "c").await;
    let is_later = matches!(
        late,
        Err(goodpon_application::ports::StoreError::Unavailable { .. })
    );
    assert!(is_later, "{late:?}");
    assert!(ran(scene.issue(spoilt, "a").await.unwrap()).is_err());
    // In the end the gate is opened anew, with the place of the unreadable reservation.
    let unreadable = &Mutex::new(Unreadable::since_long(spoilt, Epoch(1)));
    eventually("the gate is opened anew", || async {
        let mut unreadable = unreadable.lock().await;
        scene
            .scaled
            .partner
            .reconcile(&mut unreadable)
            .await
            .unwrap();
        let gates = scene.store.gates_of(&[spoilt]).await.unwrap();
        let gate = gates[0].as_ref().unwrap();
        gate.epoch > Epoch(1) && gate.state == GateState::Open
    })
    .await;
    let last = scene.issued_in_the_end(spoilt, "c").await;
    assert_eq!(last, Ok(()));
    scene.audited().await;
}
