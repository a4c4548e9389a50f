//! Coupon templates of the dashboard: creation, publishing, discarding, lists and details (contract §2, §5).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::expect::{exact_keys, is_local_date_time};
use goodpon_e2e::ledger::{actions, text};
use goodpon_e2e::template::midnight;
use goodpon_e2e::{Shared, Template, World};
use goodpon_waits::eventually;
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

const CREATED: &[&str] = &[
    "id",
    "merchantId",
    "name",
    "description",
    "minOrderAmount",
    "discountType",
    "discountValue",
    "maxDiscountAmount",
    "status",
    "issueStartAt",
    "issueEndAt",
    "validityDays",
    "absoluteExpiresAt",
    "limitType",
    "maxIssueCount",
    "maxRedeemCount",
];

async fn create(world: &World, template: &Template) -> goodpon_e2e::Answer {
    world
        .owner
        .create_template(world.merchant, template.body())
        .await
}

#[tokio::test]
async fn a_full_template_is_given_back_with_its_instants() {
    let world = SHARED.world().await;
    let template = Template::percentage(15, 3000)
        .name(" 여름 😀 ")
        .set("description", "  길게\n설명  ");
    let template = template
        .min_order(10_000)
        .starts(-3)
        .ends(4)
        .validity(30)
        .expires(40)
        .issue_limit(7);
    let answer = create(&world, &template).await;
    let data = answer.ok();
    exact_keys(data, CREATED);
    let mut actual = data.clone();
    actual["id"] = json!(1);
    let expected = json!({
        "id": 1, "merchantId": world.merchant, "name": "여름 😀", "description": "길게\n설명", "minOrderAmount": 10_000,
        "discountType": "PERCENTAGE", "discountValue": 15, "maxDiscountAmount": 3000, "status": "DRAFT",
        "issueStartAt": midnight(-3), "issueEndAt": midnight(5), "validityDays": 30,
        "absoluteExpiresAt": midnight(41), "limitType": "ISSUE_COUNT", "maxIssueCount": 7, "maxRedeemCount": null,
    });
    assert_eq!(actual, expected);

    let shown = world
        .owner
        .template(world.merchant, data["id"].as_i64().unwrap())
        .await;
    let mut keys = CREATED.to_vec();
    keys.extend(["issueCount", "redeemCount", "createdAt"]);
    exact_keys(shown.ok(), &keys);
    for key in CREATED {
        assert_eq!(shown.ok()[key], data[key], "{key}");
    }
    assert_eq!(
        (&shown.ok()["issueCount"], &shown.ok()["redeemCount"]),
        (&json!(0), &json!(0))
    );
    assert!(is_local_date_time(
        shown.ok()["createdAt"].as_str().unwrap()
    ));
}

#[tokio::test]
async fn a_bare_template_has_nulls_for_the_rest() {
    let world = SHARED.world().await;
    let data = create(&world, &Template::default()).await.ok().clone();
    exact_keys(&data, CREATED);
    for key in [
        "minOrderAmount",
        "maxDiscountAmount",
        "issueEndAt",
        "validityDays",
        "absoluteExpiresAt",
    ] {
        assert!(data[key].is_null(), "{key}");
    }
    assert!(data["maxIssueCount"].is_null() && data["maxRedeemCount"].is_null());
    let limited = create(&world, &Template::default().redeem_limit(3))
        .await
        .ok()
        .clone();
    assert_eq!(
        (&limited["limitType"], &limited["maxRedeemCount"]),
        (&json!("REDEEM_COUNT"), &json!(3))
    );
}

#[tokio::test]
async fn templates_are_listed_newest_first_with_their_counts() {
    let world = SHARED.world().await;
    assert_eq!(
        world.owner.templates(world.merchant).await.ok(),
        &json!({"templates": []})
    );
    let first = world.publish(&Template::default().name("첫째")).await;
    let second = world
        .draft(&Template::default().name("둘째").set("description", ""))
        .await;
    let coupon = world.shop.issued(first, "a").await;
    world.shop.issue(first, "b").await.ok();
    world.shop.redeem(&coupon, "a", 5000, "order").await.ok();
    let answer = world.owner.templates(world.merchant).await;
    let mut listed = answer.ok()["templates"].as_array().unwrap().clone();
    for template in &mut listed {
        assert!(is_local_date_time(template["createdAt"].as_str().unwrap()));
        template["createdAt"] = Value::Null;
    }
    let expected = json!([
        {"id": second, "name": "둘째", "description": "", "status": "DRAFT", "issueCount": 0, "redeemCount": 0,
         "createdAt": null},
        {"id": first, "name": "첫째", "description": "설명", "status": "ISSUABLE", "issueCount": 2, "redeemCount": 1,
         "createdAt": null},
    ]);
    assert_eq!(Value::Array(listed), expected);
}

