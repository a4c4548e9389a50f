//! One tenant who sends the most expensive requests, and another whose sale goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::Size;
use crate::actors::{Shop, Stranger};
use crate::template::Template;
use crate::world::shop;
use crate::{Options, World};

/// Makes a tenant with many templates, of each of which one user has a coupon.
async fn wide_tenant(world: &World, templates: usize) -> (Stranger, i64, Shop) {
    let tenant = world.stranger().await;
    let created = tenant.create_merchant("큰 상점").await.ok().clone();
    let merchant = created["id"].as_i64().unwrap();
    let shop = shop(&world.client, &created);
    let template = Template::default().name(&"가".repeat(255));
    for _ in 0..templates {
        let draft = tenant.create_template(merchant, template.body()).await;
        let id = draft.ok()["id"].as_i64().unwrap();
        tenant.publish(merchant, id).await.ok();
        shop.issue(id, "wide").await.ok();
    }
    (tenant, merchant, shop)
}

/// Counts the coupons that are issued to new users over 16 connections within the time `sale`.
async fn issued(world: &World, template: i64, round: &str, sale: Duration) -> usize {
    let until = Instant::now() + sale;
    let issuers = (0..16).map(|connection| async move {
        let mut count = 0;
        while Instant::now() < until {
            let user = format!("{round}-{connection}-{count}");
            world.shop.issue(template, &user).await.ok();
            count += 1;
        }
        count
    });
    join_all(issuers).await.into_iter().sum()
}

/// Sends the widest requests of one tenant, eight at a time: another tenant keeps at least half of its rate. They are
/// answered, or refused with 503 and a Retry-After.
///
/// # Panics
/// The other tenant keeps less, or a request is answered otherwise.
pub async fn widest_requests(size: Size) {
    let world = World::with(Options::default()).await;
    let template = world.publish(&Template::default()).await;
    let (tenant, merchant, shop) = wide_tenant(&world, size.wide_templates).await;
    issued(&world, template, "warm", size.sale).await;
    let alone = issued(&world, template, "alone", size.sale).await;
    let (stop, path) = (AtomicBool::new(false), format!("/v1/merchants/{merchant}"));
    let noise = (0..8).map(|number| {
        let (tenant, shop, stop, path) = (&tenant, &shop, &stop, &path);
        async move {
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                let (status, headers) = match number % 3 {
                    0 => tenant.call("GET", &format!("{path}/coupon-templates")),
                    1 => tenant.call("GET", &format!("{path}/coupon-histories?size=100")),
                    _ => shop.call("GET", "/v1/user-coupons?userId=wide"),
                }
                .drain()
                .await
                .unwrap();
                match status.as_u16() {
                    200 => answered += 1,
                    503 => assert!(headers.contains_key("retry-after"), "{headers:?}"),
                    _ => panic!("{status}"),
                }
            }
            answered
        }
    });
    let sale = async {
        let beside = issued(&world, template, "beside", size.sale).await;
        stop.store(true, Ordering::Relaxed);
        beside
    };
    let (noise, beside) = futures::join!(join_all(noise), sale);
    println!("{beside} issues beside {noise:?} wide requests, {alone} without");
    assert!(noise.iter().all(|answered| *answered > 0), "{noise:?}");
    assert!(
        beside * 2 >= alone,
        "{beside} issues beside {noise:?} wide requests, {alone} without"
    );
}
