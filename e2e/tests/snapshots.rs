//! One success answer of each call, as a whole, with ids, times and secrets blotted out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::snapshot::success;
use goodpon_e2e::world::{PASSWORD, fresh_email};
use goodpon_e2e::{Options, Shared, Template, World};

static SHARED: Shared = Shared::new();

macro_rules! assert_answer {
    ($answer:expr, @$snapshot:literal) => {
        insta::assert_json_snapshot!(success(&$answer), @$snapshot)
    };
}

#[tokio::test]
async fn account_calls() {
    let world = SHARED.world().await;
    let email = fresh_email();
    assert_answer!(world.anonymous.sign_up(&email, PASSWORD, "김사장").await, @r#"
    {
      "data": {
        "email": "[email]",
        "id": "[id]",
        "name": "김사장",
        "verified": false
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    assert_answer!(world.anonymous.resend(&email).await, @r#"
    {
      "data": "인증 이메일이 재전송되었습니다.",
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    let token = world.server().verification_token(&email);
    assert_answer!(world.anonymous.verify(&token).await, @r#"
    {
      "data": "이메일 인증이 완료되었습니다.",
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    assert_answer!(world.anonymous.login(&email, PASSWORD).await, @r#"
    {
      "data": {
        "accessToken": "[token]",
        "email": "[email]",
        "id": "[id]",
        "name": "김사장",
        "verified": true
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    assert_answer!(world.owner.me().await, @r#"
    {
      "data": {
        "email": "[email]",
        "id": "[id]",
        "name": "김사장",
        "verified": true
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
}

#[tokio::test]
async fn merchant_calls() {
    let world = World::with(Options::default()).await;
    assert_answer!(world.owner.create_merchant("상점").await, @r#"
    {
      "data": {
        "clientId": "[client id]",
        "clientSecrets": [
          {
            "expiredAt": null,
            "id": "[id]",
            "secret": "[secret]"
          }
        ],
        "id": "[id]",
        "merchantAccounts": [
          {
            "accountId": "[id]",
            "id": "[id]",
            "role": "OWNER"
          }
        ],
        "name": "상점"
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    assert_answer!(world.owner.merchants().await, @r#"
    {
      "data": {
        "merchants": [
          {
            "createdAt": "[time]",
            "id": "[id]",
            "name": "상점"
          },
          {
            "createdAt": "[time]",
            "id": "[id]",
            "name": "테스트 상점"
          }
        ]
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    assert_answer!(world.owner.merchant(world.merchant).await, @r#"
    {
      "data": {
        "clientId": "[client id]",
        "clientSecrets": [
          {
            "createdAt": "[time]",
            "expiredAt": null,
            "merchantClientSecretId": "[id]",
            "secret": "[masked secret]"
          }
        ],
        "createdAt": "[time]",
        "id": "[id]",
        "merchantAccounts": [
          {
            "accountId": "[id]",
            "createdAt": "[time]",
            "email": "[email]",
            "merchantAccountId": "[id]",
            "name": "김사장",
            "role": "OWNER"
          }
        ],
        "name": "테스트 상점",
        "updatedAt": "[time]"
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
}

#[tokio::test]
async fn calls_beyond_the_published_ones() {
    let world = SHARED.world().await;
    let made = world.owner.create_secret(world.merchant).await;
    assert_answer!(made, @r#"
    {
      "data": {
        "expiredAt": null,
        "id": "[id]",
        "secret": "[secret]"
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    let secret = made.json["data"]["id"].as_i64().unwrap();
    assert_answer!(world.owner.expire_secret(world.merchant, secret, None).await, @r#"
    {
      "data": {
        "expiredAt": "[time]",
        "id": "[id]",
        "secret": "[masked secret]"
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    let account = world.fresh_account().await;
    let added = world.owner.add_member(world.merchant, &account.email).await;
    assert_answer!(added, @r#"
    {
      "data": {
        "accountId": "[id]",
        "createdAt": "[time]",
        "email": "[email]",
        "merchantAccountId": "[id]",
        "name": "새 계정",
        "role": "STAFF"
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    let member = added.json["data"]["merchantAccountId"].as_i64().unwrap();
    assert_answer!(world.owner.remove_member(world.merchant, member).await, @r#"
    {
      "data": {
        "accountId": "[id]",
        "createdAt": "[time]",
        "email": "[email]",
        "merchantAccountId": "[id]",
        "name": "새 계정",
        "role": "STAFF"
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    let template = world.draft(&Template::default()).await;
    assert_answer!(world.owner.discard(world.merchant, template, "끝").await, @r#"
    {
      "data": {
        "id": "[id]",
        "merchantId": "[id]",
        "name": "여름 쿠폰",
        "status": "DISCARDED"
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
}

#[tokio::test]
async fn template_calls() {
    let world = SHARED.world().await;
    let template = Template::percentage(10, 2000)
        .min_order(5000)
        .ends(5)
        .validity(30)
        .expires(9)
        .issue_limit(100);
    let created = world
        .owner
        .create_template(world.merchant, template.body())
        .await;
    assert_answer!(created, @r#"
    {
      "data": {
        "absoluteExpiresAt": "[time]",
        "description": "설명",
        "discountType": "PERCENTAGE",
        "discountValue": 10,
        "id": "[id]",
        "issueEndAt": "[time]",
        "issueStartAt": "[time]",
        "limitType": "ISSUE_COUNT",
        "maxDiscountAmount": 2000,
        "maxIssueCount": 100,
        "maxRedeemCount": null,
        "merchantId": "[id]",
        "minOrderAmount": 5000,
        "name": "여름 쿠폰",
        "status": "DRAFT",
        "validityDays": 30
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    let id = created.json["data"]["id"].as_i64().unwrap();
    assert_answer!(world.owner.publish(world.merchant, id).await, @r#"
    {
      "data": {
        "id": "[id]",
        "merchantId": "[id]",
        "name": "여름 쿠폰",
        "status": "ISSUABLE"
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    assert_answer!(world.owner.templates(world.merchant).await, @r#"
    {
      "data": {
        "templates": [
          {
            "createdAt": "[time]",
            "description": "설명",
            "id": "[id]",
            "issueCount": 0,
            "name": "여름 쿠폰",
            "redeemCount": 0,
            "status": "ISSUABLE"
          }
        ]
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    assert_answer!(world.owner.template(world.merchant, id).await, @r#"
    {
      "data": {
        "absoluteExpiresAt": "[time]",
        "createdAt": "[time]",
        "description": "설명",
        "discountType": "PERCENTAGE",
        "discountValue": 10,
        "id": "[id]",
        "issueCount": 0,
        "issueEndAt": "[time]",
        "issueStartAt": "[time]",
        "limitType": "ISSUE_COUNT",
        "maxDiscountAmount": 2000,
        "maxIssueCount": 100,
        "maxRedeemCount": null,
        "merchantId": "[id]",
        "minOrderAmount": 5000,
        "name": "여름 쿠폰",
        "redeemCount": 0,
        "status": "ISSUABLE",
        "validityDays": 30
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
}

#[tokio::test]
async fn partner_calls() {
    let world = SHARED.world().await;
    let template = Template::percentage(10, 2000)
        .min_order(5000)
        .ends(5)
        .validity(30)
        .expires(9)
        .issue_limit(100);
    let id = world.publish(&template).await;
    assert_answer!(world.shop.issue(id, "u").await, @r#"
    {
      "data": "쿠폰이 정상적으로 발급되었습니다.",
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    assert_answer!(world.shop.template(id, Some("u")).await, @r#"
    {
      "data": {
        "absoluteExpiresAt": "[time]",
        "currentIssueCount": 1,
        "currentRedeemCount": 0,
        "description": "설명",
        "discountType": "PERCENTAGE",
        "discountValue": 10,
        "id": "[id]",
        "issuanceStatus": "ALREADY_ISSUED_BY_USER",
        "issueEndAt": "[time]",
        "issueStartAt": "[time]",
        "limitType": "ISSUE_COUNT",
        "maxDiscountAmount": 2000,
        "maxIssueCount": 100,
        "maxRedeemCount": null,
        "minOrderAmount": 5000,
        "name": "여름 쿠폰",
        "status": "ISSUABLE",
        "validityDays": 30
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    assert_answer!(world.shop.coupons("u").await, @r#"
    {
      "data": {
        "coupons": [
          {
            "couponTemplateDescription": "설명",
            "couponTemplateId": "[id]",
            "couponTemplateName": "여름 쿠폰",
            "discountType": "PERCENTAGE",
            "discountValue": 10,
            "expiresAt": "[time]",
            "isRedeemable": true,
            "issuedAt": "[time]",
            "limitType": "ISSUE_COUNT",
            "maxDiscountAmount": 2000,
            "maxIssueCount": 100,
            "maxRedeemCount": null,
            "minOrderAmount": 5000,
            "userCouponId": "[hex id]"
          }
        ]
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    assert_answer!(world.shop.available("u", 4999).await, @r#"
    {
      "data": {
        "coupons": [
          {
            "couponTemplateDescription": "설명",
            "couponTemplateId": "[id]",
            "couponTemplateName": "여름 쿠폰",
            "discountType": "PERCENTAGE",
            "discountValue": 10,
            "expiresAt": "[time]",
            "isMinOrderAmountReached": false,
            "issuedAt": "[time]",
            "limitType": "ISSUE_COUNT",
            "maxDiscountAmount": 2000,
            "maxIssueCount": 100,
            "maxRedeemCount": null,
            "minOrderAmount": 5000,
            "userCouponId": "[hex id]"
          }
        ]
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    let coupon = world.shop.coupon_of(id, "u").await;
    assert_answer!(world.shop.redeem(&coupon, "u", 15_000, "주문").await, @r#"
    {
      "data": {
        "discountAmount": 1500,
        "finalPrice": 13500,
        "orderId": "주문",
        "originalPrice": 15000,
        "redeemedAt": "[time]",
        "userCouponId": "[hex id]"
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    assert_answer!(world.shop.cancel(&coupon, "주문", "변심").await, @r#"
    {
      "data": {
        "cancelReason": "변심",
        "canceledAt": "[time]",
        "status": "ISSUED",
        "userCouponId": "[hex id]"
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
    let page = world
        .owner
        .histories(world.merchant, &[("size", "2")])
        .await;
    assert_answer!(page, @r#"
    {
      "data": {
        "content": [
          {
            "actionType": "ISSUE",
            "couponTemplateId": "[id]",
            "couponTemplateName": "여름 쿠폰",
            "historyId": "[hex id]",
            "orderId": null,
            "reason": null,
            "recordedAt": "[time]",
            "userCouponId": "[hex id]",
            "userId": "u"
          },
          {
            "actionType": "REDEEM",
            "couponTemplateId": "[id]",
            "couponTemplateName": "여름 쿠폰",
            "historyId": "[hex id]",
            "orderId": "주문",
            "reason": null,
            "recordedAt": "[time]",
            "userCouponId": "[hex id]",
            "userId": "u"
          }
        ],
        "hasMore": true,
        "nextCursor": "[cursor]",
        "size": 2
      },
      "error": null,
      "result": "SUCCESS"
    }
    "#);
}
