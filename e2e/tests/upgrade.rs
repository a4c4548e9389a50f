//! The program of the release before, beside this one and in its place again: nothing stops, and each understands the
//! other's records (docs/upgrades.md).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use goodpon_e2e::Template;
use goodpon_e2e::actors::{Account, Anonymous, Owner, Shop};
use goodpon_e2e::backend::Rooms;
use goodpon_e2e::client::Client;
use goodpon_e2e::program::{binary, binary_before};
use goodpon_e2e::server::{Options, Server};
use goodpon_e2e::world::{PASSWORD, World, fresh_email};
use goodpon_waits::eventually;
use serde_json::Value;

/// Returns the same people as clients of another server.
struct Side {
    server: Arc<Server>,
    anonymous: Anonymous,
    owner: Owner,
    shop: Shop,
}

impl Side {
    fn of(world: &World, server: &Arc<Server>) -> Self {
        let client = Client::new(server);
        Self {
            server: Arc::clone(server),
            anonymous: Anonymous {
                client: client.clone(),
            },
            owner: Owner(Account {
                client: client.clone(),
                ..world.owner.0.clone()
            }),
            shop: Shop {
                client,
                ..world.shop.clone()
            },
        }
    }

    async fn is_ready(&self) -> bool {
        let url = format!("http://{}/readyz", self.server.admin());
        let answer = self.shop.client.http().get(url).send().await.unwrap();
        let reply: Value = answer.json().await.unwrap();
        reply["status"] == "ok"
    }

    /// Says that its issuer made coupons of records.
    async fn written(&self) -> bool {
        let url = format!("http://{}/metrics", self.server.admin());
        let answer = self.shop.client.http().get(url).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let is_it =
            |line: &&str| line.starts_with("goodpon_issuer_records_total{outcome=\"written\"}");
        let line = text.lines().find(is_it);
        line.is_some_and(|line| !line.ends_with(" 0"))
    }
}

const SECRET: (&str, &str) = ("GOODPON_JWT_SECRET", "thirty-two bytes and some more of it");

fn options(rooms: &Arc<Rooms>) -> Options {
    Options::default().rooms(rooms).env(SECRET.0, SECRET.1)
}

/// Asserts that each side knows the accounts and the tokens of the other.
async fn logs_in_on_both(sides: [&Side; 2]) {
    for (here, there) in [(0, 1), (1, 0)].map(|(here, there)| (sides[here], sides[there])) {
        let email = fresh_email();
        let made = here.anonymous.sign_up(&email, PASSWORD, "새 계정").await;
        assert_eq!(made.status, 200, "{made}");
        let token = here.server.verification_token(&email);
        let verified = there.anonymous.verify(&token).await;
        assert_eq!(verified.status, 200, "{verified}");
        for (gives, takes) in [(here, there), (there, here), (here, here), (there, there)] {
            let login = gives.anonymous.login(&email, PASSWORD).await;
            let token = login.ok()["accessToken"].as_str().map(str::to_owned);
            let account = Account {
                client: takes.shop.client.clone(),
                token,
                ..takes.owner.0.clone()
            };
            assert_eq!(account.me().await.ok()["email"], *email);
        }
    }
}

/// Has more users than places ask both sides at once: all places are given out, each once.
async fn sells_out_through_both(sides: [&Side; 2], template: i64, places: usize) {
    let issues = (0..places + 20).map(|number| {
        let user = format!("user-{number}");
        let side = sides[number % 2];
        async move {
            eventually("an answer that is no 503", || async {
                let answer = side.shop.issue(template, &user).await;
                answer.status != 503
            })
            .await;
            // The other side gives the same answer to the same request.
            let other = sides[(number + 1) % 2];
            let again = other.shop.issue(template, &user).await;
            again.code().unwrap_or("200").to_owned()
        }
    });
    let outcomes = join_all(issues).await;
    let count = |code: &str| outcomes.iter().filter(|one| *one == code).count();
    assert_eq!(count("COUPON_ALREADY_ISSUED"), places, "{outcomes:?}");
    assert_eq!(count("COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED"), 20);
}

/// Waits until both issuers write: one that joins gets partitions within seconds, until then the other writes all.
async fn both_issuers_write(sides: [&Side; 2], template: i64) {
    let number = AtomicU32::new(0);
    eventually("both issuers write", || async {
        let user = format!("written-{}", number.fetch_add(1, Ordering::Relaxed));
        sides[0].shop.issue(template, &user).await.ok();
        sides[0].written().await && sides[1].written().await
    })
    .await;
}

