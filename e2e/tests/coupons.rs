//! Issue, detail and lists of the partner API (contract §3).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::expect::{exact_keys, is_local_date_time, is_lower_hex};
use goodpon_e2e::template::midnight;
use goodpon_e2e::{Shared, Template, World};
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

async fn foreign_template(world: &World) -> i64 {
    let (other, _) = world.other_merchant().await;
    let stranger = world.stranger().await;
    let id = stranger
        .create_template(other, Template::default().body())
        .await
        .ok()["id"]
        .as_i64()
        .unwrap();
    stranger.publish(other, id).await.ok();
    id
}

#[tokio::test]
async fn an_issued_coupon_is_listed_at_once() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default().name("즉시")).await;
    let answer = world.shop.issue(template, "유저 😀").await;
    assert_eq!(answer.ok(), "쿠폰이 정상적으로 발급되었습니다.");
    let listed = world.shop.coupons("유저 😀").await;
    let coupons = listed.ok()["coupons"].as_array().unwrap();
    assert_eq!(coupons.len(), 1);
    let coupon = &coupons[0];
    exact_keys(
        coupon,
        &[
            "userCouponId",
            "couponTemplateId",
            "couponTemplateName",
            "couponTemplateDescription",
            "discountType",
            "discountValue",
            "maxDiscountAmount",
            "minOrderAmount",
            "issuedAt",
            "expiresAt",
            "limitType",
            "maxIssueCount",
            "maxRedeemCount",
            "isRedeemable",
        ],
    );
    assert!(is_lower_hex(coupon["userCouponId"].as_str().unwrap(), 32));
    assert!(is_local_date_time(coupon["issuedAt"].as_str().unwrap()));
    assert_eq!(
        (&coupon["expiresAt"], &coupon["isRedeemable"]),
        (&Value::Null, &json!(true))
    );
    let entries = world.ledger(&[]).await;
    assert_eq!(
        entries[0]["recordedAt"], coupon["issuedAt"],
        "the instant of acceptance in both"
    );
}

#[tokio::test]
async fn issue_refuses_in_the_order_of_the_contract() {
    let world = SHARED.world().await;
    let shop = &world.shop;
    for id in [0, -1, i64::MAX, 987_654_321] {
        shop.issue(id, "u")
            .await
            .refused("COUPON_TEMPLATE_NOT_FOUND");
    }
    let foreign = foreign_template(&world).await;
    shop.issue(foreign, "u")
        .await
        .refused("COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT");
    // Period before status.
    let not_yet_draft = world.draft(&Template::default().starts(2)).await;
    shop.issue(not_yet_draft, "u")
        .await
        .refused("COUPON_NOT_ISSUABLE_PERIOD");
    let not_yet = world.publish(&Template::default().starts(2)).await;
    shop.issue(not_yet, "u")
        .await
        .refused("COUPON_NOT_ISSUABLE_PERIOD");
    let over = world
        .publish(&Template::default().starts(-5).ends(-2))
        .await;
    shop.issue(over, "u")
        .await
        .refused("COUPON_NOT_ISSUABLE_PERIOD");
    let draft = world.draft(&Template::default()).await;
    shop.issue(draft, "u")
        .await
        .refused("COUPON_TEMPLATE_NOT_ISSUABLE");
    // Status before the user's coupon, the user's coupon before the limit.
    let limited = world.publish(&Template::default().issue_limit(1)).await;
    shop.issue(limited, "u").await.ok();
    shop.issue(limited, "u")
        .await
        .refused("COUPON_ALREADY_ISSUED");
    shop.issue(limited, "v")
        .await
        .refused("COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED");
    world
        .owner
        .discard(world.merchant, limited, "끝")
        .await
        .ok();
    shop.issue(limited, "u")
        .await
        .refused("COUPON_TEMPLATE_NOT_ISSUABLE");
    shop.issue(limited, "v")
        .await
        .refused("COUPON_TEMPLATE_NOT_ISSUABLE");
}

