//! Laws of [`goodpon_application::ports::Merchants`].

use goodpon_application::ports::{Credentials, MerchantDetail};
use goodpon_domain::{
    account::EmailKey,
    id::{AccountId, MemberId, MerchantId, SecretId},
    merchant::{AccessRefusal, MerchantLimitExceeded, Role, SecretRefusal, Standing},
    quota::Quota,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    World,
    scene::{MICRO, Shop, at_once, new_secret, unique},
};

pub(crate) const NOBODY: AccountId = AccountId(i64::MAX);
pub(crate) const NOWHERE: MerchantId = MerchantId(i64::MAX);

pub(crate) async fn detail(world: &World, shop: &Shop) -> MerchantDetail {
    let detail = world
        .stores
        .merchants
        .detail(shop.id, shop.owner)
        .await
        .unwrap();
    detail.expect("an owner sees the merchant")
}

async fn add_secret(world: &World, shop: &Shop) -> SecretId {
    let added = world
        .stores
        .merchants
        .add_secret(shop.id, shop.owner, new_secret())
        .await
        .unwrap();
    added.expect("room for a secret").id
}

async fn expire(
    world: &World,
    shop: &Shop,
    secret: SecretId,
    at: Option<Timestamp>,
) -> Result<Option<Timestamp>, SecretRefusal> {
    let expired = world
        .stores
        .merchants
        .expire_secret(shop.id, shop.owner, secret, at)
        .await;
    expired.unwrap().map(|secret| secret.expired_at)
}

pub(crate) async fn add_staff(world: &World, shop: &Shop) -> (AccountId, MemberId) {
    let account = world.account().await;
    let key = EmailKey::of(&account.email);
    let added = world
        .stores
        .merchants
        .add_member(shop.id, shop.owner, &key, Quota::UNLIMITED)
        .await
        .unwrap();
    (account.id, added.expect("a new member").id)
}

/// Everybody may learn that a merchant exists, members alone its detail.
pub async fn only_members_see_a_merchant(world: &World) {
    let owner = world.account().await;
    let (client_id, secret) = (format!("ck_{}", unique()), new_secret());
    let created = world.stores.merchants.create(
        owner.id,
        "상점 🎟".into(),
        client_id.clone(),
        secret.clone(),
        Quota::UNLIMITED,
    );
    let created = created.await.unwrap().unwrap();
    let merchant = &created.merchant;
    assert_eq!(
        (merchant.name.as_str(), &merchant.client_id),
        ("상점 🎟", &client_id)
    );
    assert_eq!(
        (merchant.created_at, merchant.updated_at),
        (world.now(), world.now())
    );
    assert_eq!((created.members.len(), created.secrets.len()), (1, 1));
    let member = &created.members[0];
    assert_eq!((member.account_id, member.role), (owner.id, Role::Owner));
    assert_eq!((&member.email, &member.name), (&owner.email, &owner.name));
    let first = &created.secrets[0];
    assert_eq!(
        (&first.head, &first.tail, first.expired_at),
        (&secret.head, &secret.tail, None)
    );

    let shop = Shop {
        id: merchant.id,
        owner: owner.id,
        client_id,
    };
    let (staff, _) = add_staff(world, &shop).await;
    let outsider = world.shop().await;
    let standing = |exists, role| Standing { exists, role };
    for (id, account, expected) in [
        (shop.id, owner.id, standing(true, Some(Role::Owner))),
        (shop.id, staff, standing(true, Some(Role::Staff))),
        (shop.id, outsider.owner, standing(true, None)),
        (shop.id, NOBODY, standing(true, None)),
        (NOWHERE, owner.id, standing(false, None)),
        (MerchantId(0), owner.id, standing(false, None)),
        (MerchantId(-1), owner.id, standing(false, None)),
    ] {
        let standing = world.stores.merchants.standing(id, account).await.unwrap();
        assert_eq!(standing, expected, "of {account} to {id}");
        let seen = world.stores.merchants.detail(id, account).await.unwrap();
        assert_eq!(
            seen.is_some(),
            expected.role.is_some(),
            "detail of {id} for {account}"
        );
        let listed = world.stores.merchants.list(account).await.unwrap();
        assert_eq!(
            listed.iter().any(|one| one.id == id),
            expected.role.is_some()
        );
    }
}

/// Merchants, members and secrets are listed newest first, and by id where made in one instant.
pub async fn lists_are_newest_first(world: &World) {
    let owner = world.account().await.id;
    let mut ids = Vec::new();
    for number in 0..4 {
        world.clock.advance(MICRO * (number % 2));
        let client_id = format!("ck_{}", unique());
        let created = world
            .stores
            .merchants
            .create(
                owner,
                "상점".into(),
                client_id,
                new_secret(),
                Quota::UNLIMITED,
            )
            .await;
        ids.push(created.unwrap().unwrap().merchant.id);
    }
    ids.reverse();
    let listed: Vec<_> = world.stores.merchants.list(owner).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), ids);

    let shop = Shop {
        id: ids[0],
        owner,
        client_id: String::new(),
    };
    let mut members = vec![detail(world, &shop).await.members[0].id];
    let mut secrets = vec![detail(world, &shop).await.secrets[0].id];
    for number in 0..4 {
        world.clock.advance(MICRO * (number % 2));
        members.push(add_staff(world, &shop).await.1);
        secrets.push(add_secret(world, &shop).await);
    }
    members.reverse();
    secrets.reverse();
    let seen = detail(world, &shop).await;
    assert_eq!(
        seen.members.iter().map(|one| one.id).collect::<Vec<_>>(),
        members
    );
    assert_eq!(
        seen.secrets.iter().map(|one| one.id).collect::<Vec<_>>(),
        secrets
    );
}

