//! Sweeps by several processes at once, beside redemptions and cancellations.

use futures::future::join_all;
use goodpon_application::ports::Upkeep;
use goodpon_domain::template::Limit;
use mysql_async::prelude::Queryable;

use super::{
    open,
    scene::{HOUR, MICRO, Scene, cancel, redeem},
};
use crate::{lock::Lock, redemption};

async fn in_state(scene: &Scene, status: u8) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM coupons WHERE status = {status}");
    let count: Option<i64> = scene.conn().await.query_first(sql).await.unwrap();
    count.unwrap()
}

/// Coupons reach their end while they are redeemed, cancelled, swept and discarded.
#[tokio::test(flavor = "multi_thread")]
async fn sweeps_do_not_disturb_requests_in_flight() {
    let scene = Scene::new().await;
    let ending = scene.template(Limit::RedeemCount(10)).await;
    let (gone, endless) = (
        scene.template(Limit::None).await,
        scene.template(Limit::None).await,
    );
    let mut coupons = Vec::new();
    for number in 0..12 {
        for template in [ending, gone, endless] {
            let user = format!("u{number}");
            coupons.push((scene.coupon(template, &user).await, user));
        }
    }
    let endless = endless.0;
    scene
        .sql(&format!(
            "UPDATE coupons SET expires_at = NULL WHERE template_id = {endless}"
        ))
        .await;
    scene.clock.advance(HOUR * 2 - MICRO * 200);
    scene.clock.step_by(1);
    let processes: Vec<_> = (0..6)
        .map(|_| open(&scene.database, &scene.clock))
        .collect();
    let shops = processes.iter().take(3).enumerate().map(|(number, store)| {
        let coupons = &coupons;
        async move {
            for (id, user) in coupons.iter().skip(number).chain(coupons) {
                if redeem(store, *id, user, "o").await.is_ok() {
                    let _ = cancel(store, *id).await;
                }
            }
        }
    });
    let sweepers = processes.iter().skip(3).map(|store| async {
        for _ in 0..12 {
            store.expire_coupons(3).await.unwrap();
            store.discard_coupons(3).await.unwrap();
            store.expire_templates(3).await.unwrap();
        }
    });
    futures::join!(join_all(shops), join_all(sweepers), scene.discard(gone));
    scene.clock.step_by(0);
    scene.clock.advance(HOUR);
    while scene.store.expire_coupons(3).await.unwrap() > 0 {}
    while scene.store.discard_coupons(3).await.unwrap() > 0 {}
    let sql = format!("SELECT COUNT(*) FROM coupons WHERE status = 0 AND template_id <> {endless}");
    let left: Option<i64> = scene.conn().await.query_first(sql).await.unwrap();
    assert_eq!(left, Some(0));
    assert_eq!(scene.audit().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_skips_locked_coupons() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let mut coupons = Vec::new();
    for number in 0..5 {
        coupons.push(scene.coupon(template, &format!("u{number}")).await);
    }
    scene.clock.advance(HOUR * 3);
    let (store, scene) = (&scene.store, &scene);
    let locked = coupons[2];
    let tried = store.transact(|session| {
        Box::pin(async move {
            redemption::lock(session, locked, Lock::None).await?;
            assert_eq!(store.expire_coupons(10).await.unwrap(), 4);
            assert_eq!(in_state(scene, 2).await, 4);
            Ok(())
        })
    });
    tried.await.unwrap();
    assert_eq!(store.expire_coupons(10).await.unwrap(), 1);
    assert_eq!(scene.audit().await, [""; 0]);
}

/// A walk advances in small steps past coupons that it need not discard, and ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_walk_passes_coupons_that_are_not_issued() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let last = scene.coupon(template, "zz").await;
    let rows: Vec<String> = (0..1_200)
        .map(|number| {
            format!(
                "(x'{number:032x}', 1, {}, 'u{number}', 1, 0, 0, 'o')",
                template.0
            )
        })
        .collect();
    scene
        .sql(&format!(
            "INSERT INTO coupons (id, merchant_id, template_id, user_id, status, issued_at, changed_at, order_id)
             VALUES {}",
            rows.join(",")
        ))
        .await;
    scene.discard(template).await;
    let mut steps = Vec::new();
    loop {
        match scene.store.discard_coupons(5).await.unwrap() {
            0 => break,
            done => steps.push(done),
        }
    }
    assert_eq!(
        steps,
        [1, 1, 1],
        "two steps without any, and one with the last coupon"
    );
    let sql = format!("SELECT status FROM coupons WHERE id = x'{last}'");
    let status: Option<i64> = scene.conn().await.query_first(sql).await.unwrap();
    assert_eq!((status, in_state(&scene, 1).await), (Some(3), 1_200));
}