#[tokio::test]
async fn one_coupon_for_one_user_for_ever() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let coupon = world.shop.issued(template, "u").await;
    world.shop.redeem(&coupon, "u", 5000, "o").await.ok();
    world
        .shop
        .issue(template, "u")
        .await
        .refused("COUPON_ALREADY_ISSUED");
    world.shop.cancel(&coupon, "o", "취소").await.ok();
    world
        .shop
        .issue(template, "u")
        .await
        .refused("COUPON_ALREADY_ISSUED");
}

#[tokio::test]
async fn user_ids_are_compared_byte_for_byte() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let longest = "유".repeat(255);
    let users = [
        "user",
        "USER",
        "user ",
        " user",
        "usér",
        "use\u{301}r",
        "ｕｓｅｒ",
        "123",
        "0123",
        "😀",
        &longest,
        "a%b",
        "_",
    ];
    for user in users {
        world.shop.issue(template, user).await.ok();
    }
    for user in users {
        world
            .shop
            .issue(template, user)
            .await
            .refused("COUPON_ALREADY_ISSUED");
        assert_eq!(
            world.shop.coupons(user).await.ok()["coupons"]
                .as_array()
                .unwrap()
                .len(),
            1,
            "{user:?}"
        );
    }
    let actual: Vec<_> = world
        .ledger(&[])
        .await
        .iter()
        .map(|entry| entry["userId"].clone())
        .collect();
    assert_eq!(actual, users.map(|user| json!(user)));
    // A number stands for its decimal text.
    let path = format!("/v1/coupon-templates/{template}/issue");
    world
        .shop
        .post(&path, &json!({"userId": 123}), None)
        .await
        .refused("COUPON_ALREADY_ISSUED");
}

#[tokio::test]
async fn the_redeem_limit_is_no_concern_of_issue() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default().redeem_limit(1)).await;
    let coupon = world.shop.issued(template, "a").await;
    world.shop.redeem(&coupon, "a", 5000, "o").await.ok();
    world.shop.issue(template, "b").await.ok();
    let detail = world.shop.template(template, Some("c")).await;
    assert_eq!(detail.ok()["issuanceStatus"], "MAX_REDEEM_COUNT_EXCEEDED");
}

#[tokio::test]
async fn the_detail_has_every_field() {
    let world = SHARED.world().await;
    let template = Template::percentage(10, 2000).name("상세").min_order(5000);
    let template = world
        .publish(&template.ends(10).validity(30).expires(20).issue_limit(5))
        .await;
    world.shop.issue(template, "u").await.ok();
    let answer = world.shop.template(template, None).await;
    let expected = json!({
        "id": template, "name": "상세", "description": "설명", "discountType": "PERCENTAGE", "discountValue": 10,
        "maxDiscountAmount": 2000, "minOrderAmount": 5000, "status": "ISSUABLE", "validityDays": 30,
        "absoluteExpiresAt": midnight(21), "issueStartAt": midnight(-1), "issueEndAt": midnight(11),
        "limitType": "ISSUE_COUNT", "maxIssueCount": 5, "maxRedeemCount": null, "currentIssueCount": 1,
        "currentRedeemCount": 0, "issuanceStatus": "AVAILABLE",
    });
    assert_eq!(answer.ok(), &expected);
}