/// A secret with an end counts until that very instant.
pub async fn five_unexpired_secrets_are_the_limit(world: &World) {
    let shop = world.shop().await;
    for _ in 0..4 {
        add_secret(world, &shop).await;
    }
    let add = || {
        world
            .stores
            .merchants
            .add_secret(shop.id, shop.owner, new_secret())
    };
    assert_eq!(add().await.unwrap(), Err(SecretRefusal::LimitExceeded));
    let newest = detail(world, &shop).await.secrets[0].id;
    let end = world.now() + SignedDuration::from_hours(1);
    assert_eq!(expire(world, &shop, newest, Some(end)).await, Ok(Some(end)));
    world.clock.advance(SignedDuration::from_hours(1) - MICRO);
    assert_eq!(add().await.unwrap(), Err(SecretRefusal::LimitExceeded));
    world.clock.advance(MICRO);
    assert!(
        add().await.unwrap().is_ok(),
        "an expired secret gives its place"
    );
    assert_eq!(add().await.unwrap(), Err(SecretRefusal::LimitExceeded));
    assert_eq!(
        detail(world, &shop).await.secrets.len(),
        6,
        "expired ones stay in the detail"
    );
}

/// The limit holds against any number of additions at once.
pub async fn the_limit_of_secrets_is_exact_at_once(world: &World) {
    let shop = world.shop().await;
    let (id, owner) = (shop.id, shop.owner);
    let results = at_once(world, 64, move |world, _| async move {
        world
            .stores
            .merchants
            .add_secret(id, owner, new_secret())
            .await
            .unwrap()
    });
    let added = results.await.into_iter().filter(Result::is_ok).count();
    assert_eq!(added, 4, "secrets added to the first");
    assert_eq!(detail(world, &shop).await.secrets.len(), 5);
}

/// A past end counts as now, a future one can be moved, one that has come stays.
pub async fn the_end_of_a_secret(world: &World) {
    let shop = world.shop().await;
    let foreign = detail(world, &world.shop().await).await.secrets[0].id;
    let hour = SignedDuration::from_hours(1);
    let (one, two) = (
        add_secret(world, &shop).await,
        add_secret(world, &shop).await,
    );
    let made = world.now();
    assert_eq!(
        expire(world, &shop, one, Some(made - hour)).await,
        Ok(Some(made))
    );
    assert_eq!(
        expire(world, &shop, two, Some(made + hour)).await,
        Ok(Some(made + hour))
    );
    assert_eq!(
        expire(world, &shop, two, Some(made + hour * 2)).await,
        Ok(Some(made + hour * 2))
    );
    world.clock.advance(MICRO);
    assert_eq!(
        expire(world, &shop, one, Some(made + hour)).await,
        Ok(Some(made)),
        "stays expired"
    );
    let now = world.now();
    assert_eq!(
        expire(world, &shop, two, None).await,
        Ok(Some(now)),
        "now where no end is given"
    );
    for absent in [foreign, SecretId(0), SecretId(-1), SecretId(i64::MAX)] {
        let refused = expire(world, &shop, absent, None).await;
        assert_eq!(refused, Err(SecretRefusal::NotFound), "{absent}");
    }
}

/// However many secrets are expired at once, one without an end remains.
pub async fn one_endless_secret_always_stays(world: &World) {
    let shop = world.shop().await;
    let only = detail(world, &shop).await.secrets[0].id;
    assert_eq!(
        expire(world, &shop, only, None).await,
        Err(SecretRefusal::LastSecret)
    );
    for _ in 0..3 {
        add_secret(world, &shop).await;
    }
    let secrets: Vec<_> = detail(world, &shop)
        .await
        .secrets
        .iter()
        .map(|one| one.id)
        .collect();
    let (id, owner) = (shop.id, shop.owner);
    let results = at_once(world, secrets.len(), move |world, number| {
        let secret = secrets[number];
        async move {
            world
                .stores
                .merchants
                .expire_secret(id, owner, secret, None)
                .await
                .unwrap()
        }
    });
    let (expired, refused): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
    assert_eq!((expired.len(), refused.len()), (3, 1));
    assert_eq!(refused[0], Err(SecretRefusal::LastSecret));
}