#[tokio::test]
async fn the_counts_follow_a_cancelled_redemption() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let coupon = world.shop.issued(template, "a").await;
    world.shop.redeem(&coupon, "a", 5000, "order").await.ok();
    world.shop.cancel(&coupon, "order", "변심").await.ok();
    let shown = world.owner.template(world.merchant, template).await;
    assert_eq!(
        (&shown.ok()["issueCount"], &shown.ok()["redeemCount"]),
        (&json!(1), &json!(0))
    );
}

#[tokio::test]
async fn publishing_needs_a_draft_and_looks_at_no_date() {
    let world = SHARED.world().await;
    // Long over, and still publishable.
    let id = world
        .draft(&Template::default().name("지난").starts(-20).ends(-10))
        .await;
    let answer = world.owner.publish(world.merchant, id).await;
    let expected =
        json!({"id": id, "name": "지난", "merchantId": world.merchant, "status": "ISSUABLE"});
    assert_eq!(answer.ok(), &expected);
    world
        .owner
        .publish(world.merchant, id)
        .await
        .refused("COUPON_TEMPLATE_INVALID_STATUS_TO_PUBLISH");
    world.owner.discard(world.merchant, id, "그만").await.ok();
    world
        .owner
        .publish(world.merchant, id)
        .await
        .refused("COUPON_TEMPLATE_INVALID_STATUS_TO_PUBLISH");
}

#[tokio::test]
async fn a_template_past_its_expiry_counts_as_expired_at_once() {
    let world = SHARED.world().await;
    let over = Template::default().starts(-20).ends(-10).expires(-2);
    let id = world.draft(&over).await;
    let status = |shown: goodpon_e2e::Answer| shown.ok()["status"].as_str().unwrap().to_owned();
    assert_eq!(
        status(world.owner.template(world.merchant, id).await),
        "DRAFT",
        "a DRAFT stays DRAFT"
    );
    world.owner.publish(world.merchant, id).await.ok();
    assert_eq!(
        status(world.owner.template(world.merchant, id).await),
        "EXPIRED"
    );
    let listed = world.owner.templates(world.merchant).await;
    assert_eq!(listed.ok()["templates"][0]["status"], "EXPIRED");
    world
        .owner
        .publish(world.merchant, id)
        .await
        .refused("COUPON_TEMPLATE_INVALID_STATUS_TO_PUBLISH");
    world
        .owner
        .discard(world.merchant, id, "늦음")
        .await
        .refused("COUPON_TEMPLATE_INVALID_STATUS_TO_DISCARD");
    world
        .shop
        .issue(id, "u")
        .await
        .refused("COUPON_NOT_ISSUABLE_PERIOD");
    world
        .shop
        .template(id, None)
        .await
        .refused("COUPON_TEMPLATE_NOT_FOUND");
}

#[tokio::test]
async fn discarding_ends_a_draft_or_an_issuable_template() {
    let world = SHARED.world().await;
    let draft = world.draft(&Template::default().name("초안")).await;
    let answer = world
        .owner
        .discard(world.merchant, draft, "잘못 만듦")
        .await;
    let expected =
        json!({"id": draft, "name": "초안", "merchantId": world.merchant, "status": "DISCARDED"});
    assert_eq!(answer.ok(), &expected);
    world
        .owner
        .discard(world.merchant, draft, "또")
        .await
        .refused("COUPON_TEMPLATE_INVALID_STATUS_TO_DISCARD");
    assert_eq!(
        world.owner.template(world.merchant, draft).await.ok()["status"],
        "DISCARDED"
    );
}

