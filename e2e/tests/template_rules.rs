//! The validation of templates: every rule of contract 2.1, their order and combinations, and the bounds of §1.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::{Answer, Shared, Template, World};
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

const MIN_ORDER: (&str, &str) = (
    "minOrderAmount",
    "쿠폰 사용 조건의 최소 주문 금액은 0보다 커야 합니다.",
);
const FIXED: (&str, &str) = ("discountValue", "고정 할인 금액은 0보다 커야 합니다.");
const FIXED_CEILING: (&str, &str) = (
    "maxDiscountAmount",
    "고정 금액 할인은 최대 할인 금액을 설정할 수 없습니다.",
);
const PERCENT: (&str, &str) = ("discountValue", "백분율 할인 값은 1~100 사이여야 합니다.");
const PERCENT_CEILING: (&str, &str) = (
    "maxDiscountAmount",
    "백분율 할인은 최대 할인 금액을 0보다 크게 설정해야 합니다.",
);
const END_BEFORE_START: (&str, &str) = (
    "issueEndDate",
    "쿠폰 발행 종료일은 발행 시작일보다 이전일 수 없습니다.",
);
const EXPIRY_BEFORE_START: (&str, &str) = (
    "absoluteExpiryDate",
    "쿠폰 사용 절대 만료일은 발행 시작일보다 이전일 수 없습니다.",
);
const EXPIRY_BEFORE_END: (&str, &str) = (
    "absoluteExpiryDate",
    "쿠폰 사용 절대 만료일은 발행 종료일보다 이전일 수 없습니다.",
);
const EXPIRY_WITHOUT_END: (&str, &str) = (
    "absoluteExpiryDate",
    "쿠폰 사용 절대 만료일은 발행 종료일이 설정된 경우에만 설정할 수 있습니다.",
);
const VALIDITY: (&str, &str) = ("validityDays", "쿠폰 유효 기간은 0보다 커야 합니다.");
const ISSUE_NEEDED: (&str, &str) = (
    "maxIssueCount",
    "발급 제한 정책이 설정된 쿠폰은 발급 제한 수량이 필요합니다.",
);
const ISSUE_ALONE: (&str, &str) = (
    "maxRedeemCount",
    "발행 제한 정책이 설정된 쿠폰은 사용 제한 수량을 함께 설정할 수 없습니다.",
);
const REDEEM_NEEDED: (&str, &str) = (
    "maxRedeemCount",
    "사용 제한 정책이 설정된 쿠폰은 사용 제한 수량이 필요합니다.",
);
const REDEEM_ALONE: (&str, &str) = (
    "maxIssueCount",
    "사용 제한 정책이 설정된 쿠폰은 발급 제한 수량을 함께 설정할 수 없습니다.",
);
const NONE_ALONE: (&str, &str) = (
    "limitType",
    "무제한 정책이 설정된 쿠폰은 발급 및 사용 제한 수량을 설정할 수 없습니다.",
);

async fn create(world: &World, template: &Template) -> Answer {
    world
        .owner
        .create_template(world.merchant, template.body())
        .await
}

fn plain() -> Template {
    Template::default()
}

#[tokio::test]
async fn each_rule_is_named_by_field_and_message() {
    let world = SHARED.world().await;
    let percent = |value: i64| Template::percentage(value, 1000);
    let issue = || plain().issue_limit(1);
    let redeem = || plain().redeem_limit(1);
    let rows = [
        (plain().min_order(0), MIN_ORDER),
        (plain().min_order(-1), MIN_ORDER),
        (Template::fixed(0), FIXED),
        (Template::fixed(-1_000_000_000_000), FIXED),
        (plain().set("maxDiscountAmount", 5), FIXED_CEILING),
        (plain().set("maxDiscountAmount", 0), FIXED_CEILING),
        (percent(0), PERCENT),
        (percent(-1), PERCENT),
        (percent(101), PERCENT),
        (percent(10).without("maxDiscountAmount"), PERCENT_CEILING),
        (percent(10).set("maxDiscountAmount", 0), PERCENT_CEILING),
        (percent(10).set("maxDiscountAmount", -7), PERCENT_CEILING),
        (plain().starts(0).ends(-1), END_BEFORE_START),
        (plain().starts(3).ends(5).expires(2), EXPIRY_BEFORE_START),
        (plain().starts(3).expires(2), EXPIRY_BEFORE_START),
        (plain().starts(1).ends(5).expires(4), EXPIRY_BEFORE_END),
        (plain().starts(1).expires(4), EXPIRY_WITHOUT_END),
        (plain().validity(0), VALIDITY),
        (plain().validity(-1), VALIDITY),
        (issue().without("maxIssueCount"), ISSUE_NEEDED),
        (issue().set("maxIssueCount", 0), ISSUE_NEEDED),
        (issue().set("maxIssueCount", -1), ISSUE_NEEDED),
        (issue().set("maxRedeemCount", 1), ISSUE_ALONE),
        (redeem().without("maxRedeemCount"), REDEEM_NEEDED),
        (redeem().set("maxRedeemCount", 0), REDEEM_NEEDED),
        (redeem().set("maxIssueCount", 1), REDEEM_ALONE),
        (plain().set("maxIssueCount", 1), NONE_ALONE),
        (plain().set("maxRedeemCount", 0), NONE_ALONE),
        (
            plain().set("maxIssueCount", 1).set("maxRedeemCount", 1),
            NONE_ALONE,
        ),
    ];
    for (template, expected) in rows {
        create(&world, &template)
            .await
            .validation_failed(&[expected]);
    }
    assert_eq!(
        world.owner.templates(world.merchant).await.ok(),
        &json!({"templates": []}),
        "nothing was created"
    );
}

