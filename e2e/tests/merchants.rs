//! Merchants and their secrets (contract §2 and §5).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::expect::{exact_keys, is_local_date_time, is_lower_hex};
use goodpon_e2e::template::{day, midnight};
use goodpon_e2e::{Shared, World};
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

fn is_masked(secret: &Value, full: &str) -> bool {
    secret
        == &json!(format!(
            "{}{}{}",
            &full[..7],
            "*".repeat(24),
            &full[full.len() - 4..]
        ))
}

async fn detail(world: &World) -> Value {
    world.owner.merchant(world.merchant).await.ok().clone()
}

#[tokio::test]
async fn a_new_merchant_shows_its_secret_once() {
    let world = SHARED.world().await;
    let answer = world.owner.create_merchant("  내 상점 😀 ").await;
    let data = answer.no_store().ok();
    exact_keys(
        data,
        &[
            "id",
            "name",
            "clientId",
            "clientSecrets",
            "merchantAccounts",
        ],
    );
    assert_eq!(data["name"], "내 상점 😀", "trimmed");
    let client_id = data["clientId"].as_str().unwrap();
    assert!(
        client_id.starts_with("ck_") && is_lower_hex(&client_id[3..], 32),
        "{client_id}"
    );
    let secrets = data["clientSecrets"].as_array().unwrap();
    assert_eq!(secrets.len(), 1);
    exact_keys(&secrets[0], &["id", "secret", "expiredAt"]);
    assert!(secrets[0]["expiredAt"].is_null());
    let secret = secrets[0]["secret"].as_str().unwrap();
    assert!(
        secret.starts_with("sk_") && is_lower_hex(&secret[3..], 32),
        "{secret}"
    );
    let members = data["merchantAccounts"].as_array().unwrap();
    assert_eq!(members.len(), 1);
    exact_keys(&members[0], &["id", "accountId", "role"]);
    assert_eq!(
        (&members[0]["accountId"], &members[0]["role"]),
        (&json!(world.owner.id), &json!("OWNER"))
    );

    let shown = world.owner.merchant(data["id"].as_i64().unwrap()).await;
    assert!(!String::from_utf8_lossy(&shown.bytes).contains(secret));
    assert!(
        is_masked(&shown.ok()["clientSecrets"][0]["secret"], secret),
        "{shown}"
    );
}

#[tokio::test]
async fn a_merchants_name_has_1_to_255_characters() {
    let world = SHARED.world().await;
    let longest = "가".repeat(255);
    assert_eq!(
        world
            .owner
            .create_merchant(&format!(" {longest} "))
            .await
            .ok()["name"],
        longest
    );
    for name in ["", "   ", &"가".repeat(256)] {
        world
            .owner
            .create_merchant(name)
            .await
            .bad_fields(&["name"]);
    }
    for body in [
        json!({}),
        json!({"name": null}),
        json!({"name": {}}),
        json!({"name": true}),
    ] {
        world
            .owner
            .post("/v1/merchants", &body)
            .await
            .bad_fields(&["name"]);
    }
}

#[tokio::test]
async fn my_merchants_are_listed_newest_first() {
    let world = SHARED.world().await;
    let account = world.fresh_account().await;
    assert_eq!(account.merchants().await.ok(), &json!({"merchants": []}));
    let mut ids = Vec::new();
    for name in ["하나", "둘", "셋"] {
        ids.insert(0, account.create_merchant(name).await.ok()["id"].clone());
    }
    let answer = account.merchants().await;
    let listed = answer.ok()["merchants"].as_array().unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|merchant| merchant["id"].clone())
            .collect::<Vec<_>>(),
        ids
    );
    for merchant in listed {
        exact_keys(merchant, &["id", "name", "createdAt"]);
        assert!(
            is_local_date_time(merchant["createdAt"].as_str().unwrap()),
            "{merchant}"
        );
    }
}

