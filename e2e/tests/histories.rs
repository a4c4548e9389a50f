//! The coupon histories of a merchant: entries, filters, paging and cursors (contract 2.2).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::future::join_all;
use goodpon_e2e::expect::{INVALID_VALUE, exact_keys, is_local_date_time, is_lower_hex};
use goodpon_e2e::ledger::{actions, pages, text};
use goodpon_e2e::template::day;
use goodpon_e2e::{Shared, Template, World};
use goodpon_waits::eventually;
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

const SIZE_MESSAGE: &str = "size는 1 이상 100 이하이어야 합니다.";
const DATE_MESSAGE: &str = "startDate는 endDate보다 이후일 수 없습니다.";

async fn issue_many(world: &World, template: i64, count: usize) {
    let users: Vec<String> = (0..count).map(|number| format!("u{number}")).collect();
    for answer in join_all(users.iter().map(|user| world.shop.issue(template, user))).await {
        answer.ok();
    }
}

fn ids(entries: &[Value]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| text(entry, "historyId").to_owned())
        .collect()
}

#[tokio::test]
async fn each_action_leaves_its_entry() {
    let world = SHARED.world().await;
    assert_eq!(
        world.owner.histories(world.merchant, &[]).await.ok(),
        &json!({"content": [], "size": 0, "hasMore": false, "nextCursor": null})
    );
    let template = world.publish(&Template::default().name("이력")).await;
    let coupon = world.shop.issued(template, "유저 1").await;
    world
        .shop
        .redeem(&coupon, "유저 1", 5000, "주문 1")
        .await
        .ok();
    world.shop.cancel(&coupon, "주문 1", "변심 😀").await.ok();
    world
        .shop
        .redeem(&coupon, "유저 1", 5000, "주문 2")
        .await
        .ok();
    let answer = world.owner.histories(world.merchant, &[]).await;
    exact_keys(answer.ok(), &["content", "size", "hasMore", "nextCursor"]);
    let entries = answer.ok()["content"].as_array().unwrap();
    for entry in entries {
        exact_keys(
            entry,
            &[
                "historyId",
                "actionType",
                "recordedAt",
                "orderId",
                "reason",
                "userCouponId",
                "userId",
                "couponTemplateId",
                "couponTemplateName",
            ],
        );
        assert!(
            is_lower_hex(text(entry, "historyId"), 32)
                && is_local_date_time(text(entry, "recordedAt"))
        );
        assert_eq!(
            (text(entry, "userCouponId"), text(entry, "userId")),
            (coupon.as_str(), "유저 1")
        );
        assert_eq!(
            (
                &entry["couponTemplateId"],
                text(entry, "couponTemplateName")
            ),
            (&json!(template), "이력")
        );
    }
    let actual: Vec<_> = entries
        .iter()
        .map(|entry| {
            (
                text(entry, "actionType"),
                entry["orderId"].clone(),
                entry["reason"].clone(),
            )
        })
        .collect();
    let expected = [
        ("ISSUE", Value::Null, Value::Null),
        ("REDEEM", json!("주문 1"), Value::Null),
        ("CANCEL_REDEMPTION", json!("주문 1"), json!("변심 😀")),
        ("REDEEM", json!("주문 2"), Value::Null),
    ];
    assert_eq!(actual, expected);
}

#[tokio::test]
async fn filters_must_all_hold() {
    let world = SHARED.world().await;
    let first = world.publish(&Template::default()).await;
    let second = world.publish(&Template::default()).await;
    let a = world.shop.issued(first, "a").await;
    world.shop.issue(second, "a").await.ok();
    world.shop.issue(first, "b").await.ok();
    world.shop.redeem(&a, "a", 9000, "o").await.ok();
    let (first, second) = (first.to_string(), second.to_string());
    let rows: [(&[(&str, &str)], usize); 13] = [
        (&[], 4),
        (&[("userId", "a")], 3),
        (&[("userId", "A")], 0),
        (&[("userId", "a ")], 0),
        (&[("userId", "")], 4),
        (&[("orderId", "o")], 1),
        (&[("orderId", "o"), ("userId", "b")], 0),
        (&[("couponTemplateId", &first)], 3),
        (&[("couponTemplateId", &second), ("userId", "a")], 1),
        (&[("couponTemplateId", "0")], 0),
        (&[("couponTemplateId", "")], 4),
        (
            &[
                ("size", ""),
                ("startDate", ""),
                ("endDate", ""),
                ("nextCursor", ""),
                ("order", ""),
            ],
            4,
        ),
        (&[("surplus", "ignored")], 4),
    ];
    for (filter, count) in rows {
        let answer = world.owner.histories(world.merchant, filter).await;
        assert_eq!(
            answer.ok()["content"].as_array().unwrap().len(),
            count,
            "{filter:?}"
        );
    }
    let path = format!(
        "/v1/merchants/{}/coupon-histories?userId&size",
        world.merchant
    );
    assert_eq!(world.owner.get(&path).await.ok()["size"], 4);
}