#[tokio::test]
async fn the_edges_of_the_rules_are_valid() {
    let world = SHARED.world().await;
    for template in [
        plain().min_order(1),
        Template::fixed(1),
        Template::fixed(1_000_000_000_000),
        Template::percentage(1, 1),
        Template::percentage(100, 1_000_000_000_000),
        plain().starts(0).ends(0).expires(0),
        plain().starts(4).ends(4),
        plain().validity(1),
        plain().validity(36_500),
        plain().issue_limit(1),
        plain().issue_limit(1_000_000_000),
        plain().redeem_limit(1_000_000_000),
        plain().set("issueStartDate", "2000-01-01"),
        plain()
            .set("issueEndDate", "9998-12-31")
            .set("absoluteExpiryDate", "9998-12-31"),
        plain().set("issueStartDate", "2028-02-29"),
    ] {
        create(&world, &template).await.ok();
    }
}

#[tokio::test]
async fn all_groups_are_reported_at_once_in_order() {
    let world = SHARED.world().await;
    let all = Template::fixed(0)
        .min_order(0)
        .starts(0)
        .ends(-1)
        .issue_limit(0);
    create(&world, &all).await.validation_failed(&[
        MIN_ORDER,
        FIXED,
        END_BEFORE_START,
        ISSUE_NEEDED,
    ]);
    let all = Template::percentage(0, 10)
        .min_order(-5)
        .validity(0)
        .redeem_limit(0);
    create(&world, &all)
        .await
        .validation_failed(&[MIN_ORDER, PERCENT, VALIDITY, REDEEM_NEEDED]);
    let some = plain()
        .set("maxDiscountAmount", 1)
        .starts(0)
        .expires(3)
        .set("maxIssueCount", 3);
    create(&world, &some)
        .await
        .validation_failed(&[FIXED_CEILING, EXPIRY_WITHOUT_END, NONE_ALONE]);
    let some = plain().min_order(0).issue_limit(1).set("maxRedeemCount", 1);
    create(&world, &some)
        .await
        .validation_failed(&[MIN_ORDER, ISSUE_ALONE]);
}

#[tokio::test]
async fn within_a_group_the_first_broken_rule_is_named() {
    let world = SHARED.world().await;
    let rows = [
        (Template::fixed(0).set("maxDiscountAmount", 5), FIXED),
        (Template::percentage(0, 0), PERCENT),
        (
            Template::percentage(101, 1).without("maxDiscountAmount"),
            PERCENT,
        ),
        (
            plain().starts(5).ends(4).expires(3).validity(0),
            END_BEFORE_START,
        ),
        (
            plain().starts(5).ends(6).expires(4).validity(0),
            EXPIRY_BEFORE_START,
        ),
        (
            plain().starts(5).ends(7).expires(6).validity(0),
            EXPIRY_BEFORE_END,
        ),
        (plain().starts(5).expires(6).validity(0), EXPIRY_WITHOUT_END),
        (
            plain().issue_limit(0).set("maxRedeemCount", 1),
            ISSUE_NEEDED,
        ),
        (
            plain().redeem_limit(0).set("maxIssueCount", 1),
            REDEEM_NEEDED,
        ),
    ];
    for (template, expected) in rows {
        create(&world, &template)
            .await
            .validation_failed(&[expected]);
    }
}