#[tokio::test]
async fn the_detail_has_all_members_and_secrets_newest_first() {
    let world = SHARED.world().await;
    let staff = world.staff().await;
    let made = world.owner.create_secret(world.merchant).await.ok().clone();
    let data = detail(&world).await;
    exact_keys(
        &data,
        &[
            "id",
            "name",
            "clientId",
            "merchantAccounts",
            "clientSecrets",
            "createdAt",
            "updatedAt",
        ],
    );
    assert_eq!(data["clientId"], world.shop.client_id);
    let members = data["merchantAccounts"].as_array().unwrap();
    for member in members {
        exact_keys(
            member,
            &[
                "merchantAccountId",
                "accountId",
                "email",
                "name",
                "role",
                "createdAt",
            ],
        );
    }
    let actual: Vec<_> = members
        .iter()
        .map(|member| (member["email"].clone(), member["role"].clone()))
        .collect();
    let expected = [(&staff.email, "STAFF"), (&world.owner.email, "OWNER")];
    assert_eq!(
        actual,
        expected.map(|(email, role)| (json!(email), json!(role)))
    );
    let secrets = data["clientSecrets"].as_array().unwrap();
    for secret in secrets {
        exact_keys(
            secret,
            &["merchantClientSecretId", "secret", "createdAt", "expiredAt"],
        );
    }
    let ids: Vec<_> = secrets
        .iter()
        .map(|secret| secret["merchantClientSecretId"].clone())
        .collect();
    assert_eq!(
        ids,
        [
            made["id"].clone(),
            world.created["clientSecrets"][0]["id"].clone()
        ]
    );
    // A member sees what the owner sees.
    assert_eq!(staff.merchant(world.merchant).await.ok(), &data);
    let listed = staff.merchants().await;
    assert!(
        listed.ok()["merchants"]
            .as_array()
            .unwrap()
            .iter()
            .any(|merchant| merchant["id"] == world.merchant)
    );
}

#[tokio::test]
async fn a_merchant_that_is_not_mine_is_not_found() {
    let world = SHARED.world().await;
    let stranger = world.stranger().await;
    stranger
        .merchant(world.merchant)
        .await
        .refused("MERCHANT_NOT_FOUND");
    for id in [
        "0",
        "-1",
        "999999999",
        "9223372036854775807",
        "-9223372036854775808",
    ] {
        world
            .owner
            .get(&format!("/v1/merchants/{id}"))
            .await
            .refused("MERCHANT_NOT_FOUND");
    }
    for id in ["x", "1.5", "9223372036854775808", "%20", "1a", "0x10"] {
        world
            .owner
            .get(&format!("/v1/merchants/{id}"))
            .await
            .bad_fields(&["merchantId"]);
    }
}