/// Sends keys, lists, redemptions and cancellations through either side.
async fn serves_through_both(sides: [&Side; 2], template: i64, name: &str) {
    for (here, there) in [(0, 1), (1, 0)] {
        let user = format!("{name}-{here}");
        let (here, there) = (sides[here], sides[there]);
        let issued = here.shop.issue_with_key(template, &user, &user).await;
        assert_eq!(issued.status, 200, "{issued}");
        let replayed = there.shop.issue_with_key(template, &user, &user).await;
        assert!(replayed.replayed() && replayed.status == 200, "{replayed}");
        let coupon = there.shop.coupon_of(template, &user).await;
        assert_eq!(here.shop.coupon_of(template, &user).await, coupon);
        let redeemed = here
            .shop
            .redeem_with_key(&coupon, &user, 5_000, "order", &user)
            .await;
        assert_eq!(redeemed.status, 200, "{redeemed}");
        let replayed = there
            .shop
            .redeem_with_key(&coupon, &user, 5_000, "order", &user)
            .await;
        assert!(replayed.replayed(), "{replayed}");
        assert_eq!(replayed.json, redeemed.json);
        let cancelled = there.shop.cancel(&coupon, "order", "변심").await;
        assert_eq!(cancelled.status, 200, "{cancelled}");
        let anew = here.shop.redeem(&coupon, &user, 5_000, "order 2").await;
        assert_eq!(anew.status, 200, "{anew}");
    }
}

fn verified_clean(server: &Server) {
    let verify = server.run_cli(&["verify"]);
    assert!(
        verify.status.success(),
        "{}",
        String::from_utf8_lossy(&verify.stdout)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_before_serves_on_beside_this_one() {
    let before = binary_before();
    let rooms = Arc::new(Rooms::make_by(&before));
    let old = Arc::new(Server::start(options(&rooms).program(&before)));
    let world = World::on(&old).await;
    let first = world.publish(&Template::default().issue_limit(40)).await;
    world.shop.issued(first, "early").await;
    // The order is: migrate, then the processes of the new program, then those of the old one end.
    rooms.migrate(&binary());
    let new = Arc::new(Server::start(options(&rooms)));
    let sides = [&Side::of(&world, &old), &Side::of(&world, &new)];
    for side in sides {
        eventually("it is ready", || side.is_ready()).await;
    }
    logs_in_on_both(sides).await;
    let draft = Template::default().issue_limit(40);
    let made = sides[1].owner.create_template(world.merchant, draft.body());
    let second = made.await.ok()["id"].as_i64().unwrap();
    let published = sides[0].owner.publish(world.merchant, second).await;
    assert_eq!(published.status, 200, "{published}");
    // One place of the first template is taken already.
    sells_out_through_both(sides, first, 39).await;
    sells_out_through_both(sides, second, 40).await;
    let open = world.publish(&Template::default()).await;
    serves_through_both(sides, open, "beside").await;
    both_issuers_write(sides, open).await;
    for side in sides {
        let [mine, others] =
            sides.map(|side| side.owner.histories(world.merchant, &[("size", "100")]));
        assert_eq!(mine.await.json, others.await.json);
        assert!(side.is_ready().await);
    }
    verified_clean(&old);
    verified_clean(&new);
    // Back: the new program ends, and the old one, which migrates as always, is alone again.
    assert!(new.terminate().success());
    rooms.migrate(&before);
    old.restart();
    let sides = [sides[0]; 2];
    logs_in_on_both(sides).await;
    serves_through_both(sides, open, "back").await;
    assert!(old.terminate().success());
    // And forward again.
    new.restart();
    let side = Side::of(&world, &new);
    serves_through_both([&side; 2], open, "forth").await;
    verified_clean(&new);
    let parked = new.run_cli(&["parked", "list", "--json"]);
    assert_eq!(String::from_utf8_lossy(&parked.stdout).trim(), "[]");
}

#[tokio::test]
async fn a_data_folder_goes_to_this_program_and_back() {
    let before = binary_before();
    let old = Options::default()
        .program(&before)
        .embedded()
        .env(SECRET.0, SECRET.1);
    let old = Arc::new(Server::start(old));
    let world = World::on(&old).await;
    let template = world.publish(&Template::default()).await;
    let side = Side::of(&world, &old);
    serves_through_both([&side; 2], template, "before").await;
    assert!(old.terminate().success());
    let folder = old.data_dir();
    for (round, program) in [binary(), before.clone(), binary()].iter().enumerate() {
        let options = Options::default()
            .program(program)
            .data_dir(folder)
            .env(SECRET.0, SECRET.1);
        let server = Arc::new(Server::start(options));
        let side = Side::of(&world, &server);
        assert!(side.is_ready().await);
        logs_in_on_both([&side; 2]).await;
        serves_through_both([&side; 2], template, &format!("round-{round}")).await;
        match round {
            0 => verified_clean(&server),
            // Redemptions by the program before lack their amounts.
            2 => {
                let verify = server.run_cli(&["verify"]);
                let reply = String::from_utf8_lossy(&verify.stdout);
                let differences = reply.lines().filter(|line| line.contains(": expected "));
                let others = differences.filter(|line| !line.contains(" amounts: "));
                assert_eq!(others.collect::<Vec<_>>(), [""; 0]);
            }
            _ => {}
        }
        assert!(server.terminate().success());
    }
}
