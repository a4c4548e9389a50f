//! Laws of [`goodpon_application::ports::IssueGate`].

use std::collections::HashSet;

use goodpon_application::ports::IssueStanding;
use goodpon_domain::{
    coupon::{CouponStatus, IssueRefusal},
    id::TemplateId,
    ledger::HistoryAction,
    template::{Limit, Terms},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    World,
    scene::{LOOKALIKES, MICRO, Shop, at_once, issue_request, order, ran},
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

async fn count(world: &World, shop: &Shop, id: TemplateId) -> i64 {
    let template = world.template(shop, id).await;
    world
        .stores
        .gate
        .standing(&template, None)
        .await
        .unwrap()
        .issue_count
}

/// A success has the id of the coupon that it is about.
pub async fn a_success_names_its_coupon(world: &World) {
    let shop = world.shop().await;
    let id = world.published(&shop, world.terms()).await;
    let request = issue_request(shop.id, id, "u");
    let issued = ran(world.stores.gate.issue(request, None).await.unwrap()).unwrap();
    world.settled().await;
    let held = world.in_hand(shop.id, "u").await;
    let ids: Vec<_> = held.iter().map(|coupon| Some(coupon.id)).collect();
    assert_eq!(ids, [issued.coupon_id]);
}

/// Of four times as many users as there are coupons, exactly as many as there are get one.
pub async fn exactly_as_many_as_there_are(world: &World) {
    let shop = world.shop().await;
    let (merchant, places) = (shop.id, 50);
    let id = world
        .published(&shop, world.limited(Limit::IssueCount(places)))
        .await;
    let results = at_once(world, 200, move |world, number| async move {
        world.issue(merchant, id, &format!("user-{number}")).await
    });
    let results = results.await;
    let (won, lost): (Vec<_>, Vec<_>) =
        results.iter().enumerate().partition(|(_, one)| one.is_ok());
    assert_eq!(won.len(), 50, "issues that went through");
    assert!(
        lost.iter()
            .all(|(_, one)| **one == Err(IssueRefusal::SoldOut))
    );
    assert_eq!(count(world, &shop, id).await, places);
    let ledger = world.ledger(merchant).await;
    assert!(
        ledger
            .iter()
            .all(|entry| entry.action == HistoryAction::Issue)
    );
    let answered: HashSet<_> = won
        .iter()
        .map(|(number, _)| format!("user-{number}"))
        .collect();
    let written: HashSet<_> = ledger.iter().map(|entry| entry.user_id.clone()).collect();
    assert_eq!(
        (ledger.len(), written),
        (50, answered),
        "a user who was answered success has one"
    );
    for (number, _) in lost {
        assert!(
            world
                .in_hand(merchant, &format!("user-{number}"))
                .await
                .is_empty()
        );
    }
    world.audited().await;
}

/// However often one user asks at once, one coupon is issued.
pub async fn one_for_each_user(world: &World) {
    let shop = world.shop().await;
    let merchant = shop.id;
    for limit in [Limit::None, Limit::IssueCount(3), Limit::IssueCount(1)] {
        let id = world.published(&shop, world.limited(limit)).await;
        let results = at_once(world, 64, move |world, _| async move {
            world.issue(merchant, id, "greedy").await
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "of {limit:?}");
        assert!(
            lost.iter()
                .all(|one| *one == Err(IssueRefusal::AlreadyIssued)),
            "of {limit:?}"
        );
        assert_eq!(count(world, &shop, id).await, 1);
    }
    assert_eq!(world.in_hand(merchant, "greedy").await.len(), 3);
    assert_eq!(world.ledger(merchant).await.len(), 3);
    world.audited().await;
}

/// Refusals come in this order: absent, foreign, period, status, already issued, sold out.
pub async fn refusals_come_in_order(world: &World) {
    let (shop, other) = (world.shop().await, world.shop().await);
    let refused = async |merchant, id| world.issue(merchant, id, "u").await.expect_err("a refusal");
    for absent in [0, -1, i64::MIN, i64::MAX].map(TemplateId) {
        assert_eq!(
            refused(shop.id, absent).await,
            IssueRefusal::TemplateNotFound
        );
    }
    let mut later = world.terms();
    later.period.issue_start_at = world.now() + HOUR;
    let draft = async |terms: Terms| world.draft(&shop, terms).await.id;

    let id = draft(later.clone()).await;
    assert_eq!(
        refused(other.id, id).await,
        IssueRefusal::NotOwnedByMerchant,
        "before the period"
    );
    assert_eq!(
        refused(shop.id, id).await,
        IssueRefusal::NotIssuablePeriod,
        "before the status"
    );

    let id = draft(world.terms()).await;
    assert_eq!(
        refused(shop.id, id).await,
        IssueRefusal::NotIssuable,
        "of a draft"
    );
    let id = world
        .published(&shop, world.limited(Limit::IssueCount(1)))
        .await;
    assert_eq!(world.issue(shop.id, id, "u").await, Ok(()));
    world
        .stores
        .templates
        .discard(shop.id, shop.owner, id, String::new())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        refused(shop.id, id).await,
        IssueRefusal::NotIssuable,
        "before already issued"
    );
    assert_eq!(
        refused(other.id, id).await,
        IssueRefusal::NotOwnedByMerchant
    );
    let refusal = world.issue(shop.id, id, "somebody else").await;
    assert_eq!(refusal, Err(IssueRefusal::NotIssuable), "before sold out");
    assert_eq!(count(world, &shop, id).await, 1);

    let id = world.published(&shop, world.ending_in(HOUR)).await;
    world.clock.advance(HOUR - MICRO);
    assert_eq!(world.issue(shop.id, id, "in time").await, Ok(()));
    world.clock.advance(MICRO);
    assert_eq!(
        refused(shop.id, id).await,
        IssueRefusal::NotIssuable,
        "past its end, unswept"
    );
    assert!(world.in_hand(other.id, "u").await.is_empty());
    world.audited().await;
}

/// The start counts in, the end does not.
pub async fn the_period_is_exact(world: &World) {
    let shop = world.shop().await;
    let mut terms = world.terms();
    terms.period.issue_start_at = world.now() + HOUR;
    terms.period.issue_end_at = Some(world.now() + HOUR * 2);
    let id = world.published(&shop, terms).await;
    let closed = Err(IssueRefusal::NotIssuablePeriod);
    for (user, pause, expected) in [
        ("early", HOUR - MICRO, closed),
        ("first", MICRO, Ok(())),
        ("last", HOUR - MICRO, Ok(())),
        ("late", MICRO, closed),
    ] {
        world.clock.advance(pause);
        assert_eq!(world.issue(shop.id, id, user).await, expected, "{user}");
    }
    assert_eq!(
        world.issue(shop.id, id, "first").await,
        closed,
        "also to who has one"
    );
    world.audited().await;
}

/// Users whose ids only look alike get a coupon each.
pub async fn user_ids_compare_byte_for_byte(world: &World) {
    let shop = world.shop().await;
    let id = world.published(&shop, world.terms()).await;
    let longest = [
        "🎟".repeat(255),
        "🎟".repeat(254) + "🎫",
        "a".repeat(255),
        "a".repeat(254),
    ];
    let users: Vec<&str> = LOOKALIKES
        .into_iter()
        .chain(longest.iter().map(String::as_str))
        .collect();
    let template = world.template(&shop, id).await;
    for user in &users {
        let standing = world
            .stores
            .gate
            .standing(&template, Some(user))
            .await
            .unwrap();
        assert!(!standing.user_has_one, "{user:?} has none yet");
        assert_eq!(
            world.issue(shop.id, id, user).await,
            Ok(()),
            "{user:?} is no other user"
        );
        let again = world.issue(shop.id, id, user).await;
        assert_eq!(again, Err(IssueRefusal::AlreadyIssued), "{user:?}");
    }
    world.settled().await;
    for user in &users {
        let held = world.in_hand(shop.id, user).await;
        assert_eq!(held.len(), 1, "of {user:?}");
        assert_eq!(held[0].user_id, **user, "given back unchanged");
    }
    let mut written: Vec<_> = world
        .ledger(shop.id)
        .await
        .into_iter()
        .map(|one| one.user_id)
        .collect();
    let mut expected: Vec<_> = users.iter().map(|user| String::from(*user)).collect();
    written.sort();
    expected.sort();
    assert_eq!(written, expected);
    world.audited().await;
}

/// An accepted issue counts at once, for the user and in all.
pub async fn standing_counts_at_once(world: &World) {
    let shop = world.shop().await;
    let (one, other) = (
        world
            .published(&shop, world.limited(Limit::IssueCount(10)))
            .await,
        world.published(&shop, world.terms()).await,
    );
    for number in 1..=5 {
        let user = format!("user-{number}");
        assert_eq!(world.issue(shop.id, one, &user).await, Ok(()));
        let template = match world.stores.templates.find(shop.id, one).await.unwrap() {
            goodpon_domain::template::Owned::Mine(template) => template,
            other => panic!("expected the template, got {other:?}"),
        };
        for (asked, has_one) in [
            (Some(user.as_str()), true),
            (Some("nobody"), false),
            (None, false),
        ] {
            let expected = IssueStanding {
                issue_count: number,
                user_has_one: has_one,
            };
            let standing = world.stores.gate.standing(&template, asked).await.unwrap();
            assert_eq!(standing, expected, "for {asked:?} after {number}");
        }
    }
    let (one, other) = (
        world.template(&shop, one).await,
        world.template(&shop, other).await,
    );
    let asked = [other.clone(), one.clone(), other, one];
    assert_eq!(
        world.stores.gate.issue_counts(&asked).await.unwrap(),
        [0, 5, 0, 5]
    );
    assert!(
        world
            .stores
            .gate
            .issue_counts(&[])
            .await
            .unwrap()
            .is_empty()
    );
}

/// A user who has a coupon is answered so also when nothing is left.
pub async fn already_issued_comes_before_sold_out(world: &World) {
    let shop = world.shop().await;
    let id = world
        .published(&shop, world.limited(Limit::IssueCount(2)))
        .await;
    for user in ["a", "b"] {
        assert_eq!(world.issue(shop.id, id, user).await, Ok(()));
    }
    for _ in 0..2 {
        for (user, refusal) in [
            ("a", IssueRefusal::AlreadyIssued),
            ("b", IssueRefusal::AlreadyIssued),
            ("c", IssueRefusal::SoldOut),
            ("A", IssueRefusal::SoldOut),
        ] {
            assert_eq!(world.issue(shop.id, id, user).await, Err(refusal), "{user}");
        }
    }
    assert_eq!(count(world, &shop, id).await, 2);
}

/// Expiry is reckoned from the day of the acceptance in the business zone.
pub async fn expiry_is_that_of_the_acceptance(world: &World) {
    let shop = world.shop().await;
    let today = world.zone.date(world.now());
    let midnight = world.zone.end_of_day(today);
    let days = |days: i64| midnight + SignedDuration::from_hours(24) * i32::try_from(days).unwrap();
    let cases: [(Option<i64>, Option<Timestamp>); 5] = [
        (None, None),
        (Some(1), None),
        (None, Some(days(1))),
        (Some(3), Some(days(1) + HOUR)),
        (Some(1), Some(days(5))),
    ];
    let mut templates = Vec::new();
    for (validity_days, absolute_expires_at) in cases {
        let mut terms = world.terms();
        terms.period.validity_days = validity_days;
        terms.period.absolute_expires_at = absolute_expires_at;
        templates.push(world.published(&shop, terms).await);
    }
    // A validity of n days after the day d ends with the day d + n, which is n days after d's own end.
    for (user, at, late) in [
        ("before midnight", midnight - MICRO, 0),
        ("midnight", midnight, 1),
    ] {
        world.clock.set(at);
        for (id, (validity, absolute)) in templates.iter().zip(cases) {
            let coupon = world.issued(&shop, *id, user).await;
            let validity_end = validity.map(|validity| days(validity + late));
            let expected = [validity_end, absolute].into_iter().flatten().min();
            assert_eq!(
                coupon.expires_at, expected,
                "{user}, {validity:?}, {absolute:?}"
            );
            assert_eq!(
                (coupon.issued_at, coupon.status),
                (at, CouponStatus::Issued)
            );
            assert_eq!((coupon.merchant_id, coupon.order_id), (shop.id, None));
            let ledger = world.ledger(shop.id).await;
            let entry = ledger
                .iter()
                .find(|entry| entry.coupon_id == coupon.id)
                .unwrap();
            assert_eq!(entry.recorded_at, at, "the entry is that of the acceptance");
        }
    }
    world.audited().await;
}

/// A user never gets a second coupon, whatever happened to the first; the redeem limit plays no part.
pub async fn one_for_ever(world: &World) {
    let shop = world.shop().await;
    let mut terms = world.limited(Limit::RedeemCount(1));
    terms.period.validity_days = Some(1);
    let id = world.published(&shop, terms).await;
    let coupon = world.issued(&shop, id, "u").await;
    let redeemed = world
        .redeem(shop.id, coupon.id, order("u", "order", 1_000))
        .await;
    assert!(redeemed.is_ok());
    let twice = Err(IssueRefusal::AlreadyIssued);
    assert_eq!(
        world.issue(shop.id, id, "u").await,
        twice,
        "after redemption"
    );
    assert_eq!(
        world.issue(shop.id, id, "v").await,
        Ok(()),
        "the redeem limit is not looked at"
    );
    world.clock.advance(SignedDuration::from_hours(72));
    assert_eq!(
        world.issue(shop.id, id, "v").await,
        twice,
        "after its end, unswept"
    );
    world.swept().await;
    assert_eq!(
        world.issue(shop.id, id, "v").await,
        twice,
        "after its end, swept"
    );
    assert!(world.cancel(shop.id, coupon.id, "order").await.is_ok());
    assert_eq!(
        world.issue(shop.id, id, "u").await,
        twice,
        "after cancellation"
    );
    assert_eq!(count(world, &shop, id).await, 2);
    world.audited().await;
}
