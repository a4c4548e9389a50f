//! A disk that is full: 503, nothing answered is lost, and the service recovers by itself. A disk that fails: the process
//! ends at once, and the next start has all that was answered. A power cut: the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use goodpon_e2e::actors::issue_path;
use goodpon_e2e::faults::{Shim, SmallDisk};
use goodpon_e2e::ledger::{actions, text};
use goodpon_e2e::power::Loss;
use goodpon_e2e::{Shop, Template, World};
use goodpon_waits::eventually;
use serde_json::json;

/// The time within which a load must bring about the condition that a test waits for.
const LOAD_LIMIT: Duration = Duration::from_secs(240);

/// The users whose coupons were answered with a success, and those whose outcome is open: no answer, or a 503.
#[derive(Default)]
struct Outcomes {
    issued: BTreeSet<String>,
    open: BTreeSet<String>,
}

impl Outcomes {
    /// Issues to one user; true on success.
    async fn issue(&mut self, shop: &Shop, template: i64, user: String) -> bool {
        let call = shop
            .call("POST", &issue_path(template))
            .header("Idempotency-Key", &user)
            .json(&json!({"userId": user}));
        match call.try_send().await {
            Ok(answer) if answer.status == 200 => {
                answer.ok();
                self.issued.insert(user)
            }
            answered => {
                if let Ok(answer) = answered {
                    answer.refused("SERVICE_UNAVAILABLE");
                }
                self.open.insert(user);
                false
            }
        }
    }

    /// Issues to `count` users, all at once.
    async fn issue_to_all(&mut self, shop: &Shop, template: i64, prefix: &str, count: u32) {
        let asked = (0..count).map(async |number| {
            let mut outcomes = Self::default();
            outcomes
                .issue(shop, template, format!("{prefix}-{number}"))
                .await;
            outcomes
        });
        for one in join_all(asked).await {
            self.issued.extend(one.issued);
            self.open.extend(one.open);
        }
    }

