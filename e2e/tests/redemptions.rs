//! Redeeming coupons and cancelling redemptions (contract §3).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::actors::{cancel_body, cancel_path, redeem_body, redeem_path};
use goodpon_e2e::expect::{exact_keys, is_local_date_time};
use goodpon_e2e::{Shared, Template};
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

/// The largest amount that the contract allows.
const LARGEST: i64 = 1_000_000_000_000;

#[tokio::test]
async fn a_redemption_returns_its_figures() {
    let world = SHARED.world().await;
    let template = world
        .publish(&Template::fixed(2000).min_order(15_000))
        .await;
    let coupon = world.shop.issued(template, "u").await;
    let answer = world.shop.redeem(&coupon, "u", 15_000, "주문 1").await;
    let data = answer.ok();
    exact_keys(
        data,
        &[
            "userCouponId",
            "discountAmount",
            "originalPrice",
            "finalPrice",
            "orderId",
            "redeemedAt",
        ],
    );
    assert!(is_local_date_time(data["redeemedAt"].as_str().unwrap()));
    let mut actual = data.clone();
    actual["redeemedAt"] = Value::Null;
    let expected = json!({
        "userCouponId": coupon, "discountAmount": 2000, "originalPrice": 15_000, "finalPrice": 13_000,
        "orderId": "주문 1", "redeemedAt": null,
    });
    assert_eq!(actual, expected);
    let entries = world.ledger(&[("orderId", "주문 1")]).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["recordedAt"], data["redeemedAt"]);
}

#[tokio::test]
async fn discounts_are_exact_to_the_largest_amounts() {
    let world = SHARED.world().await;
    let rows = [
        (Template::fixed(1000), 5000, 1000),
        (Template::fixed(1000), 1000, 1000),
        (Template::fixed(1000), 999, 999),
        (Template::fixed(1000), 0, 0),
        (Template::fixed(LARGEST), LARGEST, LARGEST),
        (Template::percentage(10, 5000), 9_999, 999),
        (Template::percentage(10, 5000), 50_000, 5000),
        (Template::percentage(10, 5000), 50_009, 5000),
        (Template::percentage(33, LARGEST), 1, 0),
        (Template::percentage(33, LARGEST), 100, 33),
        (Template::percentage(99, LARGEST), LARGEST, 990_000_000_000),
        (
            Template::percentage(7, LARGEST),
            999_999_999_999,
            69_999_999_999,
        ),
        (Template::percentage(100, LARGEST), LARGEST, LARGEST),
        (Template::percentage(100, 1), 12_345, 1),
    ];
    for (number, (template, amount, discount)) in rows.into_iter().enumerate() {
        let template = world.publish(&template).await;
        let user = format!("u{number}");
        let coupon = world.shop.issued(template, &user).await;
        let answer = world
            .shop
            .redeem(&coupon, &user, amount, &format!("order-{number}"))
            .await;
        let actual = ["discountAmount", "originalPrice", "finalPrice"]
            .map(|key| answer.ok()[key].as_i64().unwrap());
        assert_eq!(
            actual,
            [discount, amount, amount - discount],
            "row {number}"
        );
    }
}

#[tokio::test]
async fn redeem_refuses_in_the_order_of_the_contract() {
    let world = SHARED.world().await;
    let (_, other) = world.other_merchant().await;
    let shop = &world.shop;
    for id in [
        "x",
        "0",
        "00000000000000000000000000000000",
        &"f".repeat(400),
        "%F0%9F%98%80",
        "..%2f",
        "1' OR 1=1",
    ] {
        let path = redeem_path(id).replace(' ', "%20");
        shop.post(&path, &redeem_body("u", 100, "o"), None)
            .await
            .refused("USER_COUPON_NOT_FOUND");
    }
    let template = world
        .publish(&Template::default().min_order(5000).redeem_limit(1))
        .await;
    let first = shop.issued(template, "a").await;
    let second = shop.issued(template, "b").await;
    let upper = first.to_uppercase();
    if upper != first {
        shop.redeem(&upper, "a", 5000, "o")
            .await
            .refused("USER_COUPON_NOT_FOUND");
    }
    // Another merchant learns nothing of user, amount or state.
    other
        .redeem(&first, "someone", 1, "o")
        .await
        .refused("COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT");
    for user in ["b", "A", "a ", "someone"] {
        shop.redeem(&first, user, 1, "o")
            .await
            .refused("USER_COUPON_NOT_OWNED_BY_USER");
    }
    shop.redeem(&first, "a", 4999, "o")
        .await
        .refused("COUPON_TEMPLATE_REDEEM_CONDITION_NOT_MET");
    shop.redeem(&first, "a", 5000, "o").await.ok();
    shop.redeem(&first, "a", 4999, "o")
        .await
        .refused("COUPON_TEMPLATE_REDEEM_CONDITION_NOT_MET");
    shop.redeem(&first, "a", 5000, "o")
        .await
        .refused("USER_COUPON_ALREADY_REDEEMED");
    shop.redeem(&second, "b", 4999, "p")
        .await
        .refused("COUPON_TEMPLATE_REDEEM_CONDITION_NOT_MET");
    shop.redeem(&second, "b", 5000, "p")
        .await
        .refused("COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED");

    world
        .owner
        .discard(world.merchant, template, "끝")
        .await
        .ok();
    shop.redeem(&second, "a", 1, "p")
        .await
        .refused("USER_COUPON_NOT_OWNED_BY_USER");
    shop.redeem(&second, "b", 1, "p")
        .await
        .refused("COUPON_NOT_REDEEMABLE");
    shop.redeem(&first, "a", 5000, "o")
        .await
        .refused("COUPON_NOT_REDEEMABLE");
    other
        .redeem(&second, "b", 5000, "p")
        .await
        .refused("COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT");
}

