//! One coupon of a template for a user, whether holders are in the index or wait for it.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use goodpon_application::{
    idempotency::Outcome,
    ports::{Audit, Coupons, Direction, Histories, HistoryFilter, IssueGate, Templates},
};
use goodpon_domain::{
    coupon::IssueRefusal,
    id::{CouponId, TemplateId},
    template::{Limit, Owned},
};
use jiff::SignedDuration;

use crate::tests::Scene;

/// Few enough that most users are entered, and some wait.
const MOST: usize = 30;

/// Asks for all these users at once, so that they make up large groups, and returns those that got a coupon.
async fn issue_all(
    scene: &Scene,
    template: TemplateId,
    users: std::ops::Range<u32>,
) -> HashSet<u32> {
    let asked = users.map(|user| async move {
        // In no order.
        let name = format!("user {}", user.wrapping_mul(2_654_435_769));
        match scene.issue(template, &name).await.unwrap() {
            Outcome::Ran(Ok(())) => Some(user),
            Outcome::Ran(Err(IssueRefusal::AlreadyIssued)) => None,
            other => panic!("{other:?}"),
        }
    });
    let got = futures::future::join_all(asked).await;
    got.into_iter().flatten().collect()
}

fn entered(scene: &Scene) -> i64 {
    let count = "SELECT count(*) FROM coupon_holders";
    scene.raw().query_row(count, [], |row| row.get(0)).unwrap()
}

/// No user gets a second one, and each look-up finds the one that they have.
async fn assert_all_hold_one(scene: &Scene, template: TemplateId, users: u32) {
    assert_eq!(issue_all(scene, template, 0..users).await, HashSet::new());
    let Owned::Mine(stored) = scene.store.find(scene.merchant, template).await.unwrap() else {
        panic!("the template is gone");
    };
    for user in 0..users {
        let name = format!("user {}", user.wrapping_mul(2_654_435_769));
        let standing = scene.store.standing(&stored, Some(&name)).await.unwrap();
        assert!(standing.user_has_one);
        let held = scene.store.held(scene.merchant, &name, usize::MAX).await;
        let held = held.unwrap().unwrap();
        assert_eq!(held.len(), 1);
        let filter = HistoryFilter {
            user_id: Some(name),
            ..HistoryFilter::default()
        };
        let page = scene
            .store
            .page(scene.merchant, &filter, Direction::Descending, None, 10);
        assert_eq!(page.await.unwrap().len(), 1);
    }
    assert_eq!(scene.store.audit().await.unwrap(), []);
}

#[tokio::test]
async fn no_user_gets_two_whether_waiting_or_entered_even_after_a_crash() {
    let mut scene = Scene::with(MOST).await;
    let template = scene.template(Limit::None).await;
    for round in 1..=8_u32 {
        let users = round * 50;
        // Half of them have one already, and each asks twice.
        let first = users.saturating_sub(100);
        let (one, other) = tokio::join!(
            issue_all(&scene, template, first..users),
            issue_all(&scene, template, first..users),
        );
        assert_eq!(one.len() + other.len(), 50);
        assert_all_hold_one(&scene, template, users).await;
        scene = scene.crashed(MOST);
        assert_all_hold_one(&scene, template, users).await;
    }
    assert!((200..400).contains(&entered(&scene)));
}

#[tokio::test]
async fn a_clock_that_was_set_back_hides_no_holder() {
    let scene = Scene::with(MOST).await;
    let template = scene.template(Limit::None).await;
    issue_all(&scene, template, 0..300).await;
    scene.clock.advance(SignedDuration::from_hours(-5));
    // Too few for the mark to be stored in turn.
    issue_all(&scene, template, 300..303).await;
    let scene = scene.crashed(MOST);
    assert_all_hold_one(&scene, template, 303).await;
}

#[tokio::test]
async fn all_are_entered_on_close() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    issue_all(&scene, template, 0..100).await;
    assert!(entered(&scene) < 100);
    let scene = scene.reopened();
    assert_eq!(entered(&scene), 100);
    assert_all_hold_one(&scene, template, 100).await;
}

#[tokio::test]
async fn one_entry_that_cannot_be_written_stops_no_other() {
    let scene = Scene::with(MOST).await;
    let template = scene.template(Limit::None).await;
    issue_all(&scene, template, 0..20).await;
    // Acts as a damaged page.
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON coupon_holders WHEN NEW.user_id = 'user 0'
                  BEGIN SELECT RAISE(ABORT, 'no'); END";
    scene.raw().execute_batch(refuse).unwrap();
    for group in 1..20 {
        let users = group * 20..(group + 1) * 20;
        assert_eq!(issue_all(&scene, template, users).await.len(), 20);
        let crashed = scene.crashed(MOST);
        assert_eq!(issue_all(&crashed, template, 0..1).await.len(), 0);
    }
    assert!(entered(&scene) > 300);
    let scene = scene.crashed(MOST);
    scene.raw().execute_batch("DROP TRIGGER refuse").unwrap();
    assert_all_hold_one(&scene, template, 400).await;
}

