//! Sixty-four at once: on the last places, for the same user, with the same key (contract §3).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;

use futures::future::join_all;
use goodpon_e2e::ledger::actions;
use goodpon_e2e::{Answer, Options, Shared, Template, World};

static SHARED: Shared = Shared::new();

const AT_ONCE: usize = 64;

fn count(answers: &[Answer]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for answer in answers {
        answer.assert_envelope();
        *counts
            .entry(answer.code().unwrap_or("SUCCESS").to_owned())
            .or_insert(0) += 1;
    }
    counts
}

fn expected(rows: &[(&str, usize)]) -> HashMap<String, usize> {
    rows.iter()
        .map(|(code, count)| ((*code).to_owned(), *count))
        .collect()
}

fn users(prefix: &str) -> Vec<String> {
    (0..AT_ONCE)
        .map(|number| format!("{prefix}{number}"))
        .collect()
}

async fn assert_verified(world: &World) {
    let output = world.server().run_cli(&["verify"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[tokio::test]
async fn the_last_places_of_issue() {
    let world = SHARED.world().await;
    for places in [1, 5] {
        let template = world
            .publish(&Template::default().issue_limit(places))
            .await;
        let users = users("u");
        let answers = join_all(users.iter().map(|user| world.shop.issue(template, user))).await;
        let places = usize::try_from(places).unwrap();
        let refused = ("COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED", AT_ONCE - places);
        assert_eq!(count(&answers), expected(&[("SUCCESS", places), refused]));
        let entries = world
            .ledger(&[("couponTemplateId", &template.to_string())])
            .await;
        assert_eq!(entries.len(), places);
        assert_eq!(
            world.shop.template(template, None).await.ok()["currentIssueCount"],
            places
        );
    }
    assert_verified(&world).await;
}

#[tokio::test]
async fn the_last_places_of_redeem() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default().redeem_limit(3)).await;
    let users = users("u");
    let coupons = join_all(users.iter().map(|user| world.shop.issued(template, user))).await;
    let redeem = |index: usize| {
        let (world, coupon, user) = (&world, &coupons[index], &users[index]);
        async move {
            world
                .shop
                .redeem(coupon, user, 5000, &format!("order-{user}"))
                .await
        }
    };
    let answers = join_all((0..AT_ONCE).map(redeem)).await;
    let refused = ("COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED", AT_ONCE - 3);
    assert_eq!(count(&answers), expected(&[("SUCCESS", 3), refused]));
    // One cancels while all the others try again: one place, one more redemption.
    let winner = answers
        .iter()
        .position(|answer| answer.status == 200)
        .unwrap();
    world
        .shop
        .cancel(&coupons[winner], &format!("order-{}", users[winner]), "r")
        .await
        .ok();
    let losers = (0..AT_ONCE).filter(|index| answers[*index].status != 200);
    let again = join_all(losers.map(redeem)).await;
    assert_eq!(count(&again)["SUCCESS"], 1);
    assert_eq!(
        world.shop.template(template, None).await.ok()["currentRedeemCount"],
        3
    );
    assert_verified(&world).await;
}

#[tokio::test]
async fn the_same_user_gets_one_coupon() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default().issue_limit(1000)).await;
    let answers = join_all((0..AT_ONCE).map(|_| world.shop.issue(template, "same"))).await;
    assert_eq!(
        count(&answers),
        expected(&[("SUCCESS", 1), ("COUPON_ALREADY_ISSUED", AT_ONCE - 1)])
    );
    assert_eq!(world.ledger(&[]).await.len(), 1);
    assert_eq!(
        world.shop.coupons("same").await.ok()["coupons"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn the_same_coupon_is_redeemed_once_and_cancelled_once() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let coupon = world.shop.issued(template, "u").await;
    let orders = users("order-");
    let answers = join_all(
        orders
            .iter()
            .map(|order| world.shop.redeem(&coupon, "u", 5000, order)),
    )
    .await;
    assert_eq!(
        count(&answers),
        expected(&[
            ("SUCCESS", 1),
            ("USER_COUPON_ALREADY_REDEEMED", AT_ONCE - 1)
        ])
    );
    let winner = answers.iter().find(|answer| answer.status == 200).unwrap();
    let order = winner.ok()["orderId"].as_str().unwrap();
    let answers = join_all((0..AT_ONCE).map(|_| world.shop.cancel(&coupon, order, "r"))).await;
    assert_eq!(
        count(&answers),
        expected(&[
            ("SUCCESS", 1),
            ("USER_COUPON_ALREADY_CANCELLED", AT_ONCE - 1)
        ])
    );
    assert_eq!(world.ledger(&[]).await.len(), 3);
}

#[tokio::test]
async fn the_same_key_happens_once() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let answers =
        join_all((0..AT_ONCE).map(|_| world.shop.issue_with_key(template, "u", "key"))).await;
    let first: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200 && !answer.replayed())
        .collect();
    assert_eq!(first.len(), 1, "{answers:?}");
    for answer in &answers {
        if answer.status == 200 {
            assert_eq!(answer.bytes, first[0].bytes);
        } else {
            answer.refused("IDEMPOTENT_REQUEST_PROCESSING");
        }
    }
    assert_eq!(world.ledger(&[]).await.len(), 1);
    assert!(
        world
            .shop
            .issue_with_key(template, "u", "key")
            .await
            .replayed()
    );
}

