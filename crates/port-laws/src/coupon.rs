//! Laws of [`goodpon_application::ports::Coupons`].

use std::collections::HashSet;

use goodpon_domain::{
    coupon::CouponStatus,
    id::{CouponId, TemplateId},
    ledger::HistoryAction::{self, CancelRedemption, Discard, Expire, Issue, Redeem},
    redemption::{CancelRefusal, Cancellation, RedeemRefusal, Redemption},
    template::{Discount, Limit, Terms},
};
use jiff::SignedDuration;

use crate::{
    World,
    scene::{LOOKALIKES, MICRO, Shop, at_once, order, unique},
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

async fn redeem_count(world: &World, shop: &Shop, id: TemplateId) -> i64 {
    world.template(shop, id).await.redeem_count
}

async fn discard(world: &World, shop: &Shop, id: TemplateId, reason: &str) {
    let discarded = world
        .stores
        .templates
        .discard(shop.id, shop.owner, id, reason.into())
        .await
        .unwrap();
    discarded.expect("an issuable template can be discarded");
}

/// A redemption returns the domain's figures, and the coupon is in hand no more, with one entry.
pub async fn a_redemption_returns_its_figures(world: &World) {
    let shop = world.shop().await;
    let percentage = Discount::Percentage {
        percent: 15,
        max: 2_000,
    };
    for (discount, amount, off) in [
        (Discount::FixedAmount { amount: 1_000 }, 15_000, 1_000),
        (Discount::FixedAmount { amount: 1_000 }, 0, 0),
        (percentage, 9_999, 1_499),
        (percentage, 1_000_000_000_000, 2_000),
    ] {
        let id = world
            .published(
                &shop,
                Terms {
                    discount,
                    ..world.terms()
                },
            )
            .await;
        let user = unique();
        let coupon = world.issued(&shop, id, &user).await;
        world.clock.advance(MICRO);
        let redeemed = world
            .redeem(shop.id, coupon.id, order(&user, "주문 🎟 ", amount))
            .await;
        let expected = Redemption {
            coupon_id: coupon.id,
            discount_amount: off,
            original_price: amount,
            final_price: amount - off,
            order_id: "주문 🎟 ".into(),
            redeemed_at: world.now(),
        };
        assert_eq!(redeemed, Ok(expected));
        assert!(
            world.in_hand(shop.id, &user).await.is_empty(),
            "no more in hand"
        );
        assert_eq!(redeem_count(world, &shop, id).await, 1);
        let ledger = world.ledger(shop.id).await;
        let entry = ledger
            .iter()
            .find(|one| one.coupon_id == coupon.id && one.action == Redeem);
        let entry = entry.expect("a REDEEM entry");
        assert_eq!(
            entry.recorded_at,
            world.now(),
            "one instant for answer and entry"
        );
        assert_eq!(entry.order_id.as_deref(), Some("주문 🎟 "));
    }
    world.audited().await;
}

/// Of 64 redemptions at once of a template with 5 places, 5 go through.
pub async fn the_redeem_limit_is_exact_at_once(world: &World) {
    let shop = world.shop().await;
    let merchant = shop.id;
    let id = world
        .published(&shop, world.limited(Limit::RedeemCount(5)))
        .await;
    let mut coupons = Vec::new();
    for number in 0..64 {
        coupons.push(world.issued(&shop, id, &format!("user-{number}")).await);
    }
    let results = at_once(world, 64, |world, number| {
        let coupon = coupons[number].clone();
        async move {
            world
                .redeem(merchant, coupon.id, order(&coupon.user_id, "o", 1))
                .await
        }
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 5, "redemptions that went through");
    assert!(
        lost.iter()
            .all(|one| *one == Err(RedeemRefusal::RedeemLimitReached))
    );
    assert_eq!(redeem_count(world, &shop, id).await, 5);
    let ledger = world.ledger(merchant).await;
    assert_eq!(
        ledger.iter().filter(|entry| entry.action == Redeem).count(),
        5
    );
    world.audited().await;
}

/// Cancellations give back exactly the places that they free.
pub async fn a_cancellation_gives_its_place_back(world: &World) {
    let shop = world.shop().await;
    let merchant = shop.id;
    let id = world
        .published(&shop, world.limited(Limit::RedeemCount(4)))
        .await;
    let mut redeemed = Vec::new();
    for _ in 0..4 {
        redeemed.push(world.redeemed(&shop, id, "o").await);
    }
    let mut waiting = Vec::new();
    for _ in 0..32 {
        waiting.push(world.issued(&shop, id, &unique()).await);
    }
    let refused = world
        .redeem(merchant, waiting[0].id, order(&waiting[0].user_id, "o", 1))
        .await;
    assert_eq!(refused, Err(RedeemRefusal::RedeemLimitReached));
    for coupon in &redeemed[..3] {
        let cancelled = world.cancel(merchant, coupon.id, "o").await;
        assert_eq!(cancelled.map(|one| one.status), Ok(CouponStatus::Issued));
    }
    assert_eq!(redeem_count(world, &shop, id).await, 1);
    let results = at_once(world, waiting.len(), |world, number| {
        let coupon = waiting[number].clone();
        async move {
            world
                .redeem(merchant, coupon.id, order(&coupon.user_id, "o", 1))
                .await
        }
    });
    let won = results.await.into_iter().filter(Result::is_ok).count();
    assert_eq!((won, redeem_count(world, &shop, id).await), (3, 4));
    world.audited().await;
}

/// A coupon is redeemed for one order only.
pub async fn one_of_many_redemptions_of_a_coupon_wins(world: &World) {
    let shop = world.shop().await;
    let merchant = shop.id;
    let id = world
        .published(&shop, world.limited(Limit::RedeemCount(9)))
        .await;
    let coupon = world.issued(&shop, id, "u").await.id;
    let results = at_once(world, 64, |world, number| async move {
        world
            .redeem(merchant, coupon, order("u", &format!("order-{number}"), 1))
            .await
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(
        lost.iter()
            .all(|one| *one == Err(RedeemRefusal::AlreadyRedeemed))
    );
    assert_eq!(redeem_count(world, &shop, id).await, 1);
    let orders: Vec<_> = world
        .ledger(merchant)
        .await
        .into_iter()
        .filter_map(|one| one.order_id)
        .collect();
    let answered = won.into_iter().next().unwrap().unwrap().order_id;
    assert_eq!(orders, [answered], "the order of the answer");
    world.audited().await;
}

/// A redemption is cancelled once.
pub async fn one_of_many_cancellations_wins(world: &World) {
    let shop = world.shop().await;
    let merchant = shop.id;
    let id = world
        .published(&shop, world.limited(Limit::RedeemCount(9)))
        .await;
    world.redeemed(&shop, id, "o").await;
    let coupon = world.redeemed(&shop, id, "o").await.id;
    let results = at_once(world, 64, |world, _| async move {
        world.cancel(merchant, coupon, "o").await
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(
        lost.iter()
            .all(|one| *one == Err(CancelRefusal::AlreadyCancelled))
    );
    assert_eq!(
        redeem_count(world, &shop, id).await,
        1,
        "one place came back"
    );
    world.audited().await;
}

/// Every refusal goes before those that stand behind it in the contract.
pub async fn redemption_is_refused_in_order(world: &World) {
    let (shop, other) = (world.shop().await, world.shop().await);
    let mut terms = world.limited(Limit::RedeemCount(1));
    terms.min_order_amount = Some(100);
    terms.period.absolute_expires_at = Some(world.now() + HOUR);
    let id = world.published(&shop, terms.clone()).await;
    let (coupon, second) = (
        world.issued(&shop, id, "u").await.id,
        world.issued(&shop, id, "v").await.id,
    );
    let try_it = async |merchant, coupon, user: &str, amount| {
        world
            .redeem(merchant, coupon, order(user, "o", amount))
            .await
            .map(|_| ())
    };
    let unknown = CouponId::new(world.now(), u64::MAX);
    for absent in [
        unknown,
        CouponId::from_bytes([0; 16]),
        CouponId::from_bytes([255; 16]),
    ] {
        let refused = try_it(shop.id, absent, "u", 100).await;
        assert_eq!(refused, Err(RedeemRefusal::CouponNotFound), "{absent}");
    }
    let foreign = try_it(other.id, coupon, "x", 1).await;
    assert_eq!(foreign, Err(RedeemRefusal::NotOwnedByMerchant));
    for user in LOOKALIKES.into_iter().chain(["U", "u ", " u", "ｕ"]) {
        let refused = try_it(shop.id, coupon, user, 1).await;
        assert_eq!(refused, Err(RedeemRefusal::NotOwnedByUser), "{user:?}");
    }
    assert_eq!(
        try_it(shop.id, coupon, "u", 99).await,
        Err(RedeemRefusal::ConditionNotMet)
    );
    assert_eq!(try_it(shop.id, coupon, "u", 100).await, Ok(()));
    assert_eq!(
        try_it(shop.id, coupon, "u", 99).await,
        Err(RedeemRefusal::ConditionNotMet)
    );
    assert_eq!(
        try_it(shop.id, coupon, "u", 100).await,
        Err(RedeemRefusal::AlreadyRedeemed)
    );
    assert_eq!(
        try_it(shop.id, second, "v", 100).await,
        Err(RedeemRefusal::RedeemLimitReached)
    );

    let gone = world.published(&shop, terms).await;
    let withdrawn = world.issued(&shop, gone, "u").await.id;
    discard(world, &shop, gone, "r").await;
    assert_eq!(
        try_it(shop.id, withdrawn, "v", 1).await,
        Err(RedeemRefusal::NotOwnedByUser)
    );
    assert_eq!(
        try_it(shop.id, withdrawn, "u", 1).await,
        Err(RedeemRefusal::NotRedeemable)
    );

    world.clock.advance(HOUR - MICRO);
    assert_eq!(
        try_it(shop.id, second, "v", 100).await,
        Err(RedeemRefusal::RedeemLimitReached)
    );
    world.clock.advance(MICRO);
    for swept in [false, true] {
        let expired = try_it(shop.id, second, "v", 100).await;
        assert_eq!(
            expired,
            Err(RedeemRefusal::Expired),
            "before the limit, swept: {swept}"
        );
        let redeemed = try_it(shop.id, coupon, "u", 100).await;
        assert_eq!(
            redeemed,
            Err(RedeemRefusal::AlreadyRedeemed),
            "swept: {swept}"
        );
        world.swept().await;
    }
    assert_eq!(world.ledger(other.id).await, []);
    world.audited().await;
}

/// Every refusal goes before those that stand behind it in the contract; order ids compare byte for byte.
pub async fn cancellation_is_refused_in_order(world: &World) {
    let (shop, other) = (world.shop().await, world.shop().await);
    let id = world.published(&shop, world.terms()).await;
    let coupon = world.issued(&shop, id, "u").await.id;
    let refused = async |merchant, coupon, order: &str| {
        world
            .cancel(merchant, coupon, order)
            .await
            .expect_err("a refusal")
    };
    let unknown = CouponId::new(world.now(), u64::MAX);
    assert_eq!(
        refused(shop.id, unknown, "user").await,
        CancelRefusal::CouponNotFound
    );
    assert_eq!(
        refused(other.id, coupon, "user").await,
        CancelRefusal::NotOwnedByMerchant
    );
    assert_eq!(
        refused(shop.id, coupon, "user").await,
        CancelRefusal::NotAllowed
    );
    assert!(
        world
            .redeem(shop.id, coupon, order("u", LOOKALIKES[0], 1))
            .await
            .is_ok()
    );
    for id in &LOOKALIKES[1..] {
        assert_eq!(
            refused(shop.id, coupon, id).await,
            CancelRefusal::OrderIdMismatch,
            "{id:?}"
        );
    }
    assert_eq!(
        refused(other.id, coupon, LOOKALIKES[0]).await,
        CancelRefusal::NotOwnedByMerchant
    );
    world.clock.advance(MICRO * 2);
    let cancelled = world.cancel(shop.id, coupon, LOOKALIKES[0]).await;
    let expected = Cancellation {
        coupon_id: coupon,
        status: CouponStatus::Issued,
        canceled_at: world.now(),
        reason: "단순 변심".into(),
    };
    assert_eq!(cancelled, Ok(expected));
    for id in &LOOKALIKES[..3] {
        assert_eq!(
            refused(shop.id, coupon, id).await,
            CancelRefusal::AlreadyCancelled,
            "{id:?}"
        );
    }
    assert_eq!(world.in_hand(shop.id, "u").await.len(), 1, "in hand again");
    world.audited().await;
}

/// Tries a cancellation that does not lead back to ISSUED: two entries of one instant, in the order of their ids.
async fn cancelled_to(
    world: &World,
    shop: &Shop,
    coupon: CouponId,
    (status, action, reason): (CouponStatus, HistoryAction, Option<&str>),
) {
    world.clock.advance(MICRO * 2);
    let cancelled = world
        .cancel(shop.id, coupon, "o")
        .await
        .expect("a cancellation");
    assert_eq!(
        (cancelled.status, cancelled.canceled_at),
        (status, world.now())
    );
    let ledger = world.ledger(shop.id).await;
    let entries: Vec<_> = ledger
        .iter()
        .filter(|entry| entry.coupon_id == coupon)
        .collect();
    let [.., cancel, after] = entries.as_slice() else {
        panic!("two entries")
    };
    assert_eq!((cancel.action, after.action), (CancelRedemption, action));
    assert_eq!(
        (cancel.recorded_at, after.recorded_at),
        (world.now(), world.now())
    );
    assert!(cancel.id < after.id, "ids in the order of events");
    assert_eq!(cancel.order_id.as_deref(), Some("o"));
    assert_eq!(cancel.reason.as_deref(), Some("단순 변심"));
    assert_eq!(
        (after.order_id.as_deref(), after.reason.as_deref()),
        (None, reason)
    );
    let again = world.cancel(shop.id, coupon, "o").await;
    assert_eq!(again, Err(CancelRefusal::AlreadyCancelled));
}

/// A cancelled coupon whose time has passed is EXPIRED, one whose template is gone DISCARDED.
pub async fn cancellation_after_the_end(world: &World) {
    let shop = world.shop().await;
    let discarded = world
        .published(&shop, world.limited(Limit::RedeemCount(2)))
        .await;
    let withdrawn = world.redeemed(&shop, discarded, "o").await;
    let ending = Terms {
        limit: Limit::RedeemCount(2),
        ..world.ending_in(HOUR)
    };
    let (expired, both) = (
        world.published(&shop, ending.clone()).await,
        world.published(&shop, ending).await,
    );
    let (past, past_and_withdrawn) = (
        world.redeemed(&shop, expired, "o").await,
        world.redeemed(&shop, both, "o").await,
    );
    discard(world, &shop, discarded, "재고 소진").await;
    discard(world, &shop, both, "재고 소진").await;
    world.swept().await;
    let to_discarded = (CouponStatus::Discarded, Discard, Some("재고 소진"));
    cancelled_to(world, &shop, withdrawn.id, to_discarded).await;
    world.clock.advance(HOUR);
    let to_expired = (CouponStatus::Expired, Expire, None);
    cancelled_to(world, &shop, past.id, to_expired).await;
    cancelled_to(world, &shop, past_and_withdrawn.id, to_expired).await;
    for (template, coupon) in [
        (discarded, withdrawn),
        (expired, past),
        (both, past_and_withdrawn),
    ] {
        assert_eq!(
            redeem_count(world, &shop, template).await,
            0,
            "the place came back"
        );
        assert!(world.in_hand(shop.id, &coupon.user_id).await.is_empty());
        world.swept().await;
        assert_eq!(
            world.actions(shop.id, coupon.id).await.len(),
            4,
            "no sweep adds to it"
        );
    }
    world.audited().await;
}

/// `held` returns a user's coupons of one merchant, with their templates, whatever the same user has elsewhere.
pub async fn held_returns_this_merchants_coupons_only(world: &World) {
    let (shop, other) = (world.shop().await, world.shop().await);
    let mut expected = HashSet::new();
    for number in 0..6 {
        let terms = Terms {
            name: format!("template {number}"),
            ..world.terms()
        };
        let id = world.published(&shop, terms).await;
        expected.insert((world.issued(&shop, id, "same").await.id, id));
        let elsewhere = world.published(&other, world.terms()).await;
        world.issued(&other, elsewhere, "same").await;
    }
    let held = world.held(shop.id, "same").await;
    for one in &held {
        assert_eq!(
            (one.coupon.merchant_id, one.template.merchant_id),
            (shop.id, shop.id)
        );
        assert_eq!(one.coupon.template_id, one.template.id);
        assert_eq!(*one.template, *world.template(&shop, one.template.id).await);
    }
    let returned: HashSet<_> = held
        .iter()
        .map(|one| (one.coupon.id, one.template.id))
        .collect();
    assert_eq!((held.len(), returned), (6, expected));
    for user in ["Same", "same ", "", "other"] {
        assert!(world.held(shop.id, user).await.is_empty(), "{user:?}");
    }
}

/// After a cancellation the coupon may be redeemed for another order, which alone cancels it then.
pub async fn a_coupon_can_be_redeemed_again(world: &World) {
    let shop = world.shop().await;
    let id = world
        .published(&shop, world.limited(Limit::RedeemCount(1)))
        .await;
    let coupon = world.issued(&shop, id, "u").await.id;
    for round in 0..3 {
        let (this, next) = (format!("order-{round}"), format!("order-{}", round + 1));
        world.clock.advance(MICRO);
        assert!(
            world
                .redeem(shop.id, coupon, order("u", &this, 1))
                .await
                .is_ok()
        );
        let refused = world.cancel(shop.id, coupon, &next).await;
        assert_eq!(refused, Err(CancelRefusal::OrderIdMismatch));
        world.clock.advance(MICRO);
        assert!(world.cancel(shop.id, coupon, &this).await.is_ok());
        assert_eq!(redeem_count(world, &shop, id).await, 0);
    }
    let pair = [Redeem, CancelRedemption];
    let expected = [vec![Issue], pair.repeat(3)].concat();
    assert_eq!(world.actions(shop.id, coupon).await, expected);
    world.audited().await;
}
