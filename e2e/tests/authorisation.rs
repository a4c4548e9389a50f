//! Permissions: every merchant-scoped call by every actor (contract §2, §3, §5).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::actors::{
    Account, cancel_body, cancel_path, issue_path, redeem_body, redeem_path,
};
use goodpon_e2e::template::midnight;
use goodpon_e2e::{Answer, Shared, Template, World};
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

/// One merchant-scoped call of the dashboard.
struct Row {
    method: &'static str,
    /// The path behind `/v1/merchants/{merchantId}`, with the placeholders of [`Stage`].
    path: &'static str,
    body: Option<Value>,
    owner_only: bool,
}

fn rows() -> Vec<Row> {
    let row = |method, path, body, owner_only| Row {
        method,
        path,
        body,
        owner_only,
    };
    vec![
        row("GET", "", None, false),
        row("GET", "/coupon-templates", None, false),
        row(
            "POST",
            "/coupon-templates",
            Some(Template::default().body().clone()),
            false,
        ),
        row("GET", "/coupon-templates/{template}", None, false),
        row("POST", "/coupon-templates/{template}/publish", None, false),
        row(
            "POST",
            "/coupon-templates/{template}/discard",
            Some(json!({"reason": "끝"})),
            false,
        ),
        row("GET", "/coupon-histories", None, false),
        row("POST", "/client-secrets", None, true),
        row(
            "POST",
            "/client-secrets/{secret}/expire",
            Some(json!({"expiresAt": midnight(2)})),
            true,
        ),
        row(
            "POST",
            "/members",
            Some(json!({"email": "{candidate}"})),
            true,
        ),
        row("DELETE", "/members/{member}", None, true),
    ]
}

/// Fresh things of the merchant for a row to work on, so that an allowed call succeeds.
struct Stage {
    template: i64,
    secret: i64,
    member: i64,
    candidate: String,
}

impl Stage {
    async fn set(world: &World, candidate: &str, helper: &Account) -> Self {
        let secret = world.owner.create_secret(world.merchant).await.ok()["id"]
            .as_i64()
            .unwrap();
        let added = world.owner.add_member(world.merchant, &helper.email).await;
        let member = added.ok()["merchantAccountId"].as_i64().unwrap();
        Self {
            template: world.draft(&Template::default()).await,
            secret,
            member,
            candidate: candidate.to_owned(),
        }
    }

    async fn clear(&self, world: &World) {
        world
            .owner
            .expire_secret(world.merchant, self.secret, None)
            .await
            .ok();
        let _ = world.owner.remove_member(world.merchant, self.member).await;
    }

    async fn send(&self, row: &Row, actor: &Account, merchant: i64) -> Answer {
        let path = row
            .path
            .replace("{template}", &self.template.to_string())
            .replace("{secret}", &self.secret.to_string())
            .replace("{member}", &self.member.to_string());
        let call = actor.call(row.method, &format!("/v1/merchants/{merchant}{path}"));
        match &row.body {
            Some(body) => {
                call.body(body.to_string().replace("{candidate}", &self.candidate))
                    .send()
                    .await
            }
            None => call.send().await,
        }
    }
}

/// Returns the code that outsiders get at a row.
fn outsiders(row: &Row) -> &'static str {
    if row.path.is_empty() {
        "MERCHANT_NOT_FOUND"
    } else {
        "NO_MERCHANT_ACCESS_PERMISSION"
    }
}

