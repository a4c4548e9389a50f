//! Caches between shops and the server, and the memory that the server spends on strangers.

use std::collections::HashMap;

use futures::future::join_all;

use super::{Size, resident_kib};
use crate::template::Template;
use crate::{Answer, Api, Options, Shop, World};

/// A shared cache as RFC 9111 §3 and §4 permit it: it keeps every answer that nothing forbids to keep, under method and
/// path, and knows nothing of the headers with a product's credentials.
#[derive(Default)]
struct SharedCache {
    kept: HashMap<String, Answer>,
}

/// Statuses whose answers may be kept without a stated time (RFC 9110 §15.1).
const KEPT_BY_DEFAULT: [u16; 8] = [200, 203, 204, 301, 308, 404, 405, 410];

impl SharedCache {
    async fn get(&mut self, shop: &Shop, path: &str) -> Answer {
        if let Some(answer) = self.kept.get(path) {
            return answer.clone();
        }
        let answer = shop.call("GET", path).send().await;
        let control = answer.header("cache-control").unwrap_or_default();
        let forbidden = control.contains("no-store") || control.contains("private");
        if KEPT_BY_DEFAULT.contains(&answer.status) && !forbidden {
            self.kept.insert(path.to_owned(), answer.clone());
        }
        answer
    }
}

/// Sends calls of several shops through a shared cache: each gets its own answers, and none gets a refusal of another.
///
/// # Panics
/// A shop gets the answer of another.
pub async fn caches_in_front() {
    let world = World::with(Options::default()).await;
    let template = world.publish(&Template::default()).await;
    world.shop.issue(template, "same name").await.ok();
    let (_, other) = world.other_merchant().await;
    let mut cache = SharedCache::default();
    let detail = format!("/v1/coupon-templates/{template}");
    let detail_of_user = format!("{detail}?userId=same%20name");
    for (path, differs) in [
        ("/v1/user-coupons?userId=same%20name", true),
        (
            "/v1/user-coupons/available?userId=same%20name&orderAmount=50000",
            true,
        ),
        (&detail, true),
        (&detail_of_user, true),
        ("/v1/coupon-templates/0", false),
        ("/v1/nothing", false),
    ] {
        let first = cache.get(&world.shop, path).await;
        let second = cache.get(&other, path).await;
        let direct = other.call("GET", path).send().await;
        assert_eq!(second.json, direct.json, "{path}");
        assert_eq!(first.bytes != second.bytes, differs, "{path}");
    }
    assert!(cache.kept.is_empty(), "{:?}", cache.kept.keys());
    // The documentation is the same for all, and may be kept.
    let call = world
        .client
        .call(Api::Partner, "GET", "/docs/swagger-ui-bundle.js");
    let control = call
        .send()
        .await
        .header("cache-control")
        .unwrap_or_default();
    assert!(!control.contains("no-store"), "{control}");
}

/// Sends requests with unknown credentials of the right form: they take a bounded part of the memory, and the shop goes
/// on.
///
/// # Panics
/// The memory grows further, or the shop is refused.
pub async fn unknown_credentials(size: Size) {
    let world = World::with(Options::default().args(["--rate-partner-per-sec", "1000"])).await;
    let pid = world.server().pid();
    let ask = |number: usize| {
        let mut shop = world.shop.clone();
        let kept = shop.client_id.len() - 8;
        shop.client_id = format!("{}{number:08x}", &shop.client_id[..kept]);
        async move { shop.coupons("u").await }
    };
    let mut before = resident_kib(pid);
    for from in (0..size.unknown_credentials).step_by(100) {
        for answer in join_all((from..from + 100).map(ask)).await {
            answer.refused("INVALID_CREDENTIALS");
        }
        world.shop.coupons("u").await.ok();
        if from == size.unknown_credentials / 4 {
            before = resident_kib(pid);
        }
    }
    let grown = resident_kib(pid).saturating_sub(before);
    assert!(grown < MAX_GROWTH_KIB, "{grown} KiB");
}

/// KiB that the last three quarters of unknown credentials may add to the memory of the server.
const MAX_GROWTH_KIB: u64 = 20_000;
