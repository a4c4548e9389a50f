//! Laws of [`goodpon_application::ports::Templates`].

use std::sync::Arc;

use goodpon_domain::{
    account::EmailKey,
    id::{MerchantId, TemplateId},
    merchant::AccessRefusal,
    quota::Quota,
    template::{
        DiscardRefusal, Discount, DraftRefusal, Limit, Owned, Period, PublishRefusal, Template,
        TemplateStatus, Terms,
    },
};
use jiff::SignedDuration;

use crate::{
    World,
    scene::{MICRO, Shop, at_once},
};

async fn draft(world: &World, shop: &Shop, terms: Terms) -> Arc<Template> {
    world.draft(shop, terms).await
}

/// All terms come back as they were written.
pub async fn a_draft_is_kept_as_written(world: &World) {
    let shop = world.shop().await;
    let plain = world.terms();
    let full = Terms {
        name: "🎟".repeat(255),
        description: "설명\n\t e\u{301} \u{e9} '\"%_\\ ".repeat(12),
        min_order_amount: Some(1_000_000_000_000),
        discount: Discount::Percentage {
            percent: 100,
            max: 1_000_000_000_000,
        },
        period: Period {
            issue_start_at: world.now() - MICRO,
            issue_end_at: Some(world.now() + MICRO),
            validity_days: Some(36_500),
            absolute_expires_at: Some("9999-01-01T00:00:00Z".parse().unwrap()),
        },
        limit: Limit::IssueCount(1_000_000_000),
    };
    let redeem_limited = Terms {
        limit: Limit::RedeemCount(1),
        ..full.clone()
    };
    for terms in [plain, full, redeem_limited] {
        let created = draft(world, &shop, terms.clone()).await;
        assert_eq!(created.terms, terms);
        assert_eq!(
            (created.merchant_id, created.status),
            (shop.id, TemplateStatus::Draft)
        );
        assert_eq!((created.issue_count, created.redeem_count), (0, 0));
        assert_eq!(
            (created.created_at, &created.discard_reason),
            (world.now(), &None)
        );
        assert_eq!(world.template(&shop, created.id).await, created);
    }
    world.audited().await;
}

/// Every call tells another merchant's template apart from an absent one, and does not change it.
pub async fn a_template_is_mine_or_foreign_or_absent(world: &World) {
    let (shop, other) = (world.shop().await, world.shop().await);
    let mine = draft(world, &shop, world.terms()).await;
    let find = |id| world.stores.templates.find(other.id, id);
    assert_eq!(find(mine.id).await.unwrap(), Owned::Foreign);
    let published = world
        .stores
        .templates
        .publish(other.id, other.owner, mine.id)
        .await
        .unwrap();
    assert_eq!(published, Err(PublishRefusal::NotOwned));
    let discarded = world
        .stores
        .templates
        .discard(other.id, other.owner, mine.id, "r".into())
        .await
        .unwrap();
    assert_eq!(discarded, Err(DiscardRefusal::NotOwned));
    for absent in [0, -1, i64::MIN, i64::MAX].map(TemplateId) {
        assert_eq!(find(absent).await.unwrap(), Owned::Absent);
        let published = world
            .stores
            .templates
            .publish(other.id, other.owner, absent)
            .await
            .unwrap();
        assert_eq!(published, Err(PublishRefusal::NotFound));
        let discarded = world
            .stores
            .templates
            .discard(other.id, other.owner, absent, "r".into())
            .await
            .unwrap();
        assert_eq!(discarded, Err(DiscardRefusal::NotFound));
    }
    assert_eq!(world.template(&shop, mine.id).await, mine);
}