#[tokio::test]
async fn the_dashboard_matrix() {
    let world = SHARED.world().await;
    let mut anonymous = world.owner.0.clone();
    anonymous.token = None;
    let (unverified, stranger, staff) = (
        world.unverified().await,
        world.stranger().await,
        world.staff().await,
    );
    let (helper, candidate) = (world.fresh_account().await, world.fresh_account().await);
    let stage = Stage::set(&world, &candidate.email, &helper).await;
    let before = world.owner.merchant(world.merchant).await.ok().clone();
    for row in &rows() {
        let name = format!("{} {}", row.method, row.path);
        for (actor, code) in [
            (&anonymous, "UNAUTHORIZED"),
            (&unverified.0, "ACCOUNT_NOT_VERIFIED"),
            (&stranger.0, outsiders(row)),
        ] {
            let answer = stage.send(row, actor, world.merchant).await;
            assert_eq!(answer.code(), Some(code), "{name}: {answer}");
            answer.refused(code);
        }
        for merchant in [0, -1, i64::MAX] {
            stage
                .send(row, &world.owner, merchant)
                .await
                .refused("MERCHANT_NOT_FOUND");
            stage
                .send(row, &stranger, merchant)
                .await
                .refused("MERCHANT_NOT_FOUND");
        }
        if row.owner_only {
            stage
                .send(row, &staff, world.merchant)
                .await
                .refused("OWNER_ONLY");
        }
    }
    assert_eq!(
        world.owner.merchant(world.merchant).await.ok(),
        &before,
        "no refusal changed anything"
    );
    let template = world.owner.template(world.merchant, stage.template).await;
    assert_eq!(template.ok()["status"], "DRAFT");
    assert_eq!(
        world.owner.templates(world.merchant).await.ok()["templates"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    stage.clear(&world).await;
}

#[tokio::test]
async fn owner_and_staff_may() {
    let world = SHARED.world().await;
    let staff = world.staff().await;
    let (helper, candidate) = (world.fresh_account().await, world.fresh_account().await);
    for row in &rows() {
        for (actor, owner) in [(&staff.0, false), (&world.owner.0, true)] {
            if row.owner_only && !owner {
                continue;
            }
            let stage = Stage::set(&world, &candidate.email, &helper).await;
            let answer = stage.send(row, actor, world.merchant).await;
            assert_eq!(answer.status, 200, "{} {}: {answer}", row.method, row.path);
            answer.ok();
            stage.clear(&world).await;
        }
    }
}

#[tokio::test]
async fn account_calls_need_a_token_and_a_verified_account() {
    let world = SHARED.world().await;
    let mut anonymous = world.owner.0.clone();
    anonymous.token = None;
    anonymous.me().await.refused("UNAUTHORIZED");
    anonymous.merchants().await.refused("UNAUTHORIZED");
    anonymous
        .create_merchant("상점")
        .await
        .refused("UNAUTHORIZED");
    let unverified = world.unverified().await;
    unverified.me().await.ok();
    unverified.merchants().await.refused("ACCOUNT_NOT_VERIFIED");
    unverified
        .create_merchant("상점")
        .await
        .refused("ACCOUNT_NOT_VERIFIED");
    // Before the body is looked at.
    unverified
        .post("/v1/merchants", &json!({}))
        .await
        .refused("ACCOUNT_NOT_VERIFIED");
}

#[tokio::test]
async fn input_is_checked_before_permission_and_permission_before_the_template() {
    let world = SHARED.world().await;
    let stranger = world.stranger().await;
    stranger
        .create_template(world.merchant, &json!({}))
        .await
        .refused("BAD_REQUEST");
    stranger
        .create_template(987_654_321, &json!({}))
        .await
        .refused("BAD_REQUEST");
    stranger
        .histories(world.merchant, &[("size", "0")])
        .await
        .refused("BAD_REQUEST");
    // The template's rules are the operation's own: permission comes first.
    let broken = Template::fixed(0);
    stranger
        .create_template(world.merchant, broken.body())
        .await
        .refused("NO_MERCHANT_ACCESS_PERMISSION");
    for template in [0, 987_654_321] {
        stranger
            .template(world.merchant, template)
            .await
            .refused("NO_MERCHANT_ACCESS_PERMISSION");
        stranger
            .publish(world.merchant, template)
            .await
            .refused("NO_MERCHANT_ACCESS_PERMISSION");
        stranger
            .discard(world.merchant, template, "")
            .await
            .refused("NO_MERCHANT_ACCESS_PERMISSION");
    }
    let staff = world.staff().await;
    for id in [0, 987_654_321] {
        staff
            .expire_secret(world.merchant, id, None)
            .await
            .refused("OWNER_ONLY");
        staff
            .remove_member(world.merchant, id)
            .await
            .refused("OWNER_ONLY");
    }
    staff
        .add_member(world.merchant, "nobody@example.com")
        .await
        .refused("OWNER_ONLY");
}

#[tokio::test]
async fn the_partner_matrix() {
    let world = SHARED.world().await;
    let (_, other) = world.other_merchant().await;
    let template = world.publish(&Template::default()).await;
    let coupon = world.shop.issued(template, "u").await;
    let rows = [
        (
            "GET",
            format!("/v1/coupon-templates/{template}"),
            None,
            "COUPON_TEMPLATE_NOT_FOUND",
        ),
        (
            "POST",
            issue_path(template),
            Some(json!({"userId": "w"})),
            "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT",
        ),
        ("GET", "/v1/user-coupons?userId=u".to_owned(), None, ""),
        (
            "GET",
            "/v1/user-coupons/available?userId=u&orderAmount=1".to_owned(),
            None,
            "",
        ),
        (
            "POST",
            redeem_path(&coupon),
            Some(redeem_body("u", 5000, "o")),
            "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT",
        ),
        (
            "POST",
            cancel_path(&coupon),
            Some(cancel_body("o", "r")),
            "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT",
        ),
    ];
    let mut wrong = world.shop.clone();
    wrong.secret = other.secret.clone();
    let token = world.owner.token.clone().unwrap();
    for (method, path, body, foreign) in &rows {
        let with_body = |call: goodpon_e2e::client::Call| match body {
            Some(body) => call.json(body).send(),
            None => call.body(Vec::new()).send(),
        };
        let bare = world
            .client
            .call(goodpon_e2e::Api::Partner, method, path)
            .bearer(Some(&token));
        with_body(bare).await.refused("CLIENT_ID_MISSING");
        with_body(wrong.call(method, path))
            .await
            .refused("INVALID_CREDENTIALS");
        let answer = with_body(other.call(method, path)).await;
        if foreign.is_empty() {
            assert_eq!(
                answer.ok(),
                &json!({"coupons": []}),
                "nothing of another merchant"
            );
        } else {
            answer.refused(foreign);
        }
        with_body(world.shop.call(method, path)).await.ok();
    }
    assert_eq!(
        world.ledger(&[]).await.len(),
        4,
        "issue twice, redeem, cancel: by the shop alone"
    );
}

#[tokio::test]
async fn credentials_of_one_api_mean_nothing_at_the_other() {
    let world = SHARED.world().await;
    let call = world
        .client
        .call(goodpon_e2e::Api::Dashboard, "GET", "/v1/merchants");
    let call = call.header("X-Goodpon-Client-Id", &world.shop.client_id);
    call.header("X-Goodpon-Client-Secret", &world.shop.secret)
        .send()
        .await
        .refused("UNAUTHORIZED");
    world
        .shop
        .call("GET", "/v1/merchants")
        .send()
        .await
        .refused("NOT_FOUND");
    world
        .owner
        .get("/v1/user-coupons?userId=u")
        .await
        .refused("NOT_FOUND");
}
