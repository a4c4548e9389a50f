//! A disk that is full and an fsync that fails: 503, nothing answered is lost, and the service recovers by itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use goodpon_e2e::faults::{Shim, SmallDisk};
use goodpon_e2e::ledger::{actions, text};
use goodpon_e2e::world::eventually;
use goodpon_e2e::{Shop, Template, World};

/// The users whose coupons were answered with a success, and those whose outcome a 503 left open.
#[derive(Default)]
struct Told {
    issued: BTreeSet<String>,
    open: BTreeSet<String>,
}

impl Told {
    /// Issues to one user; true on success.
    async fn issue(&mut self, shop: &Shop, template: i64, user: String) -> bool {
        let answer = shop.issue_with_key(template, &user, &user).await;
        if answer.status == 200 {
            answer.ok();
            self.issued.insert(user)
        } else {
            answer.refused("SERVICE_UNAVAILABLE");
            self.open.insert(user);
            false
        }
    }

    /// Everything answered is in the ledger, once, and nothing there was neither answered nor open.
    async fn check(&self, world: &World) {
        let entries = world.ledger(&[]).await;
        let issued = actions(&entries, "ISSUE");
        let there: Vec<_> = issued
            .iter()
            .map(|entry| text(entry, "userId").to_owned())
            .collect();
        let once: BTreeSet<_> = there.iter().cloned().collect();
        assert_eq!(there.len(), once.len(), "an effect happened twice");
        let lost: Vec<_> = self.issued.difference(&once).collect();
        assert!(lost.is_empty(), "answered and lost: {lost:?}");
        let unasked: Vec<_> = once
            .iter()
            .filter(|user| !self.issued.contains(*user) && !self.open.contains(*user))
            .collect();
        assert!(unasked.is_empty(), "{unasked:?}");
    }
}

/// Once the fault is gone it serves again by itself, and each open request gets its one answer.
async fn recovers(world: &World, template: i64, told: &mut Told) {
    let probe = &world.shop;
    eventually("it serves again", || async {
        probe
            .issue_with_key(template, "probe", "probe")
            .await
            .status
            == 200
    })
    .await;
    told.issued.insert("probe".to_owned());
    for user in std::mem::take(&mut told.open) {
        assert!(
            told.issue(&world.shop, template, user).await,
            "a retry after the fault succeeds"
        );
    }
    told.check(world).await;
}

fn assert_verified(world: &World) {
    let output = world.server().run_cli(&["verify"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[tokio::test]
async fn an_fsync_that_fails_answers_503_and_loses_nothing() {
    let shim = Shim::build();
    let world = World::with(shim.options().embedded()).await;
    let template = world.publish(&Template::default()).await;
    let mut told = Told::default();
    for number in 0..20 {
        assert!(
            told.issue(&world.shop, template, format!("before-{number}"))
                .await
        );
    }
    let coupon = world.shop.coupon_of(template, "before-0").await;
    shim.fsync_fails(true);
    for number in 0..20 {
        assert!(
            !told
                .issue(&world.shop, template, format!("during-{number}"))
                .await,
            "nothing durable, no success"
        );
    }
    let redeem = || {
        world
            .shop
            .redeem_with_key(&coupon, "before-0", 5000, "o", "redeem")
    };
    redeem().await.refused("SERVICE_UNAVAILABLE");
    // Reading goes on.
    assert_eq!(world.shop.template(template, None).await.status, 200);
    shim.fsync_fails(false);
    recovers(&world, template, &mut told).await;
    redeem().await.ok();
    assert_eq!(
        world.ledger(&[("orderId", "o")]).await.len(),
        1,
        "redeemed once"
    );
    world.server().kill9();
    world.server().restart();
    told.check(&world).await;
    assert_verified(&world);
}

#[tokio::test]
async fn a_crash_while_fsync_fails_loses_nothing() {
    let shim = Shim::build();
    let world = World::with(shim.options().embedded()).await;
    let template = world.publish(&Template::default()).await;
    let mut told = Told::default();
    for number in 0..10 {
        assert!(
            told.issue(&world.shop, template, format!("before-{number}"))
                .await
        );
    }
    shim.fsync_fails(true);
    for number in 0..10 {
        assert!(
            !told
                .issue(&world.shop, template, format!("during-{number}"))
                .await
        );
    }
    world.server().kill9();
    shim.fsync_fails(false);
    world.server().restart();
    told.check(&world).await;
    recovers(&world, template, &mut told).await;
    assert_verified(&world);
}

/// Fills a disk to its last byte.
fn fill(path: &Path) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    for size in [1 << 20, 4096, 1] {
        let block = vec![0_u8; size];
        while file.write_all(&block).is_ok() {}
    }
}

#[tokio::test]
async fn a_full_disk_answers_503_and_loses_nothing() {
    let disk = SmallDisk::prepare();
    let world = World::with(disk.options(48)).await;
    let outside = disk.seen_from_outside(world.server().pid());
    let template = world.publish(&Template::default()).await;
    let mut told = Told::default();
    for number in 0..50 {
        assert!(
            told.issue(&world.shop, template, format!("before-{number}"))
                .await
        );
    }
    let ballast = outside.join("ballast");
    fill(&ballast);
    // What the log has room for already may still go through.
    let mut refusals = 0;
    for number in 0..20_000 {
        if !told
            .issue(&world.shop, template, format!("during-{number}"))
            .await
        {
            refusals += 1;
        }
        if refusals == 10 {
            break;
        }
        fill(&ballast);
    }
    assert_eq!(refusals, 10, "a full disk cannot take all of it");
    let ready = reqwest::get(format!("http://{}/readyz", world.server().admin())).await;
    assert_eq!(ready.unwrap().status(), 503, "and says so");
    assert_eq!(
        world.shop.template(template, None).await.status,
        200,
        "reading goes on"
    );
    std::fs::remove_file(&ballast).unwrap();
    recovers(&world, template, &mut told).await;
    assert_verified(&world);
}