#[tokio::test]
async fn fewer_wait_that_have_long_names() {
    let scene = Scene::with(MOST).await;
    let template = scene.template(Limit::None).await;
    for group in 0..20 {
        let asked = (0..10).map(|user| {
            let (scene, name) = (&scene, format!("{group} {user} {}", "x".repeat(240)));
            async move { scene.issue(template, &name).await.unwrap() }
        });
        futures::future::join_all(asked).await;
    }
    // Each of them counts for three.
    assert!(200 - entered(&scene) <= 20);
    assert_eq!(scene.store.audit().await.unwrap(), []);
}

/// Should the filter and both look-ups err, a second coupon is committed, and the index refuses its entry.
#[tokio::test]
async fn the_index_takes_no_second_coupon_of_a_user_and_says_so() {
    let errors = crate::tests::errors::watch();
    let scene = Scene::with(0).await;
    let template = scene.template(Limit::None).await;
    let first = scene.issued(template, "one").await;
    scene.issued(template, "another").await;
    scene.store.inner.published.filter.lie();
    let again = scene.issue(template, "one").await.unwrap();
    assert_eq!(again, Outcome::Ran(Ok(())), "the guard is out");
    // Entered with the next group.
    scene.issued(template, "a third").await;
    let holder: Vec<u8> = scene
        .raw()
        .query_row(
            "SELECT coupon_id FROM coupon_holders WHERE user_id = 'one'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(holder, first.to_bytes(), "the first one stands");
    let differences = scene.store.audit().await.unwrap();
    let reported = format!("{differences:?}");
    assert!(reported.contains("one"), "{reported}");
    let second: Vec<u8> = scene
        .raw()
        .query_row(
            "SELECT id FROM coupons WHERE user_id = 'one' AND id <> ?1",
            [first.to_bytes()],
            |row| row.get(0),
        )
        .unwrap();
    let second = CouponId::from_bytes(second.try_into().unwrap());
    assert!(
        errors.contains(&format!("coupon={second}")),
        "no word of {second}: {errors:?}"
    );
}

/// One of 1,024 is looked up in spite of the filter. If the filter lied, nothing of the group is committed, and every user is
/// looked up from then on.
#[tokio::test]
async fn a_filter_that_lies_is_found_out() {
    let errors = crate::tests::errors::watch();
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    scene.issued(template, "holder").await;
    // The next user but one that the filter calls new is looked up.
    let new = 1_024 - 1 - 2;
    for user in 0..new {
        scene.issue(template, &format!("new {user}")).await.unwrap();
    }
    scene.store.inner.published.filter.lie();
    let held = scene.hold_writer().await;
    let (before, again, after, ()) = tokio::join!(
        scene.issue(template, "before"),
        scene.issue(template, "holder"),
        scene.issue(template, "after"),
        held.release(),
    );
    assert_eq!(before.unwrap(), Outcome::Ran(Ok(())));
    assert_eq!(
        again.unwrap(),
        Outcome::Ran(Err(IssueRefusal::AlreadyIssued))
    );
    assert_eq!(after.unwrap(), Outcome::Ran(Ok(())));
    let last = scene.issue(template, "new 0").await.unwrap();
    assert_eq!(last, Outcome::Ran(Err(IssueRefusal::AlreadyIssued)));
    assert!(errors.contains("the filter of holders was wrong"));
    assert_eq!(scene.store.audit().await.unwrap(), []);
}

/// The filter alone says that a late customer has no coupon: neither the index nor the writer is needed for it.
#[tokio::test]
async fn a_sale_that_is_over_refuses_strangers_from_memory() {
    let scene = Scene::with(0).await;
    let template = scene.template(Limit::IssueCount(40)).await;
    assert_eq!(issue_all(&scene, template, 0..40).await.len(), 40);
    let held = scene.hold_writer().await;
    for user in ["late", "later"] {
        let outcome = scene.issue(template, user).await.unwrap();
        assert_eq!(outcome, Outcome::Ran(Err(IssueRefusal::SoldOut)));
    }
    assert_eq!(issue_all(&scene, template, 0..40).await, HashSet::new());
    held.release().await;
    scene
        .raw()
        .execute_batch("DROP TABLE coupon_holders")
        .unwrap();
    let late = scene.issue(template, "late").await.unwrap();
    assert_eq!(late, Outcome::Ran(Err(IssueRefusal::SoldOut)));
}
