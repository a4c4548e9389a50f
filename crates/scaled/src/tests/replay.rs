//! A request with a known key gets the text of its first answer, even if a later version words it differently.

use std::sync::Arc;

use goodpon_application::{
    idempotency::{Answer, Idempotency, Outcome, Peek},
    ports::{IssueGate, IssueOutcome, StoreError},
};
use goodpon_domain::template::Limit;

use goodpon_port_laws::eventually;

use super::Scene;

fn replayed(outcome: Outcome<IssueOutcome>) -> String {
    match outcome {
        Outcome::Replayed(answer) => String::from_utf8(answer.body.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_keeps_its_text_if_valkey_has_lost_it() {
    let scene = Scene::new().await;
    let _issuer = scene.issuer();
    let template = scene.template(Limit::IssueCount(5)).await;
    let first = scene.issue_worded(template, "a", [1; 16], "old ").await;
    assert!(matches!(first, Ok(Outcome::Ran(Ok(_)))), "{first:?}");
    scene.settled().await;
    scene.clock.advance(jiff::SignedDuration::from_secs(1));
    let again = scene.issue_worded(template, "a", [1; 16], "new ").await;
    assert_eq!(replayed(again.unwrap()), "old Ok(())");
    // Another user gets the new text meanwhile.
    let second = scene.issue_worded(template, "b", [2; 16], "new ").await;
    assert!(matches!(second, Ok(Outcome::Ran(Ok(_)))), "{second:?}");
    scene.settled().await;
    scene.clock.advance(jiff::SignedDuration::from_secs(1));
    scene.forget_gate(template).await;
    for (user, key, words) in [("a", [1; 16], "old Ok(())"), ("b", [2; 16], "new Ok(())")] {
        eventually("the gate is open again", || async {
            match scene.issue_worded(template, user, key, "newest ").await {
                Ok(outcome) => {
                    assert_eq!(replayed(outcome), words);
                    true
                }
                Err(StoreError::Unavailable { .. }) => false,
                Err(other) => panic!("{other:?}"),
            }
        })
        .await;
    }
    scene.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_that_others_confirm_is_answered_with_the_text_of_its_time() {
    let scene = Scene::new().await;
    let _issuer = scene.issuer();
    let template = scene.template(Limit::IssueCount(5)).await;
    let first = scene.issue_worded(template, "a", [1; 16], "old ").await;
    assert!(matches!(first, Ok(Outcome::Ran(Ok(_)))), "{first:?}");
    let event = scene.take_keyed_and_die(template, "b", [2; 16]).await;
    let key = Idempotency {
        key: [2; 16],
        body: [1; 16],
        render: Arc::new(|outcome: &IssueOutcome| Answer {
            status: 200,
            body: format!("new {outcome:?}").into(),
        }),
    };
    eventually("the reconciler confirms it", || async {
        match scene.scaled.partner.peek(template, &key).await.unwrap() {
            Peek::Processing => false,
            Peek::Finished(answer) => {
                assert_eq!(answer.body, "old Ok(())");
                true
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
    scene.settled().await;
    assert!(
        scene
            .store
            .is_holder(template, &event.user_id)
            .await
            .unwrap()
    );
}