#[tokio::test]
async fn issuance_status_is_the_first_that_holds() {
    let world = SHARED.world().await;
    let shop = &world.shop;
    let status = async |template: i64, user: Option<&str>| {
        shop.template(template, user).await.ok()["issuanceStatus"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let not_yet = world.publish(&Template::default().starts(2)).await;
    assert_eq!(status(not_yet, Some("u")).await, "PERIOD_NOT_STARTED");
    let over = world
        .publish(&Template::default().starts(-5).ends(-2))
        .await;
    assert_eq!(status(over, None).await, "PERIOD_ENDED");
    let limited = world.publish(&Template::default().issue_limit(1)).await;
    assert_eq!(status(limited, Some("u")).await, "AVAILABLE");
    shop.issue(limited, "u").await.ok();
    assert_eq!(status(limited, Some("u")).await, "ALREADY_ISSUED_BY_USER");
    assert_eq!(status(limited, Some("U")).await, "MAX_ISSUE_COUNT_EXCEEDED");
    assert_eq!(status(limited, None).await, "MAX_ISSUE_COUNT_EXCEEDED");
    let path = format!("/v1/coupon-templates/{limited}?userId=");
    let empty = shop.call("GET", &path).send().await;
    assert_eq!(
        empty.ok()["issuanceStatus"],
        "MAX_ISSUE_COUNT_EXCEEDED",
        "an empty userId is absent"
    );
    let redeemed = world.publish(&Template::default().redeem_limit(1)).await;
    let coupon = shop.issued(redeemed, "u").await;
    shop.redeem(&coupon, "u", 5000, "o").await.ok();
    assert_eq!(status(redeemed, Some("u")).await, "ALREADY_ISSUED_BY_USER");
    assert_eq!(
        status(redeemed, Some("v")).await,
        "MAX_REDEEM_COUNT_EXCEEDED"
    );
    shop.cancel(&coupon, "o", "취소").await.ok();
    assert_eq!(status(redeemed, Some("v")).await, "AVAILABLE");
}

#[tokio::test]
async fn the_detail_is_of_my_issuable_templates_only() {
    let world = SHARED.world().await;
    let draft = world.draft(&Template::default()).await;
    let discarded = world.draft(&Template::default()).await;
    world
        .owner
        .discard(world.merchant, discarded, "")
        .await
        .ok();
    let foreign = foreign_template(&world).await;
    for id in [draft, discarded, foreign, 0, -1, i64::MAX] {
        world
            .shop
            .template(id, Some("u"))
            .await
            .refused("COUPON_TEMPLATE_NOT_FOUND");
    }
    for id in ["x", "1.5", "9223372036854775808"] {
        let answer = world
            .shop
            .call("GET", &format!("/v1/coupon-templates/{id}"))
            .send()
            .await;
        answer.bad_fields(&["couponTemplateId"]);
    }
    let long = "u".repeat(256);
    world
        .shop
        .template(draft, Some(&long))
        .await
        .bad_fields(&["userId"]);
}

#[tokio::test]
async fn expiry_is_the_earlier_of_both() {
    let world = SHARED.world().await;
    let rows = [
        (Template::default(), None),
        (Template::default().validity(3), Some(4)),
        (Template::default().ends(5).expires(8), Some(9)),
        (Template::default().ends(5).expires(8).validity(20), Some(9)),
        (Template::default().ends(5).expires(8).validity(2), Some(3)),
        (Template::default().validity(36_500), Some(36_501)),
    ];
    for (number, (template, days)) in rows.into_iter().enumerate() {
        let template = world.publish(&template).await;
        let user = format!("u{number}");
        world.shop.issue(template, &user).await.ok();
        let listed = world.shop.coupons(&user).await;
        let expected = days.map_or(Value::Null, |days| json!(midnight(days)));
        assert_eq!(
            listed.ok()["coupons"][0]["expiresAt"],
            expected,
            "row {number}"
        );
    }
}

/// Publishes templates in this order and issues one coupon of each to the user; returns the template ids.
async fn wallet(world: &World, user: &str, templates: &[Template]) -> Vec<i64> {
    let mut ids = Vec::new();
    for template in templates {
        let id = world.publish(template).await;
        world.shop.issue(id, user).await.ok();
        ids.push(id);
    }
    ids
}

fn order(data: &Value, ids: &[i64]) -> Vec<usize> {
    let coupons = data["coupons"].as_array().unwrap();
    coupons
        .iter()
        .map(|coupon| {
            ids.iter()
                .position(|id| coupon["couponTemplateId"] == *id)
                .unwrap()
        })
        .collect()
}

async fn exhaust(world: &World, template: i64) {
    let coupon = world.shop.issued(template, "someone else").await;
    world
        .shop
        .redeem(&coupon, "someone else", 100_000, "their order")
        .await
        .ok();
}

#[tokio::test]
async fn my_coupons_come_redeemable_first_then_by_expiry_then_latest() {
    let world = SHARED.world().await;
    let rows = [
        Template::default(),
        Template::default().validity(9),
        Template::default().validity(2).redeem_limit(1),
        Template::default().validity(3),
        Template::default(),
        Template::default().validity(9),
    ];
    let ids = wallet(&world, "u", &rows).await;
    exhaust(&world, ids[2]).await;
    let listed = world.shop.coupons("u").await;
    assert_eq!(order(listed.ok(), &ids), [3, 5, 1, 4, 0, 2]);
    let redeemable: Vec<_> = listed.ok()["coupons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|coupon| coupon["isRedeemable"] == true)
        .collect();
    assert_eq!(redeemable, [true, true, true, true, true, false]);
}

#[tokio::test]
async fn available_coupons_leave_out_the_exhausted_and_put_reached_ones_first() {
    let world = SHARED.world().await;
    let rows = [
        Template::default().min_order(10_000).validity(1),
        Template::default().min_order(5000).validity(9),
        Template::default().validity(2).redeem_limit(1),
        Template::default(),
        Template::default().min_order(5001).validity(5),
    ];
    let ids = wallet(&world, "u", &rows).await;
    exhaust(&world, ids[2]).await;
    let listed = world.shop.available("u", 5000).await;
    assert_eq!(order(listed.ok(), &ids), [1, 3, 0, 4]);
    let coupons = listed.ok()["coupons"].as_array().unwrap();
    assert!(
        coupons
            .iter()
            .all(|coupon| coupon.get("isRedeemable").is_none())
    );
    let reached: Vec<_> = coupons
        .iter()
        .map(|coupon| coupon["isMinOrderAmountReached"].clone())
        .collect();
    assert_eq!(
        reached,
        [json!(true), json!(true), json!(false), json!(false)]
    );
    assert_eq!(
        order(world.shop.available("u", 0).await.ok(), &ids),
        [3, 0, 4, 1]
    );
}

#[tokio::test]
async fn lists_hold_issued_coupons_of_this_merchant_only() {
    let world = SHARED.world().await;
    let (other, shop) = world.other_merchant().await;
    let stranger = world.stranger().await;
    let foreign = stranger
        .create_template(other, Template::default().body())
        .await
        .ok()["id"]
        .as_i64()
        .unwrap();
    stranger.publish(other, foreign).await.ok();
    shop.issue(foreign, "u").await.ok();
    let ids = wallet(&world, "u", &[Template::default(), Template::default()]).await;
    let used = world.shop.coupon_of(ids[0], "u").await;
    world.shop.redeem(&used, "u", 5000, "o").await.ok();
    assert_eq!(order(world.shop.coupons("u").await.ok(), &ids), [1]);
    world.shop.cancel(&used, "o", "취소").await.ok();
    assert_eq!(order(world.shop.coupons("u").await.ok(), &ids), [1, 0]);
    assert_eq!(
        world.shop.coupons("nobody").await.ok(),
        &json!({"coupons": []})
    );
}

#[tokio::test]
async fn list_queries_are_checked_together() {
    let world = SHARED.world().await;
    let get = async |query: &str| {
        world
            .shop
            .call("GET", &format!("/v1/user-coupons{query}"))
            .send()
            .await
    };
    for query in ["", "?userId=", "?userId"] {
        get(query).await.bad_fields(&["userId"]);
    }
    get(&format!("?userId={}", "u".repeat(256)))
        .await
        .bad_fields(&["userId"]);
    get("/available")
        .await
        .bad_fields(&["userId", "orderAmount"]);
    get("/available?userId=u&orderAmount=")
        .await
        .bad_fields(&["orderAmount"]);
    for amount in ["-1", "x", "0.5", "1000000000001", "99999999999999999999"] {
        get(&format!("/available?userId=u&orderAmount={amount}"))
            .await
            .bad_fields(&["orderAmount"]);
    }
    for amount in ["0", "1000", "1000000000000"] {
        get(&format!("/available?userId=u&orderAmount={amount}"))
            .await
            .ok();
    }
}