/// All but owners are refused, and nothing changes.
pub async fn only_owners_change_secrets(world: &World) {
    let shop = world.shop().await;
    let (staff, _) = add_staff(world, &shop).await;
    let outsider = world.shop().await.owner;
    let secret = add_secret(world, &shop).await;
    let before = detail(world, &shop).await;
    for (merchant, account, refusal) in [
        (shop.id, staff, AccessRefusal::OwnerOnly),
        (shop.id, outsider, AccessRefusal::NotAMember),
        (NOWHERE, shop.owner, AccessRefusal::MerchantNotFound),
    ] {
        let refusal = SecretRefusal::Access(refusal);
        let added = world
            .stores
            .merchants
            .add_secret(merchant, account, new_secret())
            .await
            .unwrap();
        assert_eq!(added, Err(refusal));
        let expired = world
            .stores
            .merchants
            .expire_secret(merchant, account, secret, None)
            .await
            .unwrap();
        assert_eq!(expired, Err(refusal));
    }
    assert_eq!(detail(world, &shop).await, before);
}

/// Credentials are found by the exact client id and have every secret with its end.
pub async fn credentials_hold_all_secrets(world: &World) {
    let owner = world.account().await.id;
    let (client_id, first) = (format!("ck_{}", unique()), new_secret());
    let created = world.stores.merchants.create(
        owner,
        "상점".into(),
        client_id.clone(),
        first.clone(),
        Quota::UNLIMITED,
    );
    let created = created.await.unwrap().unwrap();
    let second = new_secret();
    let added = world
        .stores
        .merchants
        .add_secret(created.merchant.id, owner, second.clone())
        .await;
    let end = world.now() + SignedDuration::from_hours(1);
    let (id, secret) = (created.merchant.id, added.unwrap().unwrap().id);
    let expired = world
        .stores
        .merchants
        .expire_secret(id, owner, secret, Some(end))
        .await;
    assert!(expired.unwrap().is_ok());
    for moment in ["before", "after"] {
        let found = world
            .stores
            .merchants
            .credentials(&client_id)
            .await
            .unwrap();
        let mut found = found.expect("credentials");
        found.secrets.sort();
        let mut secrets = vec![(first.digest, None), (second.digest, Some(end))];
        secrets.sort();
        let expected = Credentials {
            merchant_id: id,
            secrets,
        };
        assert_eq!(found, expected, "{moment} the end");
        world.clock.advance(SignedDuration::from_hours(2));
    }
    let other = [
        client_id.to_uppercase(),
        format!("{client_id} "),
        format!(" {client_id}"),
        String::new(),
        client_id[..client_id.len() - 1].to_owned(),
        format!("{client_id}%"),
        unique(),
    ];
    for unknown in other {
        let found = world.stores.merchants.credentials(&unknown).await.unwrap();
        assert_eq!(found, None, "{unknown:?} is no client id");
    }
}

/// `updated_at` moves with the merchant's secrets and members, `created_at` never.
pub async fn changes_are_stamped(world: &World) {
    let shop = world.shop().await;
    let created = world.now();
    let second = SignedDuration::from_secs(1);
    let stamp = async |what: &str| {
        let merchant = detail(world, &shop).await.merchant;
        let expected = (created, world.now());
        assert_eq!(
            (merchant.created_at, merchant.updated_at),
            expected,
            "{what}"
        );
        world.clock.advance(second);
    };
    stamp("made").await;
    let secret = add_secret(world, &shop).await;
    stamp("secret added").await;
    expire(world, &shop, secret, None)
        .await
        .expect("not the last");
    stamp("secret expired").await;
    let account = world.account().await;
    let key = EmailKey::of(&account.email);
    let added = world
        .stores
        .merchants
        .add_member(shop.id, shop.owner, &key, Quota::UNLIMITED)
        .await
        .unwrap();
    stamp("member added").await;
    let member = added.expect("a new member").id;
    let removed = world
        .stores
        .merchants
        .remove_member(shop.id, shop.owner, member)
        .await
        .unwrap();
    assert!(removed.is_ok());
    stamp("member removed").await;
    assert!(!shop.client_id.is_empty());
}

/// Of many merchants that an account makes at once only as many are stored as the quota has room for. Merchants of which
/// it is a member without owning them do not count.
pub async fn the_quota_of_merchants_is_exact_at_once(world: &World) {
    let (owner, other) = (world.account().await, world.shop().await);
    let key = EmailKey::of(&owner.email);
    let added = world
        .stores
        .merchants
        .add_member(other.id, other.owner, &key, Quota::UNLIMITED);
    added.await.unwrap().unwrap();
    let (owner, quota) = (owner.id, Quota::of(3));
    let create = move |world: World| async move {
        let client_id = format!("ck_{}", unique());
        let created =
            world
                .stores
                .merchants
                .create(owner, "상점".into(), client_id, new_secret(), quota);
        created.await.unwrap().map(drop)
    };
    let results = at_once(world, 16, move |world, _| create(world));
    let (stored, refused): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
    assert_eq!(stored.len(), 3);
    assert!(refused.iter().all(|one| *one == Err(MerchantLimitExceeded)));
    assert_eq!(world.stores.merchants.list(owner).await.unwrap().len(), 4);
}