#[tokio::test]
async fn days_are_inclusive_in_the_business_zone() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    world.shop.issue(template, "u").await.ok();
    let actual = world.ledger(&[]).await;
    let today = text(&actual[0], "recordedAt")[..10].to_owned();
    let count = async |start: &str, end: &str| {
        world
            .ledger(&[("startDate", start), ("endDate", end)])
            .await
            .len()
    };
    assert_eq!(count(&today, &today).await, 1);
    assert_eq!(count(&today, "").await, 1);
    assert_eq!(count("", &today).await, 1);
    assert_eq!(count("2000-01-01", "9998-12-31").await, 1);
    assert_eq!(count(&day(2), "").await, 0);
    assert_eq!(count("", &day(-2)).await, 0);
}

#[tokio::test]
async fn a_merchant_sees_only_its_own() {
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
    shop.issue(foreign, "shared-user").await.ok();
    let mine = world.publish(&Template::default()).await;
    world.shop.issue(mine, "shared-user").await.ok();
    let entries = world.ledger(&[("userId", "shared-user")]).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["couponTemplateId"], mine);
    assert!(
        world
            .ledger(&[("couponTemplateId", &foreign.to_string())])
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn pages_in_both_orders_skip_and_repeat_nothing() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    issue_many(&world, template, 60).await;
    world
        .owner
        .discard(world.merchant, template, "일괄")
        .await
        .ok();
    eventually("all are discarded", || async {
        actions(&world.ledger(&[]).await, "DISCARD").len() == 60
    })
    .await;
    let all = world.ledger(&[]).await;
    assert_eq!(all.len(), 120);
    let key = |entry: &Value| {
        (
            text(entry, "recordedAt").to_owned(),
            text(entry, "historyId").to_owned(),
        )
    };
    // A date-time without a fraction is a prefix of its successors, so text order is time order.
    assert!(
        all.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])),
        "by recordedAt, then id"
    );
    for size in [1, 7, 60, 99, 100] {
        assert_eq!(
            ids(&pages(&world.owner, world.merchant, &[("order", "asc")], size).await),
            ids(&all),
            "{size}"
        );
        let mut backwards = pages(&world.owner, world.merchant, &[("order", "desc")], size).await;
        backwards.reverse();
        assert_eq!(ids(&backwards), ids(&all), "{size} backwards");
    }
    let default = world.owner.histories(world.merchant, &[]).await;
    assert_eq!(
        (&default.ok()["size"], &default.ok()["hasMore"]),
        (&json!(20), &json!(true))
    );
    assert_eq!(
        ids(default.ok()["content"].as_array().unwrap()),
        ids(&all[..20]),
        "ascending by default"
    );
    let exact = world
        .owner
        .histories(world.merchant, &[("userId", "u1"), ("size", "2")])
        .await;
    assert_eq!(
        exact.ok()["hasMore"],
        false,
        "a page that ends with the last entry: {exact}"
    );
    assert!(exact.ok()["nextCursor"].is_null());
}

#[tokio::test]
async fn entries_that_arrive_meanwhile_disturb_no_page() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    issue_many(&world, template, 10).await;
    let before = ids(&world.ledger(&[]).await);
    for order in ["asc", "desc"] {
        let first = world
            .owner
            .histories(world.merchant, &[("size", "4"), ("order", order)])
            .await;
        let cursor = text(first.ok(), "nextCursor").to_owned();
        world
            .shop
            .issue(template, &format!("late-{order}"))
            .await
            .ok();
        let query = [
            ("size", "100"),
            ("order", order),
            ("nextCursor", cursor.as_str()),
        ];
        let rest = world.owner.histories(world.merchant, &query).await;
        let mut seen = ids(first.ok()["content"].as_array().unwrap());
        seen.extend(ids(rest.ok()["content"].as_array().unwrap()));
        if order == "desc" {
            seen.reverse();
        }
        let known: Vec<_> = seen
            .iter()
            .filter(|id| before.contains(id))
            .cloned()
            .collect();
        assert_eq!(known, before, "{order}");
        let mut once = seen.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), seen.len(), "{order}: nothing twice");
    }
}