#[tokio::test]
async fn at_most_five_secrets_are_unexpired() {
    let world = SHARED.world().await;
    let first = world.owner.create_secret(world.merchant).await;
    let data = first.no_store().ok();
    exact_keys(data, &["id", "secret", "expiredAt"]);
    assert!(
        data["expiredAt"].is_null() && is_lower_hex(&data["secret"].as_str().unwrap()[3..], 32)
    );
    for _ in 0..3 {
        world.owner.create_secret(world.merchant).await.ok();
    }
    world
        .owner
        .create_secret(world.merchant)
        .await
        .refused("CLIENT_SECRET_LIMIT_EXCEEDED");
    let id = data["id"].as_i64().unwrap();
    world
        .owner
        .expire_secret(world.merchant, id, None)
        .await
        .ok();
    world.owner.create_secret(world.merchant).await.ok();
    world
        .owner
        .create_secret(world.merchant)
        .await
        .refused("CLIENT_SECRET_LIMIT_EXCEEDED");
    // A secret that ends later still counts.
    let fifth = detail(&world).await["clientSecrets"][0]["merchantClientSecretId"]
        .as_i64()
        .unwrap();
    world
        .owner
        .expire_secret(world.merchant, fifth, Some(&midnight(3)))
        .await
        .ok();
    world
        .owner
        .create_secret(world.merchant)
        .await
        .refused("CLIENT_SECRET_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn a_secret_expires_now_or_at_a_given_time() {
    let world = SHARED.world().await;
    let secret = world.owner.create_secret(world.merchant).await.ok().clone();
    let (id, full) = (
        secret["id"].as_i64().unwrap(),
        secret["secret"].as_str().unwrap(),
    );
    let later = midnight(2);
    let answer = world
        .owner
        .expire_secret(world.merchant, id, Some(&later))
        .await;
    exact_keys(answer.ok(), &["id", "secret", "expiredAt"]);
    assert_eq!(
        (&answer.ok()["id"], &answer.ok()["expiredAt"]),
        (&json!(id), &json!(later))
    );
    assert!(is_masked(&answer.ok()["secret"], full), "{answer}");
    let mut shop = world.shop.clone();
    shop.secret = full.to_owned();
    shop.coupons("u").await.ok();

    // A past time counts as now.
    let answer = world
        .owner
        .expire_secret(world.merchant, id, Some("2020-01-01T00:00:00"))
        .await;
    let at = answer.ok()["expiredAt"].as_str().unwrap().to_owned();
    assert!(
        at.as_str() >= midnight(-1).as_str() && is_local_date_time(&at),
        "{at}"
    );
    let shown = detail(&world).await;
    assert_eq!(
        shown["clientSecrets"].as_array().unwrap().len(),
        2,
        "expired ones stay: {shown}"
    );
    assert_eq!(shown["clientSecrets"][0]["expiredAt"], at);
}

#[tokio::test]
async fn the_last_secret_without_an_end_cannot_be_expired() {
    let world = SHARED.world().await;
    let first = world.created["clientSecrets"][0]["id"].as_i64().unwrap();
    world
        .owner
        .expire_secret(world.merchant, first, None)
        .await
        .refused("LAST_CLIENT_SECRET");
    world
        .owner
        .expire_secret(world.merchant, first, Some(&midnight(5)))
        .await
        .refused("LAST_CLIENT_SECRET");
    let second = world.owner.create_secret(world.merchant).await.ok()["id"]
        .as_i64()
        .unwrap();
    world
        .owner
        .expire_secret(world.merchant, second, Some(&midnight(5)))
        .await
        .ok();
    // The second has an end now, so the first is the last one without.
    world
        .owner
        .expire_secret(world.merchant, first, None)
        .await
        .refused("LAST_CLIENT_SECRET");
    world.shop.coupons("u").await.ok();
}

#[tokio::test]
async fn an_unknown_secret_is_not_found_and_a_bad_time_is_named() {
    let world = SHARED.world().await;
    let (other, _) = world.other_merchant().await;
    let theirs = world.stranger().await.merchant(other).await.ok()["clientSecrets"][0]["merchantClientSecretId"].clone();
    for id in [0, -1, 999_999_999, theirs.as_i64().unwrap()] {
        world
            .owner
            .expire_secret(world.merchant, id, None)
            .await
            .refused("CLIENT_SECRET_NOT_FOUND");
    }
    let path = |id: &str| {
        format!(
            "/v1/merchants/{}/client-secrets/{id}/expire",
            world.merchant
        )
    };
    world
        .owner
        .post(&path("x"), &json!({}))
        .await
        .bad_fields(&["secretId"]);
    world
        .owner
        .post(&path("x"), &json!({"expiresAt": "soon"}))
        .await
        .bad_fields(&["expiresAt", "secretId"]);
    let mine = world.owner.create_secret(world.merchant).await.ok()["id"].to_string();
    for at in [
        json!(day(1)),
        json!("2030-01-01T00:00:00Z"),
        json!("2030-02-30T00:00:00"),
        json!([]),
        json!(true),
    ] {
        world
            .owner
            .post(&path(&mine), &json!({"expiresAt": at}))
            .await
            .bad_fields(&["expiresAt"]);
    }
    world
        .owner
        .post(&path(&mine), &json!({"expiresAt": ""}))
        .await
        .ok();
}