#[tokio::test]
async fn a_discard_stops_everything_from_its_answer_on() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let used = world.shop.issued(template, "used").await;
    let open = world.shop.issued(template, "open").await;
    world.shop.redeem(&used, "used", 5000, "order").await.ok();
    world
        .owner
        .discard(world.merchant, template, "행사 취소")
        .await
        .ok();
    world
        .shop
        .issue(template, "late")
        .await
        .refused("COUPON_TEMPLATE_NOT_ISSUABLE");
    world
        .shop
        .redeem(&open, "open", 5000, "o2")
        .await
        .refused("COUPON_NOT_REDEEMABLE");
    world
        .shop
        .template(template, None)
        .await
        .refused("COUPON_TEMPLATE_NOT_FOUND");
    assert_eq!(
        world.shop.coupons("open").await.ok(),
        &json!({"coupons": []})
    );
    assert_eq!(
        world.shop.available("open", 5000).await.ok(),
        &json!({"coupons": []})
    );

    // The redeemed one stays, can be cancelled, and is then discarded with the reason of the discard.
    let cancelled = world.shop.cancel(&used, "order", "변심").await;
    assert_eq!(cancelled.ok()["status"], "DISCARDED");
    let filter = [("userId", "used")];
    let entries = world.ledger(&filter).await;
    let actual: Vec<_> = entries
        .iter()
        .map(|entry| text(entry, "actionType"))
        .collect();
    assert_eq!(actual, ["ISSUE", "REDEEM", "CANCEL_REDEMPTION", "DISCARD"]);
    assert_eq!(entries[2]["recordedAt"], entries[3]["recordedAt"]);
    assert!(text(&entries[2], "historyId") < text(&entries[3], "historyId"));
    assert_eq!(
        (text(&entries[2], "reason"), text(&entries[3], "reason")),
        ("변심", "행사 취소")
    );
    assert!(entries[3]["orderId"].is_null());
}

#[tokio::test]
async fn every_issued_coupon_of_a_discarded_template_gets_one_entry() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let users: Vec<String> = (0..150).map(|number| format!("user-{number}")).collect();
    let issued =
        futures::future::join_all(users.iter().map(|user| world.shop.issue(template, user))).await;
    issued.iter().for_each(|answer| {
        answer.ok();
    });
    world
        .owner
        .discard(world.merchant, template, "일괄")
        .await
        .ok();
    eventually("all coupons are discarded", || async {
        actions(&world.ledger(&[]).await, "DISCARD").len() == users.len()
    })
    .await;
    let entries = world.ledger(&[]).await;
    let discards = actions(&entries, "DISCARD");
    let mut actual: Vec<_> = discards
        .iter()
        .map(|entry| text(entry, "userId").to_owned())
        .collect();
    actual.sort();
    let mut expected = users.clone();
    expected.sort();
    assert_eq!(actual, expected);
    assert!(
        discards
            .iter()
            .all(|entry| text(entry, "reason") == "일괄" && entry["orderId"].is_null())
    );
    assert_eq!(
        world.owner.template(world.merchant, template).await.ok()["issueCount"],
        users.len()
    );
}

#[tokio::test]
async fn a_discards_reason_has_0_to_255_characters() {
    let world = SHARED.world().await;
    let template = world.draft(&Template::default()).await;
    world
        .owner
        .discard(world.merchant, template, &"가".repeat(256))
        .await
        .bad_fields(&["reason"]);
    let path = format!(
        "/v1/merchants/{}/coupon-templates/{template}/discard",
        world.merchant
    );
    for body in [json!({}), json!({"reason": null}), json!({"reason": []})] {
        world.owner.post(&path, &body).await.bad_fields(&["reason"]);
    }
    world.owner.discard(world.merchant, template, "").await.ok();
    let other = world.draft(&Template::default()).await;
    world
        .owner
        .discard(world.merchant, other, &"가".repeat(255))
        .await
        .ok();
}

#[tokio::test]
async fn unknown_templates_are_not_found_and_foreign_ones_told_apart() {
    let world = SHARED.world().await;
    let (other, _) = world.other_merchant().await;
    let stranger = world.stranger().await;
    let foreign = stranger
        .create_template(other, Template::default().body())
        .await
        .ok()["id"]
        .as_i64()
        .unwrap();
    for (id, code) in [
        (0, "COUPON_TEMPLATE_NOT_FOUND"),
        (-3, "COUPON_TEMPLATE_NOT_FOUND"),
        (i64::MAX, "COUPON_TEMPLATE_NOT_FOUND"),
        (foreign, "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT"),
    ] {
        world.owner.template(world.merchant, id).await.refused(code);
        world.owner.publish(world.merchant, id).await.refused(code);
        world
            .owner
            .discard(world.merchant, id, "이유")
            .await
            .refused(code);
    }
    assert_eq!(
        stranger.template(other, foreign).await.ok()["status"],
        "DRAFT",
        "nothing changed"
    );
    for id in ["x", "1.5", "99999999999999999999"] {
        let path = format!("/v1/merchants/{}/coupon-templates/{id}", world.merchant);
        world
            .owner
            .get(&path)
            .await
            .bad_fields(&["couponTemplateId"]);
        world
            .owner
            .call("POST", &format!("{path}/publish"))
            .send()
            .await
            .bad_fields(&["couponTemplateId"]);
        let both = world
            .owner
            .get(&format!("/v1/merchants/z/coupon-templates/{id}"))
            .await;
        both.bad_fields(&["merchantId", "couponTemplateId"]);
    }
}