#[tokio::test]
async fn bad_queries_name_every_field() {
    let world = SHARED.world().await;
    let ask = async |query: &[(&str, &str)]| world.owner.histories(world.merchant, query).await;
    for size in ["0", "-1", "101", "99999999999999999999", "x", "1.5"] {
        ask(&[("size", size)])
            .await
            .bad_entries(&[("size", SIZE_MESSAGE)]);
    }
    let reversed = [("startDate", "2025-02-02"), ("endDate", "2025-02-01")];
    ask(&reversed)
        .await
        .bad_entries(&[("startDate", DATE_MESSAGE)]);
    let both = [
        ("startDate", "2025-02-02"),
        ("endDate", "2025-02-01"),
        ("size", "0"),
    ];
    ask(&both)
        .await
        .bad_entries(&[("startDate", DATE_MESSAGE), ("size", SIZE_MESSAGE)]);
    for (field, value) in [
        ("startDate", "2025-02-30"),
        ("startDate", "x"),
        ("endDate", "2025-2-3"),
        ("endDate", "1999-12-31"),
        ("couponTemplateId", "x"),
        ("couponTemplateId", "9223372036854775808"),
        ("order", "ASC!"),
        ("order", "sideways"),
    ] {
        ask(&[(field, value)])
            .await
            .bad_entries(&[(field, INVALID_VALUE)]);
    }
    ask(&[
        ("startDate", "x"),
        ("endDate", "y"),
        ("couponTemplateId", "z"),
        ("order", "o"),
    ])
    .await
    .bad_fields(&["startDate", "endDate", "couponTemplateId", "order"]);
    let path = "/v1/merchants/x/coupon-histories?size=0&nextCursor=zz";
    world.owner.get(path).await.bad_entries(&[
        ("merchantId", INVALID_VALUE),
        ("nextCursor", INVALID_VALUE),
        ("size", SIZE_MESSAGE),
    ]);
}

#[tokio::test]
async fn a_cursor_is_ours_or_refused() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    issue_many(&world, template, 5).await;
    let page = world
        .owner
        .histories(world.merchant, &[("size", "2")])
        .await;
    let cursor = text(page.ok(), "nextCursor").to_owned();
    let ask = async |query: &[(&str, &str)]| world.owner.histories(world.merchant, query).await;
    assert_eq!(
        ask(&[("nextCursor", &cursor), ("size", "3")]).await.ok()["size"],
        3,
        "the size may change"
    );

    let mut tampered = vec![
        "x".to_owned(),
        "0".repeat(32),
        "f".repeat(4000),
        "😀".to_owned(),
        "' OR 1=1 --".to_owned(),
    ];
    tampered.push(cursor[..cursor.len() - 1].to_owned());
    tampered.push(format!("{cursor}0"));
    tampered.push(text(&page.ok()["content"][1], "historyId").to_owned());
    for at in 0..cursor.len() {
        let mut bytes = cursor.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        tampered.push(String::from_utf8(bytes).unwrap());
    }
    for cursor in tampered {
        let answer = ask(&[("nextCursor", &cursor)]).await;
        assert_eq!(answer.code(), Some("BAD_REQUEST"), "{cursor}: {answer}");
        answer.bad_fields(&["nextCursor"]);
    }
    // A cursor belongs to the filters, the order and the merchant that it was made for.
    for other in [
        ("order", "desc"),
        ("userId", "u1"),
        ("orderId", "o"),
        ("startDate", "2025-01-01"),
    ] {
        ask(&[("nextCursor", &cursor), other])
            .await
            .bad_fields(&["nextCursor"]);
    }
    let (other, _) = world.other_merchant().await;
    let query = [("nextCursor", cursor.as_str())];
    world
        .stranger()
        .await
        .histories(other, &query)
        .await
        .bad_fields(&["nextCursor"]);
}