    /// Issues to one user after the other, eight at a time, until one is not answered with a success, or `is_done`.
    async fn load(&mut self, shop: &Shop, template: i64, prefix: &str, is_done: impl Fn() -> bool) {
        let (is_over, deadline) = (AtomicBool::new(false), Instant::now() + LOAD_LIMIT);
        let clients = (0..8).map(async |client| {
            let mut outcomes = Self::default();
            for number in 0.. {
                let user = format!("{prefix}-{client}-{number}");
                let is_answered = outcomes.issue(shop, template, user).await;
                if !is_answered || is_done() || Instant::now() > deadline {
                    is_over.store(true, Ordering::Relaxed);
                }
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
            outcomes
        });
        for one in join_all(clients).await {
            self.issued.extend(one.issued);
            self.open.extend(one.open);
        }
        assert!(Instant::now() < deadline, "the load brought nothing about");
    }

    /// Asserts that everything answered is in the ledger, once, and that everything there was answered or is open.
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

/// Waits until it serves again by itself, once the fault is gone. Asserts that each open request gets its one answer.
async fn recovers(world: &World, template: i64, outcomes: &mut Outcomes) {
    let probe = &world.shop;
    eventually("it serves again", || async {
        probe
            .issue_with_key(template, "probe", "probe")
            .await
            .status
            == 200
    })
    .await;
    outcomes.issued.insert("probe".to_owned());
    for user in std::mem::take(&mut outcomes.open) {
        assert!(
            outcomes.issue(&world.shop, template, user).await,
            "a retry after the fault succeeds"
        );
    }
    outcomes.check(world).await;
}

fn assert_verified(world: &World) {
    let output = world.server().run_cli(&["verify"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// Asserts that the process has ended by itself, and has written the reason in one line.
fn assert_ended(world: &World, why: &str) {
    let status = world.server().wait();
    assert!(!status.success(), "{status}");
    assert_said(world, why);
}

fn assert_said(world: &World, why: &str) {
    let log = world.server().log();
    let last: Vec<_> = log
        .iter()
        .filter(|line| line.starts_with("goodpon: "))
        .collect();
    assert_eq!(last.len(), 1, "{last:?}");
    assert!(last[0].contains(why), "{}", last[0]);
    assert!(last[0].contains("ending at once"), "{}", last[0]);
}

/// Starts a server on a disk that is sure to keep synced bytes only, with a template and some coupons.
async fn on_disk(shim: &Shim, outcomes: &mut Outcomes) -> (World, i64) {
    let options = shim
        .disk_options()
        .expect_log("check the disk; the next start recovers")
        // Requests between the failure and the end.
        .expect_log("the store is closing");
    let world = World::with(options).await;
    let template = world.publish(&Template::default()).await;
    for number in 0..20 {
        let user = format!("before-{number}");
        assert!(outcomes.issue(&world.shop, template, user).await);
    }
    (world, template)
}

#[tokio::test]
async fn a_commit_whose_sync_fails_ends_the_process_and_loses_nothing() {
    let (shim, mut outcomes) = (Shim::build(), Outcomes::default());
    let (world, template) = on_disk(&shim, &mut outcomes).await;
    let coupon = world.shop.coupon_of(template, "before-0").await;
    world
        .shop
        .redeem_with_key(&coupon, "before-0", 5000, "o", "redeem")
        .await
        .ok();
    shim.fsync_fails(true);
    outcomes
        .issue_to_all(&world.shop, template, "during", 20)
        .await;
    assert_eq!(outcomes.open.len(), 20, "nothing durable, no success");
    assert_ended(&world, "the database cannot be written");
    assert!(
        world
            .server()
            .log()
            .iter()
            .all(|line| !line.contains("group commit failed"))
    );
    shim.fsync_fails(false);
    world.server().restart();
    outcomes.check(&world).await;
    recovers(&world, template, &mut outcomes).await;
    shim.cut_power(world.server(), Loss::Part(1));
    world.server().restart();
    outcomes.check(&world).await;
    assert_eq!(world.ledger(&[("orderId", "o")]).await.len(), 1);
    assert_verified(&world);
}

#[tokio::test]
async fn a_sync_of_the_database_that_fails_once_loses_nothing() {
    let (shim, mut outcomes) = (Shim::build(), Outcomes::default());
    let (world, template) = on_disk(&shim, &mut outcomes).await;
    shim.next_fsync_fails("goodpon.db");
    let before = log_number(&world);
    // Until the log is moved into the database, and begun anew if the failure is passed over.
    let is_anew = || log_number(&world) != before;
    outcomes
        .load(&world.shop, template, "during", is_anew)
        .await;
    shim.cut_power(world.server(), Loss::All);
    world.server().restart();
    outcomes.check(&world).await;
    // Either SQLite's sync or ours fails.
    assert_said(&world, "check the disk");
    recovers(&world, template, &mut outcomes).await;
    assert_verified(&world);
}

/// Reads from the log's head how often it was begun anew; 0 while it has none.
fn log_number(world: &World) -> u32 {
    let log = world.server().data_dir().join("goodpon.db-wal");
    let mut head = [0; 16];
    let read = File::open(log).and_then(|mut log| log.read_exact(&mut head));
    read.map_or(0, |()| {
        u32::from_be_bytes([head[12], head[13], head[14], head[15]])
    })
}

/// Keeps SQLite's shared memory open in another process: it has pages as moved that are lost.
#[tokio::test]
async fn a_sync_that_fails_beside_a_reader_loses_nothing() {
    let (shim, mut outcomes) = (Shim::build(), Outcomes::default());
    let (world, template) = on_disk(&shim, &mut outcomes).await;
    let reader = rusqlite::Connection::open(world.server().data_dir().join("goodpon.db")).unwrap();
    let count = || {
        let count = "SELECT count(*) FROM coupons";
        reader.query_row(count, [], |row| row.get::<_, i64>(0))
    };
    count().unwrap();
    shim.next_fsync_fails("goodpon.db");
    outcomes
        .load(&world.shop, template, "during", || false)
        .await;
    // Either SQLite's sync or ours fails.
    assert_ended(&world, "check the disk");
    world.server().restart();
    outcomes.check(&world).await;
    assert!(count().unwrap() >= i64::try_from(outcomes.issued.len()).unwrap());
    // The log is deleted, and with it all bytes that were there only.
    let _ = world.server().terminate();
    shim.cut_power(world.server(), Loss::All);
    world.server().restart();
    recovers(&world, template, &mut outcomes).await;
    assert_verified(&world);
}

/// Crashes between writing and syncing: that leaves a commit in the system's memory, from which a start answers.
#[tokio::test]
async fn what_a_start_answers_from_outlives_a_power_cut() {
    let (shim, mut outcomes) = (Shim::build(), Outcomes::default());
    let (world, template) = on_disk(&shim, &mut outcomes).await;
    // Each start stores how far its late indexes are whole, and that syncs the log. The start after the crash must have
    // nothing to store, so the commit that it finds is of a draft, which is in no such index.
    world.server().restart();
    let drafts = async || {
        let listed = world.owner.templates(world.merchant).await;
        let listed = listed.ok()["templates"].as_array().unwrap();
        listed.len()
    };
    let before = drafts().await;
    shim.fsync_hangs(true);
    let waits = world
        .owner
        .call(
            "POST",
            &format!("/v1/merchants/{}/coupon-templates", world.merchant),
        )
        .json(Template::default().body())
        .try_send();
    let kill = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.server().kill9();
    };
    let (answered, ()) = tokio::join!(waits, kill);
    assert!(answered.is_err(), "nothing durable, no answer");
    shim.fsync_hangs(false);
    world.server().restart();
    assert_eq!(
        drafts().await,
        before + 1,
        "the crash came before the write"
    );
    shim.cut_power(world.server(), Loss::All);
    world.server().restart();
    assert_eq!(drafts().await, before + 1, "answered and lost");
    outcomes.check(&world).await;
    recovers(&world, template, &mut outcomes).await;
    assert_verified(&world);
}

#[tokio::test]
async fn a_write_that_a_disk_refuses_ends_the_process_unless_it_is_full() {
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    const EROFS: i32 = 30;
    const EDQUOT: i32 = 122;
    let (shim, mut outcomes) = (Shim::build(), Outcomes::default());
    let (world, template) = on_disk(&shim, &mut outcomes).await;
    for words in ["database or disk is full", "disk I/O error"] {
        world.server().expects(words);
    }
    for full in [ENOSPC, EDQUOT] {
        let pid = world.server().pid();
        shim.writes_fail(Some(full));
        let user = format!("full-{full}");
        assert!(!outcomes.issue(&world.shop, template, user.clone()).await);
        // Reading goes on.
        assert_eq!(world.shop.template(template, None).await.status, 200);
        shim.writes_fail(None);
        recovers(&world, template, &mut outcomes).await;
        assert_eq!(world.server().pid(), pid, "the process lives");
        assert!(outcomes.issued.contains(&user));
    }
    for broken in [EIO, EROFS] {
        shim.writes_fail(Some(broken));
        let user = format!("broken-{broken}");
        assert!(!outcomes.issue(&world.shop, template, user).await);
        let status = world.server().wait();
        assert!(!status.success(), "{status}");
        shim.writes_fail(None);
        world.server().restart();
        recovers(&world, template, &mut outcomes).await;
    }
    assert_verified(&world);
}

#[tokio::test]
async fn a_stop_whose_sync_fails_says_so_and_loses_nothing() {
    let (shim, mut outcomes) = (Shim::build(), Outcomes::default());
    let (world, template) = on_disk(&shim, &mut outcomes).await;
    shim.fsync_fails(true);
    world.server().signal_term();
    assert_ended(&world, "the database cannot be written");
    shim.fsync_fails(false);
    world.server().restart();
    outcomes.check(&world).await;
    recovers(&world, template, &mut outcomes).await;
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
    let options = disk.options(48).expect_log("database or disk is full");
    let world = World::with(options).await;
    let pid = world.server().pid();
    let outside = disk.seen_from_outside(pid);
    let template = world.publish(&Template::default()).await;
    let mut outcomes = Outcomes::default();
    for number in 0..50 {
        assert!(
            outcomes
                .issue(&world.shop, template, format!("before-{number}"))
                .await
        );
    }
    let ballast = outside.join("ballast");
    fill(&ballast);
    // Writes for which the log has room already may still succeed.
    let mut refusals = 0;
    for number in 0..20_000 {
        if !outcomes
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
    assert_eq!(world.server().pid(), pid, "the process lives");
    std::fs::remove_file(&ballast).unwrap();
    recovers(&world, template, &mut outcomes).await;
    assert_verified(&world);
}
