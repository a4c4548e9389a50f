//! Gates that are lost, moved and folded.

use std::time::Duration;

use goodpon_application::{idempotency::Outcome, ports::StoreError};
use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Epoch, GateId, GateState, IssueEvent, KeyDigests, LogContent, LogRecord, WriteResult},
    id::TemplateId,
    template::Limit,
};
use goodpon_port_laws::eventually;
use jiff::SignedDuration;

use super::{Scene, ran};

impl Scene {
    async fn state(&self, template: TemplateId) -> (Epoch, GateState) {
        let gates = self.store.gates_of(&[template]).await.unwrap();
        let gate = gates[0].as_ref().expect("a gate");
        (gate.epoch, gate.state)
    }

    /// Issues, trying again while the gate is being moved.
    pub(crate) async fn issued_in_the_end(
        &self,
        template: TemplateId,
        user: &str,
    ) -> Result<(), IssueRefusal> {
        let give_up_at = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            match self.issue(template, user).await {
                Ok(outcome) => return ran(outcome),
                Err(StoreError::Unavailable { reason, .. }) => {
                    assert!(tokio::time::Instant::now() < give_up_at, "{reason}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_lost_its_data_is_opened_anew_with_what_is_left() {
    let scene = Scene::new().await;
    let _issuer = scene.issuer();
    let template = scene.template(Limit::IssueCount(5)).await;
    for user in ["a", "b", "c"] {
        assert_eq!(ran(scene.issue(template, user).await.unwrap()), Ok(()));
    }
    let keyed = scene.issue_keyed(template, "d", [7; 16]).await.unwrap();
    assert_eq!(ran(keyed), Ok(()));
    scene.forget_gate(template).await;
    let refused = scene.issue(template, "e").await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(
        scene.issued_in_the_end(template, "a").await,
        Err(IssueRefusal::AlreadyIssued)
    );
    assert_eq!(scene.state(template).await, (Epoch(2), GateState::Open));
    let again = scene.issue_keyed(template, "d", [7; 16]).await.unwrap();
    assert!(
        matches!(again, Outcome::Replayed(_)),
        "the key is known again: {again:?}"
    );
    assert_eq!(scene.issued_in_the_end(template, "e").await, Ok(()));
    assert_eq!(
        scene.issued_in_the_end(template, "f").await,
        Err(IssueRefusal::SoldOut)
    );
    scene.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_lost_a_part_of_its_data_is_opened_anew() {
    let scene = Scene::new().await;
    let _issuer = scene.issuer();
    let lose = async |letter| {
        let template = scene.template(Limit::IssueCount(3)).await;
        assert_eq!(ran(scene.issue(template, "a").await.unwrap()), Ok(()));
        // The partner dies before it publishes, so no success was answered.
        scene.take_and_die(template, "lost").await;
        scene.forget_part(template, letter).await;
        for user in ["b", "c"] {
            assert_eq!(scene.issued_in_the_end(template, user).await, Ok(()));
        }
        let refusal = scene.issued_in_the_end(template, "a").await;
        assert_eq!(refusal, Err(IssueRefusal::AlreadyIssued), "{letter}");
        let refusal = scene.issued_in_the_end(template, "d").await;
        assert_eq!(refusal, Err(IssueRefusal::SoldOut), "{letter}");
        assert_eq!(scene.state(template).await, (Epoch(2), GateState::Open));
        // The gate and its users, and no key of the epoch before.
        assert_eq!(scene.keys_of_gate(template).await, 2, "{letter}");
    };
    tokio::join!(lose("g"), lose("u"), lose("p"), lose("z"));
    scene.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_opens_with_more_coupons_than_a_page_has() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::IssueCount(6_002)).await;
    let key = |number: i64| {
        let mut key = [3; 16];
        key[8..].copy_from_slice(&number.to_be_bytes());
        key
    };
    let records: Vec<_> = (0..6_001)
        .map(|number| {
            let event = scene.event(template, &format!("user-{number}"));
            let keyed = Some(KeyDigests {
                key: key(number),
                body: [1; 16],
            });
            LogRecord {
                offset: number,
                appended_at: event.accepted_at,
                content: LogContent::Event(IssueEvent { keyed, ..event }),
            }
        })
        .collect();
    for batch in records.chunks(500) {
        let written = scene.store.write_issues(0, batch, goodpon_kafka::keep);
        assert!(matches!(written.await.unwrap(), WriteResult::Done(_)));
    }
    let _issuer = scene.issuer();
    let refusal = scene.issued_in_the_end(template, "user-6000").await;
    assert_eq!(refusal, Err(IssueRefusal::AlreadyIssued));
    for number in [0, 4_999, 5_000, 6_000] {
        let user = format!("user-{number}");
        let again = scene.issue_keyed(template, &user, key(number)).await;
        assert!(matches!(again, Ok(Outcome::Replayed(_))), "{again:?}");
    }
    assert_eq!(scene.issued_in_the_end(template, "last").await, Ok(()));
    let refusal = scene.issued_in_the_end(template, "late").await;
    assert_eq!(refusal, Err(IssueRefusal::SoldOut));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_is_not_opened_before_all_older_events_are_processed() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::IssueCount(3)).await;
    for user in ["a", "b"] {
        assert_eq!(
            ran(scene.issue(template, user).await.unwrap()),
            Ok(()),
            "without an issuer"
        );
    }
    scene.forget_gate(template).await;
    // Longer than the times that a seal waits for, so that only progress can hold it up.
    let wait = tokio::time::Instant::now() + Duration::from_secs(10);
    while tokio::time::Instant::now() < wait {
        let refused = scene.issue(template, "c").await;
        assert!(
            matches!(refused, Err(StoreError::Unavailable { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(scene.state(template).await, (Epoch(2), GateState::Sealing));
    let _issuer = scene.issuer();
    assert_eq!(scene.issued_in_the_end(template, "c").await, Ok(()));
    assert_eq!(
        scene.issued_in_the_end(template, "d").await,
        Err(IssueRefusal::SoldOut)
    );
    scene.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_of_a_sale_that_is_over_is_folded_and_its_memory_given_back() {
    let scene = Scene::new().await;
    let _issuer = scene.issuer();
    let (full, open) = (
        scene.template(Limit::IssueCount(2)).await,
        scene.template(Limit::None).await,
    );
    for user in ["a", "b"] {
        for template in [full, open] {
            assert_eq!(ran(scene.issue(template, user).await.unwrap()), Ok(()));
        }
    }
    scene.settled().await;
    scene.clock.advance(SignedDuration::from_hours(26));
    for template in [full, open] {
        eventually("the sale is folded", || async {
            scene.state(template).await.1 == GateState::Folded
        })
        .await;
        assert_eq!(
            scene.keys_of_gate(template).await,
            0,
            "its memory is given back"
        );
    }
    for (template, user, outcome) in [
        (full, "a", Err(IssueRefusal::AlreadyIssued)),
        (full, "c", Err(IssueRefusal::SoldOut)),
        (open, "a", Err(IssueRefusal::AlreadyIssued)),
        (open, "c", Ok(())),
        (open, "b", Err(IssueRefusal::AlreadyIssued)),
    ] {
        assert_eq!(
            scene.issued_in_the_end(template, user).await,
            outcome,
            "{user}"
        );
    }
    assert_eq!(scene.state(full).await.1, GateState::Folded);
    assert_eq!(scene.state(open).await.1, GateState::Open);
    let key = [9; 16];
    let refused = scene.issue_keyed(full, "c", key).await.unwrap();
    assert_eq!(refused, Outcome::Ran(Err(IssueRefusal::SoldOut)));
    let again = scene.issue_keyed(full, "c", key).await.unwrap();
    assert!(matches!(again, Outcome::Replayed(_)), "{again:?}");
    scene.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reservations_of_a_dead_partner_are_published_by_others() {
    let scene = Scene::new().await;
    let _issuer = scene.issuer();
    let template = scene.template(Limit::IssueCount(2)).await;
    assert_eq!(ran(scene.issue(template, "a").await.unwrap()), Ok(()));
    scene.take_and_die(template, "b").await;
    let bound = scene.scaled.valkey.bound().unwrap();
    eventually("both places are confirmed", || async {
        let gate = GateId::of(template);
        let now = scene.scaled.partner.clock.now();
        let look = bound.look(gate, Epoch(1), Some("b"), None, now).await;
        look.unwrap().gate.unwrap().confirmed == 2
    })
    .await;
    scene.settled().await;
    assert!(scene.store.is_holder(template, "b").await.unwrap());
    assert_eq!(
        ran(scene.issue(template, "c").await.unwrap()),
        Err(IssueRefusal::SoldOut)
    );
    scene.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_helps_a_pending_reservation_and_then_gets_a_final_answer() {
    let scene = Scene::new().await;
    let _issuer = scene.issuer();
    let template = scene.template(Limit::IssueCount(2)).await;
    assert_eq!(ran(scene.issue(template, "a").await.unwrap()), Ok(()));
    scene.take_and_die(template, "b").await;
    let again = scene.issue(template, "b").await.unwrap();
    assert_eq!(
        ran(again),
        Err(IssueRefusal::AlreadyIssued),
        "the user helps their own reservation"
    );
    assert_eq!(
        scene.issued_in_the_end(template, "c").await,
        Err(IssueRefusal::SoldOut)
    );
    scene.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opener_that_dies_before_it_installs_leaves_no_gate_stuck() {
    let scene = Scene::new().await;
    let _issuer = scene.issuer();
    let template = scene.template(Limit::IssueCount(2)).await;
    assert_eq!(ran(scene.issue(template, "a").await.unwrap()), Ok(()));
    scene.settled().await;
    // The next epoch is open in the database, but was never brought to the server, which still has the one before.
    scene
        .database
        .run("UPDATE issue_gates SET epoch = 2, touched_at = touched_at - 5000000")
        .await;
    scene.scaled.partner.gates.forget_all();
    assert_eq!(scene.issued_in_the_end(template, "b").await, Ok(()));
    assert_eq!(scene.state(template).await, (Epoch(3), GateState::Open));
    assert_eq!(
        scene.issued_in_the_end(template, "c").await,
        Err(IssueRefusal::SoldOut)
    );
    scene.audited().await;
}

/// A database that was restored from an older copy does not know the epochs that were opened since.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_opens_its_gates_anew() {
    let scene = Scene::new().await;
    let _issuer = scene.issuer();
    let template = scene.template(Limit::IssueCount(2)).await;
    assert_eq!(ran(scene.issue(template, "a").await.unwrap()), Ok(()));
    scene.settled().await;
    scene.set_in_gate(template, "epoch", 7).await;
    assert_eq!(scene.issued_in_the_end(template, "b").await, Ok(()));
    assert_eq!(scene.state(template).await, (Epoch(8), GateState::Open));
    assert_eq!(
        scene.issued_in_the_end(template, "c").await,
        Err(IssueRefusal::SoldOut)
    );
    scene.audited().await;
}