/// DRAFT can be published; DRAFT and ISSUABLE can be discarded; nothing else.
pub async fn publish_and_discard_by_status(world: &World) {
    let shop = world.shop().await;
    for publish_first in [false, true] {
        let id = draft(world, &shop, world.terms()).await.id;
        let publish = || world.stores.templates.publish(shop.id, shop.owner, id);
        let discard = |reason: &str| {
            world
                .stores
                .templates
                .discard(shop.id, shop.owner, id, reason.into())
        };
        if publish_first {
            let published = publish().await.unwrap().expect("a draft is published");
            assert_eq!(published.status, TemplateStatus::Issuable);
            assert_eq!(world.template(&shop, id).await, published);
            assert_eq!(publish().await.unwrap(), Err(PublishRefusal::InvalidStatus));
        }
        let discarded = discard("재고 소진 🎟")
            .await
            .unwrap()
            .expect("it can be discarded");
        assert_eq!(discarded.status, TemplateStatus::Discarded);
        assert_eq!(discarded.discard_reason.as_deref(), Some("재고 소진 🎟"));
        assert_eq!(world.template(&shop, id).await, discarded);
        assert_eq!(publish().await.unwrap(), Err(PublishRefusal::InvalidStatus));
        assert_eq!(
            discard("again").await.unwrap(),
            Err(DiscardRefusal::InvalidStatus)
        );
        let kept = world.template(&shop, id).await.discard_reason.clone();
        assert_eq!(
            kept.as_deref(),
            Some("재고 소진 🎟"),
            "a refused discard changes nothing"
        );
    }
    world.audited().await;
}

/// From its end on a published template can be neither published nor discarded, swept or not; a draft can.
pub async fn an_ended_template_counts_as_expired_unswept(world: &World) {
    let shop = world.shop().await;
    let ending = world.ending_in(SignedDuration::from_hours(1));
    let in_time = world.published(&shop, ending.clone()).await;
    let late = world.published(&shop, ending.clone()).await;
    let (one, other) = (
        draft(world, &shop, ending.clone()).await.id,
        draft(world, &shop, ending).await.id,
    );
    let discard = |id| {
        world
            .stores
            .templates
            .discard(shop.id, shop.owner, id, String::new())
    };
    world.clock.advance(SignedDuration::from_hours(1) - MICRO);
    assert!(discard(in_time).await.unwrap().is_ok());
    world.clock.advance(MICRO);
    assert_eq!(
        discard(late).await.unwrap(),
        Err(DiscardRefusal::InvalidStatus)
    );
    let published = world
        .stores
        .templates
        .publish(shop.id, shop.owner, late)
        .await
        .unwrap();
    assert_eq!(published, Err(PublishRefusal::InvalidStatus));
    assert!(discard(one).await.unwrap().is_ok(), "a draft stays a draft");
    assert!(
        world
            .stores
            .templates
            .publish(shop.id, shop.owner, other)
            .await
            .unwrap()
            .is_ok()
    );
    world.audited().await;
}

/// Templates are listed newest first, by id where made in one instant, and of this merchant only.
pub async fn templates_are_listed_newest_first(world: &World) {
    let (shop, other) = (world.shop().await, world.shop().await);
    let mut ids = Vec::new();
    for number in 0..6 {
        world.clock.advance(MICRO * (number % 2));
        ids.push(draft(world, &shop, world.terms()).await.id);
        draft(world, &other, world.terms()).await;
    }
    ids.reverse();
    let listed = world.stores.templates.list(shop.id).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), ids);
    assert!(listed.iter().all(|one| one.merchant_id == shop.id));
    assert!(
        world
            .stores
            .templates
            .list(world.shop().await.id)
            .await
            .unwrap()
            .is_empty()
    );
}