#[tokio::test]
async fn a_cancelled_redemption_gives_its_place_back() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default().redeem_limit(1)).await;
    let first = world.shop.issued(template, "a").await;
    let second = world.shop.issued(template, "b").await;
    world.shop.redeem(&first, "a", 5000, "o1").await.ok();
    world
        .shop
        .redeem(&second, "b", 5000, "o2")
        .await
        .refused("COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED");
    world.shop.cancel(&first, "o1", "변심").await.ok();
    world.shop.redeem(&second, "b", 5000, "o2").await.ok();
    world
        .shop
        .redeem(&first, "a", 5000, "o3")
        .await
        .refused("COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED");
    assert_eq!(
        world.shop.template(template, None).await.ok()["currentRedeemCount"],
        1
    );
}

#[tokio::test]
async fn a_cancellation_makes_the_coupon_issued_again() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default().validity(5)).await;
    let coupon = world.shop.issued(template, "u").await;
    let before = world.shop.coupons("u").await.ok().clone();
    world.shop.redeem(&coupon, "u", 5000, "주문").await.ok();
    let answer = world.shop.cancel(&coupon, "주문", "단순 변심 😀").await;
    let data = answer.ok();
    exact_keys(
        data,
        &["userCouponId", "status", "canceledAt", "cancelReason"],
    );
    assert_eq!(
        (&data["userCouponId"], &data["status"]),
        (&json!(coupon), &json!("ISSUED"))
    );
    assert_eq!(data["cancelReason"], "단순 변심 😀");
    let entries = world.ledger(&[]).await;
    assert_eq!(entries.last().unwrap()["recordedAt"], data["canceledAt"]);
    assert_eq!(world.shop.coupons("u").await.ok(), &before);
}

#[tokio::test]
async fn cancel_refuses_in_the_order_of_the_contract() {
    let world = SHARED.world().await;
    let (_, other) = world.other_merchant().await;
    let shop = &world.shop;
    for id in ["x", "0", "ffffffffffffffffffffffffffffffff"] {
        shop.cancel(id, "o", "r")
            .await
            .refused("USER_COUPON_NOT_FOUND");
    }
    let template = world.publish(&Template::default()).await;
    let coupon = shop.issued(template, "u").await;
    other
        .cancel(&coupon, "o", "r")
        .await
        .refused("COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT");
    shop.cancel(&coupon, "o", "r")
        .await
        .refused("USER_COUPON_CANCEL_NOT_ALLOWED");
    shop.redeem(&coupon, "u", 5000, "Order").await.ok();
    for order in ["order", "Order ", "other", "Ｏrder"] {
        shop.cancel(&coupon, order, "r")
            .await
            .refused("USER_COUPON_CANCEL_ORDER_ID_MISMATCH");
    }
    other
        .cancel(&coupon, "Order", "r")
        .await
        .refused("COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT");
    shop.cancel(&coupon, "Order", "r").await.ok();
    for order in ["Order", "other"] {
        shop.cancel(&coupon, order, "r")
            .await
            .refused("USER_COUPON_ALREADY_CANCELLED");
    }
    // Redeemed anew, only the newest order counts.
    shop.redeem(&coupon, "u", 5000, "second").await.ok();
    shop.cancel(&coupon, "Order", "r")
        .await
        .refused("USER_COUPON_CANCEL_ORDER_ID_MISMATCH");
    shop.cancel(&coupon, "second", "").await.ok();
}