#[tokio::test]
async fn missing_and_mistyped_fields_are_a_bad_request_before_any_rule() {
    let world = SHARED.world().await;
    let required = [
        "name",
        "description",
        "discountType",
        "discountValue",
        "issueStartDate",
        "limitType",
    ];
    world
        .owner
        .create_template(world.merchant, &json!({}))
        .await
        .bad_fields(&required);
    let nulls: Value = required
        .iter()
        .map(|field| ((*field).to_owned(), Value::Null))
        .collect::<serde_json::Map<_, _>>()
        .into();
    world
        .owner
        .create_template(world.merchant, &nulls)
        .await
        .bad_fields(&required);
    for field in required {
        create(&world, &plain().without(field).min_order(0))
            .await
            .bad_fields(&[field]);
    }
    for (field, value) in [
        ("name", json!([])),
        ("name", json!("  ")),
        ("name", json!("가".repeat(256))),
        ("description", json!({})),
        ("description", json!("가".repeat(256))),
        ("discountType", json!("fixed_amount")),
        ("discountType", json!("")),
        ("discountType", json!(1)),
        ("limitType", json!("EVERYTHING")),
        ("limitType", json!(false)),
        ("discountValue", json!("")),
        ("discountValue", json!("천")),
        ("discountValue", json!(10.5)),
        ("discountValue", json!(true)),
        ("discountValue", json!(1_000_000_000_001_i64)),
        ("minOrderAmount", json!(1_000_000_000_001_i64)),
        ("minOrderAmount", json!([1])),
        ("maxDiscountAmount", json!(1e300)),
        ("validityDays", json!(36_501)),
        ("maxIssueCount", json!(1_000_000_001)),
        ("maxRedeemCount", json!(1_000_000_001)),
        ("issueStartDate", json!("")),
        ("issueStartDate", json!("2025-02-29")),
        ("issueStartDate", json!("2025-1-1")),
        ("issueStartDate", json!("1999-12-31")),
        ("issueStartDate", json!(20_250_101)),
        ("issueEndDate", json!("9999-01-01")),
        ("issueEndDate", json!("2025-07-01T00:00:00")),
        ("absoluteExpiryDate", json!("soon")),
        ("absoluteExpiryDate", json!({})),
    ] {
        let answer = create(&world, &plain().set(field, value.clone())).await;
        assert_eq!(
            answer.code(),
            Some("BAD_REQUEST"),
            "{field} = {value}: {answer}"
        );
        answer.bad_fields(&[field]);
    }
    let many = plain()
        .set("name", "")
        .set("discountType", "X")
        .set("validityDays", 0.5)
        .set("issueEndDate", "x");
    create(&world, &many).await.bad_fields(&[
        "name",
        "discountType",
        "validityDays",
        "issueEndDate",
    ]);
    assert_eq!(
        world.owner.templates(world.merchant).await.ok(),
        &json!({"templates": []}),
        "nothing was created"
    );
}

#[tokio::test]
async fn numbers_beyond_64_bits_name_their_field() {
    let world = SHARED.world().await;
    for number in [
        "18446744073709551616",
        "-9223372036854775809",
        "1e40",
        "123456789012345678901234567890",
        "1e999",
    ] {
        let body = plain().body().to_string().replace("1000", number);
        let path = format!("/v1/merchants/{}/coupon-templates", world.merchant);
        world
            .owner
            .call("POST", &path)
            .body(body)
            .send()
            .await
            .bad_fields(&["discountValue"]);
    }
}

#[tokio::test]
async fn existing_clients_may_be_lenient_with_numbers_and_empties() {
    let world = SHARED.world().await;
    let path = format!("/v1/merchants/{}/coupon-templates", world.merchant);
    for written in ["15000.0", "1.5e4", "\"15000\"", "150e2", "1.50E+4", "15000"] {
        let body = plain().body().to_string().replace("1000", written);
        let answer = world.owner.call("POST", &path).body(body).send().await;
        assert_eq!(answer.ok()["discountValue"], 15_000, "{written}");
        assert!(
            String::from_utf8_lossy(&answer.bytes).contains("15000"),
            "shown as a whole number: {answer}"
        );
    }
    let mut empties = plain();
    for field in [
        "minOrderAmount",
        "maxDiscountAmount",
        "issueEndDate",
        "validityDays",
        "absoluteExpiryDate",
        "maxIssueCount",
        "maxRedeemCount",
    ] {
        empties = empties.set(field, "");
    }
    create(&world, &empties).await.ok();
    let answer = create(&world, &plain().set("name", 2025).set("description", 1.5)).await;
    assert_eq!(
        (&answer.ok()["name"], &answer.ok()["description"]),
        (&json!("2025"), &json!("1.5"))
    );
}