/// Of publications at once, one goes through.
pub async fn one_of_many_publications_wins(world: &World) {
    let shop = world.shop().await;
    let (merchant, owner) = (shop.id, shop.owner);
    let id = draft(world, &shop, world.terms()).await.id;
    let results = at_once(world, 32, move |world, _| async move {
        world
            .stores
            .templates
            .publish(merchant, owner, id)
            .await
            .unwrap()
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(
        lost.iter()
            .all(|one| *one == Err(PublishRefusal::InvalidStatus))
    );
}

/// A discard goes through once and is not undone by a publication at the same time.
pub async fn a_discard_holds_against_publications_at_once(world: &World) {
    let shop = world.shop().await;
    for _ in 0..8 {
        let (merchant, owner) = (shop.id, shop.owner);
        let id = draft(world, &shop, world.terms()).await.id;
        let results = at_once(world, 16, move |world, number| async move {
            if number % 2 == 0 {
                let reason = number.to_string();
                world
                    .stores
                    .templates
                    .discard(merchant, owner, id, reason)
                    .await
                    .unwrap()
                    .is_ok()
            } else {
                let _ = world
                    .stores
                    .templates
                    .publish(merchant, owner, id)
                    .await
                    .unwrap();
                false
            }
        });
        assert_eq!(
            results.await.into_iter().filter(|won| *won).count(),
            1,
            "discards"
        );
        assert_eq!(
            world.template(&shop, id).await.status,
            TemplateStatus::Discarded
        );
    }
    world.audited().await;
}

/// Members alone change templates, as of the change itself: one who was removed no more, whatever is asked at once.
pub async fn only_members_change_templates(world: &World) {
    let shop = world.shop().await;
    let (stranger, staff) = (world.account().await, world.account().await);
    let id = draft(world, &shop, world.terms()).await.id;
    let absent = MerchantId(shop.id.0 + 1_000_000);
    let refused = async |merchant, account| {
        let templates = &world.stores.templates;
        let created = templates.create(merchant, account, world.terms(), Quota::UNLIMITED);
        let created = created.await.unwrap().map(drop);
        let published = templates.publish(merchant, account, id).await.unwrap();
        let discarded = templates.discard(merchant, account, id, String::new());
        let discarded = discarded.await.unwrap().map(drop);
        let refusals = [
            created.map_err(|refusal| match refusal {
                DraftRefusal::Access(refusal) => refusal,
                other => panic!("{other:?}"),
            }),
            published.map(drop).map_err(|refusal| match refusal {
                PublishRefusal::Access(refusal) => refusal,
                other => panic!("{other:?}"),
            }),
            discarded.map_err(|refusal| match refusal {
                DiscardRefusal::Access(refusal) => refusal,
                other => panic!("{other:?}"),
            }),
        ];
        assert!(
            refusals.windows(2).all(|pair| pair[0] == pair[1]),
            "{refusals:?}"
        );
        refusals[0]
    };
    assert_eq!(
        refused(absent, shop.owner).await,
        Err(AccessRefusal::MerchantNotFound)
    );
    assert_eq!(
        refused(shop.id, stranger.id).await,
        Err(AccessRefusal::NotAMember)
    );
    let key = EmailKey::of(&staff.email);
    let added = world
        .stores
        .merchants
        .add_member(shop.id, shop.owner, &key, Quota::UNLIMITED);
    let member = added.await.unwrap().unwrap().id;
    let created = world
        .stores
        .templates
        .create(shop.id, staff.id, world.terms(), Quota::UNLIMITED);
    created.await.unwrap().expect("staff may write a draft");
    let removed = world
        .stores
        .merchants
        .remove_member(shop.id, shop.owner, member);
    removed.await.unwrap().unwrap();
    assert_eq!(
        refused(shop.id, staff.id).await,
        Err(AccessRefusal::NotAMember)
    );
    assert_eq!(
        world.template(&shop, id).await.status,
        TemplateStatus::Draft
    );
    assert_eq!(world.stores.templates.list(shop.id).await.unwrap().len(), 2);
}

/// Of many drafts at once only as many are stored as the quota has room for; an account that is no member does not learn of it.
pub async fn the_quota_of_templates_is_exact_at_once(world: &World) {
    let shop = world.shop().await;
    let (merchant, owner) = (shop.id, shop.owner);
    let quota = Quota::of(3);
    let results = at_once(world, 16, move |world, _| async move {
        let created = world
            .stores
            .templates
            .create(merchant, owner, world.terms(), quota);
        created.await.unwrap().map(drop)
    });
    let (stored, refused): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
    assert_eq!(stored.len(), 3);
    assert!(
        refused
            .iter()
            .all(|one| *one == Err(DraftRefusal::LimitExceeded))
    );
    assert_eq!(
        world.stores.templates.list(merchant).await.unwrap().len(),
        3
    );
    let stranger = world.account().await.id;
    let refused = world
        .stores
        .templates
        .create(merchant, stranger, world.terms(), quota)
        .await;
    let no_member = DraftRefusal::Access(AccessRefusal::NotAMember);
    assert_eq!(refused.unwrap().map(drop), Err(no_member));
    let other = world.shop().await;
    let created = world
        .stores
        .templates
        .create(other.id, other.owner, world.terms(), quota);
    assert!(created.await.unwrap().is_ok(), "each merchant has its own");
}
