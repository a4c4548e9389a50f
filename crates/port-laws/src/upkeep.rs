//! Laws of [`goodpon_application::ports::Upkeep`].

use std::sync::Arc;

use goodpon_application::ports::{StoreResult, Upkeep};
use goodpon_domain::{
    history::HistoryEntry,
    id::MerchantId,
    ledger::HistoryAction::{self, Discard, Expire, Issue, Redeem},
    template::TemplateStatus,
};
use jiff::SignedDuration;

use crate::{
    World,
    scene::{MICRO, at_once, order, unique},
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Repeats a sweep until nothing is due, and returns the number of rows that it changed. No call may change more than
/// its limit.
async fn sweep<F>(world: &World, limit: usize, call: impl Fn(Arc<dyn Upkeep>, usize) -> F) -> usize
where
    F: Future<Output = StoreResult<usize>>,
{
    let mut done = 0;
    for _ in 0..10_000 {
        let batch = call(Arc::clone(&world.stores.upkeep), limit).await.unwrap();
        assert!(
            batch <= limit,
            "a batch of {batch} where {limit} is the limit"
        );
        if batch == 0 {
            return done;
        }
        done += batch;
    }
    panic!("a sweep without end")
}

async fn expire_coupons(world: &World, limit: usize) -> usize {
    sweep(world, limit, |upkeep, limit| async move {
        upkeep.expire_coupons(limit).await
    })
    .await
}

async fn expire_templates(world: &World, limit: usize) -> usize {
    sweep(world, limit, |upkeep, limit| async move {
        upkeep.expire_templates(limit).await
    })
    .await
}

async fn discard_coupons(world: &World, limit: usize) -> usize {
    sweep(world, limit, |upkeep, limit| async move {
        upkeep.discard_coupons(limit).await
    })
    .await
}

async fn entries(world: &World, merchant: MerchantId, action: HistoryAction) -> Vec<HistoryEntry> {
    let ledger = world.ledger(merchant).await;
    ledger
        .into_iter()
        .filter(|entry| entry.action == action)
        .collect()
}

/// ISSUABLE templates become EXPIRED from their end on; drafts, discarded ones and those without end stay.
pub async fn templates_expire_at_their_end(world: &World) {
    let shop = world.shop().await;
    let mut ending = Vec::new();
    for _ in 0..5 {
        ending.push(world.published(&shop, world.ending_in(HOUR)).await);
    }
    let endless = world.published(&shop, world.terms()).await;
    let draft = world.draft(&shop, world.ending_in(HOUR)).await.id;
    let discarded = world.published(&shop, world.ending_in(HOUR)).await;
    let done = world
        .stores
        .templates
        .discard(shop.id, shop.owner, discarded, "r".into())
        .await
        .unwrap();
    assert!(done.is_ok());
    let status = async |id| world.template(&shop, id).await.status;
    world.clock.advance(HOUR - MICRO);
    expire_templates(world, 100).await;
    for id in &ending {
        assert_eq!(
            status(*id).await,
            TemplateStatus::Issuable,
            "just before the end"
        );
    }
    world.clock.advance(MICRO);
    assert!(expire_templates(world, 2).await >= 5);
    for id in &ending {
        assert_eq!(status(*id).await, TemplateStatus::Expired, "at the end");
    }
    assert_eq!(expire_templates(world, 2).await, 0, "nothing more is due");
    assert_eq!(status(endless).await, TemplateStatus::Issuable);
    assert_eq!(status(draft).await, TemplateStatus::Draft);
    assert_eq!(status(discarded).await, TemplateStatus::Discarded);
    world.audited().await;
}

/// ISSUED coupons become EXPIRED from their end on, with one entry each of the sweep's instant.
pub async fn coupons_expire_at_their_end(world: &World) {
    let shop = world.shop().await;
    let (ending, endless) = (
        world.published(&shop, world.ending_in(HOUR)).await,
        world.published(&shop, world.terms()).await,
    );
    for number in 0..7 {
        world.issued(&shop, ending, &format!("user-{number}")).await;
    }
    world.issued(&shop, endless, "endless").await;
    let redeemed = world.redeemed(&shop, ending, "o").await.id;
    world.clock.advance(HOUR - MICRO);
    expire_coupons(world, 3).await;
    assert_eq!(
        entries(world, shop.id, Expire).await,
        [],
        "just before the end"
    );
    world.clock.advance(MICRO);
    assert_eq!(
        world.stores.upkeep.expire_coupons(1).await.unwrap(),
        1,
        "at the end"
    );
    world.clock.advance(HOUR);
    assert!(
        expire_coupons(world, 3).await >= 6,
        "a missed run is caught up"
    );
    let expired = entries(world, shop.id, Expire).await;
    assert_eq!(expired.len(), 7);
    assert!(
        expired[1..]
            .iter()
            .all(|entry| entry.recorded_at == world.now()),
        "as of the sweep"
    );
    for number in 0..7 {
        let user = format!("user-{number}");
        assert_eq!(
            expired.iter().filter(|entry| entry.user_id == user).count(),
            1,
            "{user}"
        );
        assert!(world.in_hand(shop.id, &user).await.is_empty(), "{user}");
    }
    assert_eq!(world.in_hand(shop.id, "endless").await.len(), 1);
    assert_eq!(
        world.actions(shop.id, redeemed).await,
        [Issue, Redeem],
        "a redeemed one stays"
    );
    assert_eq!(expire_coupons(world, 3).await, 0, "nothing more is due");
    expire_templates(world, 10).await;
    assert_eq!(
        expire_coupons(world, 3).await,
        0,
        "nor after the template was swept"
    );
    assert_eq!(entries(world, shop.id, Expire).await.len(), 7);
    world.audited().await;
}

/// ISSUED coupons of a discarded template become DISCARDED, with the reason; redeemed ones stay.
pub async fn coupons_of_a_discarded_template_are_discarded(world: &World) {
    let shop = world.shop().await;
    let (gone, stays) = (
        world.published(&shop, world.terms()).await,
        world.published(&shop, world.terms()).await,
    );
    for number in 0..7 {
        world.issued(&shop, gone, &format!("user-{number}")).await;
    }
    world.issued(&shop, stays, "stays").await;
    let redeemed = world.redeemed(&shop, gone, "o").await.id;
    discard_coupons(world, 3).await;
    assert_eq!(
        entries(world, shop.id, Discard).await,
        [],
        "before the discard"
    );
    let done = world
        .stores
        .templates
        .discard(shop.id, shop.owner, gone, "재고 소진 🎟".into())
        .await
        .unwrap();
    assert!(done.is_ok());
    world.clock.advance(MICRO);
    assert!(discard_coupons(world, 3).await >= 7);
    let discarded = entries(world, shop.id, Discard).await;
    assert_eq!(discarded.len(), 7);
    for entry in &discarded {
        assert_eq!(entry.reason.as_deref(), Some("재고 소진 🎟"));
        assert_eq!((entry.template_id, entry.recorded_at), (gone, world.now()));
        assert!(world.in_hand(shop.id, &entry.user_id).await.is_empty());
    }
    assert_eq!(world.in_hand(shop.id, "stays").await.len(), 1);
    assert_eq!(
        world.actions(shop.id, redeemed).await,
        [Issue, Redeem],
        "a redeemed one stays"
    );
    assert_eq!(discard_coupons(world, 3).await, 0, "nothing more is due");
    world.audited().await;
}

/// Sweeps that run into each other do the work of one.
pub async fn sweeps_at_once_do_it_once(world: &World) {
    let shop = world.shop().await;
    let ending = world.published(&shop, world.ending_in(HOUR)).await;
    let gone = world.published(&shop, world.terms()).await;
    for number in 0..20 {
        for template in [ending, gone] {
            world
                .issued(&shop, template, &format!("user-{number}"))
                .await;
        }
    }
    world.clock.advance(HOUR);
    let done = world
        .stores
        .templates
        .discard(shop.id, shop.owner, gone, "r".into())
        .await
        .unwrap();
    assert!(done.is_ok());
    let done = at_once(world, 9, |world, number| async move {
        match number % 3 {
            0 => expire_coupons(&world, 4).await,
            1 => discard_coupons(&world, 4).await,
            _ => expire_templates(&world, 4).await,
        }
    });
    assert!(done.await.into_iter().sum::<usize>() >= 41);
    assert_eq!(entries(world, shop.id, Expire).await.len(), 20);
    assert_eq!(entries(world, shop.id, Discard).await.len(), 20);
    world.audited().await;
}

/// A coupon past its end of a template that was discarded ends in one way, not in both.
pub async fn expired_or_discarded_but_not_both(world: &World) {
    let shop = world.shop().await;
    let id = world.published(&shop, world.ending_in(HOUR)).await;
    for number in 0..6 {
        world.issued(&shop, id, &format!("user-{number}")).await;
    }
    let done = world
        .stores
        .templates
        .discard(shop.id, shop.owner, id, "r".into())
        .await
        .unwrap();
    assert!(done.is_ok());
    world.clock.advance(HOUR);
    assert_eq!(world.stores.upkeep.discard_coupons(2).await.unwrap(), 2);
    expire_coupons(world, 2).await;
    discard_coupons(world, 2).await;
    expire_templates(world, 2).await;
    let ended =
        entries(world, shop.id, Expire).await.len() + entries(world, shop.id, Discard).await.len();
    assert_eq!(ended, 6);
    assert_eq!(
        world.template(&shop, id).await.status,
        TemplateStatus::Discarded
    );
    world.audited().await;
}

/// Cleaning up leaves coupons, entries, open tokens and fresh mails as they are, and ends.
pub async fn cleaning_up_takes_nothing_that_counts(world: &World) {
    let shop = world.shop().await;
    let id = world.published(&shop, world.terms()).await;
    let coupon = world.issued(&shop, id, "u").await;
    world.redeemed(&shop, id, "o").await;
    world.clock.advance(SignedDuration::from_hours(24 * 400));
    let (account, token) = world.unverified().await;
    let mail = world
        .stores
        .mails
        .list(Some(&account.email), 1)
        .await
        .unwrap()
        .remove(0);
    world.stores.mails.mark_sent(mail.id).await.unwrap();
    let before = world.ledger(shop.id).await;
    let clean = |upkeep: Arc<dyn Upkeep>, limit| async move { upkeep.clean_up(limit).await };
    sweep(world, 2, clean).await;
    assert_eq!(
        world.stores.upkeep.clean_up(2).await.unwrap(),
        0,
        "nothing more is due"
    );
    assert_eq!(world.ledger(shop.id).await, before);
    assert_eq!(world.in_hand(shop.id, "u").await, vec![coupon.clone()]);
    assert_eq!(
        world
            .stores
            .mails
            .list(Some(&account.email), 2)
            .await
            .unwrap()
            .len(),
        1
    );
    let verified = world.stores.accounts.verify(token, None).await.unwrap();
    assert_eq!(verified.map(|verified| verified.id), Ok(account.id));
    let redeemed = world
        .redeem(shop.id, coupon.id, order("u", &unique(), 1))
        .await;
    assert!(redeemed.is_ok(), "old, but without end");
    world.audited().await;
}