#[tokio::test]
async fn cancelling_looks_at_no_template_status() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let never = world.shop.issued(template, "never").await;
    let used = world.shop.issued(template, "used").await;
    world.shop.redeem(&used, "used", 5000, "o").await.ok();
    world
        .owner
        .discard(world.merchant, template, "끝")
        .await
        .ok();
    world
        .shop
        .cancel(&never, "o", "r")
        .await
        .refused("USER_COUPON_CANCEL_NOT_ALLOWED");
    world
        .shop
        .cancel(&used, "other", "r")
        .await
        .refused("USER_COUPON_CANCEL_ORDER_ID_MISMATCH");
    assert_eq!(
        world.shop.cancel(&used, "o", "r").await.ok()["status"],
        "DISCARDED"
    );
    world
        .shop
        .cancel(&used, "o", "r")
        .await
        .refused("USER_COUPON_ALREADY_CANCELLED");
    world
        .shop
        .redeem(&used, "used", 5000, "p")
        .await
        .refused("COUPON_NOT_REDEEMABLE");
}

#[tokio::test]
async fn bodies_are_checked_before_the_coupon() {
    let world = SHARED.world().await;
    let redeem = async |body: Value| world.shop.post(&redeem_path("x"), &body, None).await;
    redeem(json!({}))
        .await
        .bad_fields(&["userId", "orderAmount", "orderId"]);
    redeem(json!({"userId": "", "orderAmount": -1, "orderId": ""}))
        .await
        .bad_fields(&["userId", "orderAmount", "orderId"]);
    for amount in [
        json!(-1),
        json!(0.5),
        json!("x"),
        json!(""),
        json!(LARGEST + 1),
        json!(null),
        json!({}),
        json!(true),
    ] {
        redeem(json!({"userId": "u", "orderAmount": amount, "orderId": "o"}))
            .await
            .bad_fields(&["orderAmount"]);
    }
    redeem(redeem_body(&"u".repeat(256), 1, &"o".repeat(256)))
        .await
        .bad_fields(&["userId", "orderId"]);
    redeem(redeem_body(&"u".repeat(255), LARGEST, &"가".repeat(255)))
        .await
        .refused("USER_COUPON_NOT_FOUND");
    redeem(json!({"userId": 5, "orderAmount": "1.5e4", "orderId": 77}))
        .await
        .refused("USER_COUPON_NOT_FOUND");

    let cancel = async |body: Value| world.shop.post(&cancel_path("x"), &body, None).await;
    cancel(json!({}))
        .await
        .bad_fields(&["orderId", "cancelReason"]);
    cancel(cancel_body("", &"가".repeat(256)))
        .await
        .bad_fields(&["orderId", "cancelReason"]);
    cancel(json!({"orderId": [], "cancelReason": null}))
        .await
        .bad_fields(&["orderId", "cancelReason"]);
    cancel(cancel_body("o", ""))
        .await
        .refused("USER_COUPON_NOT_FOUND");
    cancel(cancel_body("o", &"가".repeat(255)))
        .await
        .refused("USER_COUPON_NOT_FOUND");
}

#[tokio::test]
async fn order_ids_are_kept_as_they_are() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    for (number, order) in [" 앞뒤 ", "\u{301}e", "A\tB", "😀", &"o".repeat(255)]
        .into_iter()
        .enumerate()
    {
        let user = format!("u{number}");
        let coupon = world.shop.issued(template, &user).await;
        assert_eq!(
            world.shop.redeem(&coupon, &user, 1000, order).await.ok()["orderId"],
            order
        );
        assert_eq!(
            world.ledger(&[("orderId", order)]).await.len(),
            1,
            "{order:?}"
        );
        world
            .shop
            .cancel(&coupon, order.trim_matches('x'), "r")
            .await
            .ok();
    }
}

#[tokio::test]
async fn a_refusal_leaves_no_trace() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default().min_order(5000)).await;
    let coupon = world.shop.issued(template, "u").await;
    world
        .shop
        .redeem(&coupon, "u", 1, "o")
        .await
        .refused("COUPON_TEMPLATE_REDEEM_CONDITION_NOT_MET");
    world
        .shop
        .redeem(&coupon, "v", 5000, "o")
        .await
        .refused("USER_COUPON_NOT_OWNED_BY_USER");
    world
        .shop
        .cancel(&coupon, "o", "r")
        .await
        .refused("USER_COUPON_CANCEL_NOT_ALLOWED");
    assert_eq!(world.ledger(&[]).await.len(), 1, "only the issue");
    assert_eq!(
        world.shop.template(template, None).await.ok()["currentRedeemCount"],
        0
    );
    assert!(world.server().run_cli(&["verify"]).status.success());
}
