//! The members of a merchant (contract §5).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::Shared;
use goodpon_e2e::expect::exact_keys;
use serde_json::json;

static SHARED: Shared = Shared::new();

#[tokio::test]
async fn a_member_is_added_and_removed() {
    let world = SHARED.world().await;
    let account = world.fresh_account().await;
    let answer = world
        .owner
        .add_member(world.merchant, &account.email.to_uppercase())
        .await;
    let added = answer.ok();
    exact_keys(
        added,
        &[
            "merchantAccountId",
            "accountId",
            "email",
            "name",
            "role",
            "createdAt",
        ],
    );
    assert_eq!(
        (&added["accountId"], &added["role"]),
        (&json!(account.id), &json!("STAFF"))
    );
    assert_eq!(
        (&added["email"], &added["name"]),
        (&json!(account.email), &json!(account.name))
    );
    account.merchant(world.merchant).await.ok();
    world
        .owner
        .add_member(world.merchant, &account.email)
        .await
        .refused("ALREADY_A_MEMBER");
    world
        .owner
        .add_member(world.merchant, &world.owner.email)
        .await
        .refused("ALREADY_A_MEMBER");

    let id = added["merchantAccountId"].as_i64().unwrap();
    assert_eq!(
        world.owner.remove_member(world.merchant, id).await.ok(),
        added
    );
    account
        .merchant(world.merchant)
        .await
        .refused("MERCHANT_NOT_FOUND");
    account
        .templates(world.merchant)
        .await
        .refused("NO_MERCHANT_ACCESS_PERMISSION");
    world
        .owner
        .remove_member(world.merchant, id)
        .await
        .refused("MEMBER_NOT_FOUND");
    world
        .owner
        .add_member(world.merchant, &account.email)
        .await
        .ok();
}

#[tokio::test]
async fn only_a_verified_account_can_be_added() {
    let world = SHARED.world().await;
    let unverified = world.unverified().await;
    for email in [
        unverified.email.as_str(),
        "nobody@example.com",
        "no address",
    ] {
        world
            .owner
            .add_member(world.merchant, email)
            .await
            .refused("ACCOUNT_NOT_FOUND");
    }
    let path = format!("/v1/merchants/{}/members", world.merchant);
    for body in [json!({}), json!({"email": null}), json!({"email": []})] {
        world.owner.post(&path, &body).await.bad_fields(&["email"]);
    }
}

#[tokio::test]
async fn owners_and_foreign_members_cannot_be_removed() {
    let world = SHARED.world().await;
    let mine = world.created["merchantAccounts"][0]["id"].as_i64().unwrap();
    world
        .owner
        .remove_member(world.merchant, mine)
        .await
        .refused("OWNER_NOT_REMOVABLE");
    let (other, _) = world.other_merchant().await;
    let theirs = world.stranger().await.merchant(other).await.ok()["merchantAccounts"][0]["merchantAccountId"].clone();
    for id in [0, -5, 999_999_999, theirs.as_i64().unwrap()] {
        world
            .owner
            .remove_member(world.merchant, id)
            .await
            .refused("MEMBER_NOT_FOUND");
    }
    let answer = world
        .owner
        .call(
            "DELETE",
            &format!("/v1/merchants/{}/members/x", world.merchant),
        )
        .send()
        .await;
    answer.bad_fields(&["merchantAccountId"]);
}