#[tokio::test]
async fn the_same_key_with_other_bodies_happens_once() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let users = users("u");
    let answers = join_all(
        users
            .iter()
            .map(|user| world.shop.issue_with_key(template, user, "key")),
    )
    .await;
    assert_eq!(count(&answers)["SUCCESS"], 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        let code = answer.code().unwrap();
        assert!(
            [
                "IDEMPOTENT_REQUEST_PROCESSING",
                "IDEMPOTENT_REQUEST_PAYLOAD_MISMATCH"
            ]
            .contains(&code),
            "{answer}"
        );
    }
    assert_eq!(world.ledger(&[]).await.len(), 1);
}

#[tokio::test]
async fn a_discard_stops_issues_in_flight() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let users = users("u");
    let issues = join_all(users.iter().map(|user| world.shop.issue(template, user)));
    let (answers, discarded) =
        futures::join!(issues, world.owner.discard(world.merchant, template, "끝"));
    discarded.ok();
    let counts = count(&answers);
    let issued = counts.get("SUCCESS").copied().unwrap_or(0);
    assert_eq!(
        issued
            + counts
                .get("COUPON_TEMPLATE_NOT_ISSUABLE")
                .copied()
                .unwrap_or(0),
        AT_ONCE
    );
    goodpon_waits::eventually("all are discarded", || async {
        actions(&world.ledger(&[]).await, "DISCARD").len() == issued
    })
    .await;
    world
        .shop
        .issue(template, "late")
        .await
        .refused("COUPON_TEMPLATE_NOT_ISSUABLE");
    assert_verified(&world).await;
}

#[tokio::test]
async fn a_contested_e_mail_makes_one_account() {
    let world = World::with(Options::default()).await;
    let sign_up = |_| {
        world
            .anonymous
            .sign_up("contested@example.com", "password-of-mine", "이름")
    };
    let answers = join_all((0..8).map(sign_up)).await;
    // The first, and one for each further mail that an address may be sent.
    assert_eq!(
        count(&answers),
        expected(&[("SUCCESS", 4), ("TOO_MANY_REQUESTS", 4)])
    );
    let mut ids: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .collect();
    ids.dedup_by_key(|answer| answer.ok()["id"].clone());
    assert_eq!(ids.len(), 1, "of one account");
}

#[tokio::test]
async fn secrets_and_publications_race_to_their_limits() {
    let world = SHARED.world().await;
    let answers = join_all((0..16).map(|_| world.owner.create_secret(world.merchant))).await;
    assert_eq!(
        count(&answers),
        expected(&[("SUCCESS", 4), ("CLIENT_SECRET_LIMIT_EXCEEDED", 12)])
    );
    let template = world.draft(&Template::default()).await;
    let answers = join_all((0..16).map(|_| world.owner.publish(world.merchant, template))).await;
    assert_eq!(
        count(&answers),
        expected(&[
            ("SUCCESS", 1),
            ("COUPON_TEMPLATE_INVALID_STATUS_TO_PUBLISH", 15)
        ])
    );
}
