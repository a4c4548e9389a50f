//! Laws of [`goodpon_application::ports::Merchants`], as far as members are concerned.

use goodpon_domain::{
    account::EmailKey,
    id::MemberId,
    merchant::{AccessRefusal, MemberRefusal, Role},
    quota::Quota,
};

use crate::{
    World,
    merchant::{NOWHERE, add_staff, detail},
    scene::{at_once, unique},
};

/// A verified account becomes a member once, without regard to the case of its address, and can be removed.
pub async fn members_come_and_go(world: &World) {
    let shop = world.shop().await;
    let add = |email: &str| {
        let key = EmailKey::of(email);
        async move {
            world
                .stores
                .merchants
                .add_member(shop.id, shop.owner, &key, Quota::UNLIMITED)
                .await
                .unwrap()
        }
    };
    let (unverified, _) = world.unverified().await;
    assert_eq!(
        add(&unverified.email).await,
        Err(MemberRefusal::AccountNotFound)
    );
    let nobody = format!("nobody-{}@example.com", unique());
    assert_eq!(add(&nobody).await, Err(MemberRefusal::AccountNotFound));
    let account = world.account().await;
    let upper = account.email.to_uppercase();
    let (id, owner) = (shop.id, shop.owner);
    let results = at_once(world, 16, move |world, _| {
        let key = EmailKey::of(&upper);
        async move {
            world
                .stores
                .merchants
                .add_member(id, owner, &key, Quota::UNLIMITED)
                .await
                .unwrap()
        }
    });
    let (added, refused): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
    assert_eq!(added.len(), 1, "one membership");
    assert!(
        refused
            .iter()
            .all(|one| *one == Err(MemberRefusal::AlreadyAMember))
    );
    let member = added.into_iter().next().unwrap().unwrap();
    assert_eq!((member.account_id, member.role), (account.id, Role::Staff));
    assert_eq!(
        (&member.email, &member.name),
        (&account.email, &account.name)
    );
    let owner_email = detail(world, &shop).await.members[1].email.clone();
    assert_eq!(add(&owner_email).await, Err(MemberRefusal::AlreadyAMember));

    let foreign = add_staff(world, &world.shop().await).await.1;
    let remove = |member| {
        world
            .stores
            .merchants
            .remove_member(shop.id, shop.owner, member)
    };
    for absent in [foreign, MemberId(0), MemberId(-1), MemberId(i64::MAX)] {
        assert_eq!(
            remove(absent).await.unwrap(),
            Err(MemberRefusal::NotFound),
            "{absent}"
        );
    }
    let owner = detail(world, &shop).await.members[1].id;
    assert_eq!(
        remove(owner).await.unwrap(),
        Err(MemberRefusal::OwnerNotRemovable)
    );
    assert_eq!(remove(member.id).await.unwrap(), Ok(member.clone()));
    assert_eq!(
        remove(member.id).await.unwrap(),
        Err(MemberRefusal::NotFound)
    );
    let standing = world
        .stores
        .merchants
        .standing(shop.id, account.id)
        .await
        .unwrap();
    assert_eq!(standing.role, None, "a removed member is an outsider");
    assert!(
        world
            .stores
            .merchants
            .list(account.id)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(add(&account.email).await.is_ok(), "and may come back");
}

/// All but owners are refused, and nothing changes.
pub async fn only_owners_change_members(world: &World) {
    let shop = world.shop().await;
    let (staff, membership) = add_staff(world, &shop).await;
    let outsider = world.shop().await.owner;
    let newcomer = EmailKey::of(&world.account().await.email);
    let before = detail(world, &shop).await;
    for (merchant, account, refusal) in [
        (shop.id, staff, AccessRefusal::OwnerOnly),
        (shop.id, outsider, AccessRefusal::NotAMember),
        (NOWHERE, shop.owner, AccessRefusal::MerchantNotFound),
    ] {
        let refusal = MemberRefusal::Access(refusal);
        let added = world
            .stores
            .merchants
            .add_member(merchant, account, &newcomer, Quota::UNLIMITED)
            .await
            .unwrap();
        assert_eq!(added, Err(refusal));
        let removed = world
            .stores
            .merchants
            .remove_member(merchant, account, membership)
            .await
            .unwrap();
        assert_eq!(removed, Err(refusal));
    }
    assert_eq!(detail(world, &shop).await, before);
}

/// Of many members that are added at once only as many come in as the quota has room for, the owner counted.
pub async fn the_quota_of_members_is_exact_at_once(world: &World) {
    let shop = world.shop().await;
    let (id, owner, quota) = (shop.id, shop.owner, Quota::of(4));
    let mut keys = Vec::new();
    for _ in 0..12 {
        keys.push(EmailKey::of(&world.account().await.email));
    }
    let results = at_once(world, keys.len(), |world, number| {
        let key = keys[number].clone();
        async move {
            world
                .stores
                .merchants
                .add_member(id, owner, &key, quota)
                .await
                .unwrap()
        }
    });
    let (added, refused): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
    assert_eq!(added.len(), 3);
    assert!(
        refused
            .iter()
            .all(|one| *one == Err(MemberRefusal::LimitExceeded))
    );
    let member = added[0].as_ref().unwrap().id;
    world
        .stores
        .merchants
        .remove_member(id, owner, member)
        .await
        .unwrap()
        .unwrap();
    let newcomer = EmailKey::of(&world.account().await.email);
    let added = world
        .stores
        .merchants
        .add_member(id, owner, &newcomer, quota)
        .await;
    assert!(added.unwrap().is_ok(), "a place that was given back");
}
