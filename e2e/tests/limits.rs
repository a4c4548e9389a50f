//! Limits and manners of the servers: rates, connections, CORS, caching, shutdown (contract §1).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use futures::future::join_all;
use goodpon_e2e::raw::read_answer;
use goodpon_e2e::world::{PASSWORD, fresh_email};
use goodpon_e2e::{Answer, Api, Options, Shared, Template, World};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

static SHARED: Shared = Shared::new();

#[track_caller]
fn assert_limited(answers: &[Answer], allowed: usize) {
    let limited: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert_eq!(answers.len() - limited.len(), allowed, "{answers:?}");
    for answer in limited {
        answer.refused("TOO_MANY_REQUESTS");
    }
}

#[tokio::test]
async fn sign_up_is_limited_by_address() {
    let world = World::with(Options::default().args(["--rate-sign-up-per-min", "4"])).await;
    let emails: Vec<String> = (0..6).map(|_| fresh_email()).collect();
    // The owner's own sign-up has taken one.
    let answers = join_all(
        emails
            .iter()
            .map(|email| world.anonymous.sign_up(email, PASSWORD, "이름")),
    )
    .await;
    assert_limited(&answers, 3);
    world
        .anonymous
        .resend(&world.owner.email)
        .await
        .refused("ACCOUNT_ALREADY_VERIFIED");
}

#[tokio::test]
async fn verify_and_resend_are_limited() {
    let options = ["--rate-verify-per-min", "3", "--rate-resend-per-min", "3"];
    let world = World::with(Options::default().args(options)).await;
    let email = world.owner.email.clone();
    assert_limited(
        &join_all((0..4).map(|_| world.anonymous.verify("x"))).await,
        2,
    );
    assert_limited(
        &join_all((0..5).map(|_| world.anonymous.resend(&email))).await,
        3,
    );
    world.owner.me().await.ok();
}

/// Logs in from `address`.
async fn login(world: &World, address: &str, email: &str, password: &str) -> Answer {
    let body = serde_json::json!({"email": email, "password": password});
    world
        .client
        .call(Api::Dashboard, "POST", "/v1/auth/login")
        .header("X-Forwarded-For", address)
        .json(&body)
        .send()
        .await
}

const WRONG: &str = "wrong password";

#[tokio::test]
async fn failed_logins_of_a_stranger_do_not_lock_the_owner_out() {
    let options = Options::default()
        .args(["--rate-login-per-min", "10"])
        .env("GOODPON_TRUST_FORWARDED_FOR", "true")
        // On a busy machine some of the storm is answered 503.
        .expect_log("the time limit for requests was reached");
    let world = World::with(options).await;
    let (email, home) = (world.owner.email.as_str(), "192.0.2.1");
    login(&world, home, email, PASSWORD).await.ok();
    // One address: ten failures, in whatever case the e-mail is written.
    let upper = email.to_uppercase();
    let one = |number: usize| {
        let email = if number.is_multiple_of(2) {
            email
        } else {
            &upper
        };
        login(&world, "198.51.100.1", email, WRONG)
    };
    assert_limited(&join_all((0..12).map(one)).await, 10);
    login(&world, "198.51.100.2", email, PASSWORD).await.ok();
    // That success cleared the e-mail's own bound of 100 failures from all addresses.
    let addresses: Vec<String> = (0..11)
        .map(|number| format!("203.0.113.{number}"))
        .collect();
    let many =
        join_all((0..110).map(|number| login(&world, &addresses[number / 10], email, WRONG)));
    assert_limited(&many.await, 100);
    login(&world, "203.0.113.99", email, PASSWORD)
        .await
        .refused("TOO_MANY_REQUESTS");
    login(&world, home, email, PASSWORD).await.ok();
    login(&world, "203.0.113.99", email, PASSWORD).await.ok();
}

#[tokio::test]
async fn a_success_clears_the_failures_before_it() {
    let world = World::with(Options::default().args(["--rate-login-per-min", "3"])).await;
    let email = world.owner.email.clone();
    for _ in 0..3 {
        for _ in 0..2 {
            world
                .anonymous
                .login(&email, WRONG)
                .await
                .refused("PASSWORD_MISMATCH");
        }
        world.anonymous.login(&email, PASSWORD).await.ok();
    }
}

#[tokio::test]
async fn addresses_and_e_mails_are_counted_apart() {
    let options = Options::default()
        .args(["--rate-resend-per-min", "3"])
        .env("GOODPON_TRUST_FORWARDED_FOR", "true");
    let world = World::with(options).await;
    let resend = |address: String, email: String| {
        let body = serde_json::json!({"email": email});
        world
            .client
            .call(Api::Dashboard, "POST", "/v1/auth/verify/resend")
            .header("X-Forwarded-For", address)
            .json(&body)
            .send()
    };
    // One address, many e-mails: stopped by the address.
    let one = |number: usize| {
        resend(
            "10.9.9.9, 10.0.0.1".to_owned(),
            format!("nobody{number}@example.com"),
        )
    };
    assert_limited(&join_all((0..5).map(one)).await, 3);
    // Many addresses, one e-mail: stopped by the e-mail, in whatever case.
    let many = |number: usize| {
        let email = if number < 3 {
            "victim@example.com"
        } else {
            "VICTIM@example.com"
        };
        resend(format!("10.1.0.{number}"), email.to_owned())
    };
    assert_limited(&join_all((0..5).map(many)).await, 3);
    resend("10.2.0.1".to_owned(), "else@example.com".to_owned())
        .await
        .refused("ACCOUNT_NOT_FOUND");
}

#[tokio::test]
async fn the_default_limits_are_on() {
    let world = World::with(Options::default().with_rate_limits()).await;
    let answers = join_all((0..8).map(|_| world.anonymous.resend(&world.owner.email))).await;
    assert_limited(&answers, 5);
    let answers = join_all((0..50).map(|_| world.shop.coupons("u"))).await;
    assert_limited(&answers, 50);
    let failing = join_all((0..70).map(|_| wrong_secret(&world, &world.shop.client_id))).await;
    let refused = failing.iter().filter(|answer| answer.status == 401).count();
    assert!((60..=62).contains(&refused), "60 a minute: {refused}");
    world.shop.coupons("u").await.ok();
}

/// Sends a partner request with an unknown secret of the right form.
async fn wrong_secret(world: &World, client_id: &str) -> Answer {
    world
        .client
        .call(Api::Partner, "GET", "/v1/user-coupons?userId=u")
        .header("X-Goodpon-Client-Id", client_id)
        .header("X-Goodpon-Client-Secret", format!("sk_{}", "0".repeat(32)))
        .send()
        .await
}

#[tokio::test]
async fn partners_are_limited_each_for_itself() {
    let world = World::with(Options::default().args(["--rate-partner-per-sec", "5"])).await;
    let (_, other) = world.other_merchant().await;
    let answers = join_all((0..60).map(|_| world.shop.coupons("u"))).await;
    let limited: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert!(!limited.is_empty() && limited.len() < 60);
    for answer in limited {
        answer.refused("TOO_MANY_REQUESTS");
    }
    other.coupons("u").await.ok();
}

#[tokio::test]
async fn wrong_secrets_use_up_nothing_of_the_shop_whose_client_id_they_name() {
    let world = World::with(Options::default().args(["--rate-partner-per-sec", "2"])).await;
    for _ in 0..4 {
        let wrong = join_all((0..10).map(|_| wrong_secret(&world, &world.shop.client_id))).await;
        for answer in &wrong {
            answer.refused("INVALID_CREDENTIALS");
        }
        world.shop.coupons("u").await.ok();
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
}

#[tokio::test]
async fn an_address_whose_credentials_fail_is_refused_and_its_shops_pass() {
    let world = World::with(Options::default().args(["--rate-auth-failures-per-min", "3"])).await;
    let (_, unseen) = world.other_merchant().await;
    world.shop.coupons("u").await.ok();
    let unknown = |number: usize| {
        let client_id = format!("ck_{number:032x}");
        let world = &world;
        async move { wrong_secret(world, &client_id).await }
    };
    assert_limited(&join_all((0..10).map(unknown)).await, 3);
    wrong_secret(&world, &world.shop.client_id)
        .await
        .refused("TOO_MANY_REQUESTS");
    for _ in 0..3 {
        world.shop.coupons("u").await.ok();
    }
    // The server has no credentials of this shop in memory yet.
    unseen.coupons("u").await.ok();
    // A new secret, too.
    let created = world.owner.create_secret(world.merchant).await.ok().clone();
    let secret = created["secret"].as_str().unwrap();
    let answer = world
        .client
        .call(Api::Partner, "GET", "/v1/user-coupons?userId=u")
        .header("X-Goodpon-Client-Id", &world.shop.client_id)
        .header("X-Goodpon-Client-Secret", secret)
        .send()
        .await;
    answer.ok();
}

#[tokio::test]
async fn the_calls_of_an_account_are_limited() {
    let world = World::with(Options::default().args(["--rate-dashboard-per-min", "20"])).await;
    let answers = join_all((0..30).map(|_| world.owner.merchants())).await;
    let limited = answers.iter().filter(|answer| answer.status == 429);
    assert!(limited.count() >= 8, "{answers:?}");
    world.fresh_account().await.me().await.ok();
}

#[tokio::test]
async fn client_ids_of_no_form_cost_no_memory() {
    let world = World::with(Options::default().args(["--rate-partner-per-sec", "10"])).await;
    let ask = |number: usize| {
        let client_id = format!("{number}{}", "x".repeat(28_000));
        let world = &world;
        async move { wrong_secret(world, &client_id).await }
    };
    let round = async |first: usize| {
        for from in (first..first + 2_000).step_by(50) {
            for answer in join_all((from..from + 50).map(ask)).await {
                answer.refused("INVALID_CREDENTIALS");
            }
        }
    };
    round(0).await;
    let before = goodpon_e2e::abuse::resident_kib(world.server().pid());
    round(10_000).await;
    let grown = goodpon_e2e::abuse::resident_kib(world.server().pid()).saturating_sub(before);
    assert!(grown < 20_000, "{grown} KiB for 56 MB of client ids");
}

/// Opens a keep-alive connection on which one request was answered.
async fn busy_connection(world: &World) -> TcpStream {
    let mut stream = TcpStream::connect(world.server().addr(Api::Dashboard))
        .await
        .unwrap();
    assert_eq!(ask(&mut stream).await, 401);
    stream
}

async fn ask(stream: &mut TcpStream) -> u16 {
    let _ = stream
        .write_all(b"GET /v1/accounts HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    read_answer(stream).await.status
}

#[tokio::test]
async fn connections_are_limited() {
    let world = World::with(Options::default().args(["--max-connections", "4"])).await;
    // The suite's own client holds one or two; with these the port is full.
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(busy_connection(&world).await);
    }
    let mut waiting: Vec<_> = Vec::new();
    for _ in 0..8 {
        waiting.push(
            TcpStream::connect(world.server().addr(Api::Dashboard))
                .await
                .unwrap(),
        );
    }
    let mut answered = 0;
    for stream in &mut waiting {
        let early = tokio::time::timeout(Duration::from_millis(200), ask(stream)).await;
        answered += usize::from(matches!(early, Ok(401)));
    }
    assert!(
        answered <= 2,
        "{answered} of 8 connections beyond the limit were served"
    );
    drop((held, waiting));
    assert_eq!(
        ask(&mut busy_connection(&world).await).await,
        401,
        "served again once there is room"
    );
}

const ORIGIN: &str = "https://console.example.com";

async fn preflight(
    world: &World,
    api: Api,
    path: &str,
    origin: &str,
    method: &str,
) -> reqwest::Response {
    let url = format!("{}{path}", world.server().base(api));
    let request = world
        .client
        .http()
        .request(reqwest::Method::OPTIONS, url)
        .header("Origin", origin);
    let request = request.header("Access-Control-Request-Method", method);
    request
        .header(
            "Access-Control-Request-Headers",
            "authorization, x-anything",
        )
        .send()
        .await
        .unwrap()
}

fn header(response: &reqwest::Response, name: &str) -> String {
    response
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap().to_ascii_lowercase())
        .unwrap_or_default()
}

#[tokio::test]
async fn browsers_of_configured_origins_may_call_the_dashboard() {
    let world = World::with(Options::default().args(["--cors-origins", ORIGIN])).await;
    for (path, method) in [
        ("/v1/merchants", "POST"),
        ("/v1/auth/login", "POST"),
        ("/v1/merchants/1/members/1", "DELETE"),
    ] {
        let response = preflight(&world, Api::Dashboard, path, ORIGIN, method).await;
        assert!(response.status().is_success(), "a preflight needs no token");
        assert_eq!(header(&response, "access-control-allow-origin"), ORIGIN);
        assert_eq!(
            header(&response, "access-control-allow-credentials"),
            "true"
        );
        let methods = header(&response, "access-control-allow-methods");
        for allowed in ["get", "post", "put", "delete", "options"] {
            assert!(methods.contains(allowed), "{methods}");
        }
        let headers = header(&response, "access-control-allow-headers");
        assert!(
            headers.contains("x-anything") && headers.contains("authorization"),
            "{headers}"
        );
    }
    let foreign = preflight(
        &world,
        Api::Dashboard,
        "/v1/merchants",
        "https://evil.example.com",
        "GET",
    )
    .await;
    assert_eq!(header(&foreign, "access-control-allow-origin"), "");

    let answer = world
        .owner
        .call("GET", "/v1/merchants")
        .header("Origin", ORIGIN)
        .send()
        .await;
    answer.ok();
    assert_eq!(
        answer.header("access-control-allow-origin").as_deref(),
        Some(ORIGIN)
    );
    assert_eq!(
        answer.header("access-control-allow-credentials").as_deref(),
        Some("true")
    );
    let exposed = answer
        .header("access-control-expose-headers")
        .unwrap_or_default()
        .to_ascii_lowercase();
    assert!(exposed.contains("x-goodpon-trace-id"), "{exposed}");
    let refused = world
        .client
        .call(Api::Dashboard, "GET", "/v1/merchants")
        .header("Origin", ORIGIN)
        .send()
        .await;
    refused.refused("UNAUTHORIZED");
    assert_eq!(
        refused.header("access-control-allow-origin").as_deref(),
        Some(ORIGIN),
        "errors can be read too"
    );
}

#[tokio::test]
async fn without_origins_and_at_the_partner_port_there_is_no_cors() {
    let world = World::with(Options::default().args(["--cors-origins", ORIGIN])).await;
    let response = preflight(&world, Api::Partner, "/v1/user-coupons", ORIGIN, "GET").await;
    assert_eq!(header(&response, "access-control-allow-origin"), "");
    let answer = world
        .shop
        .call("GET", "/v1/user-coupons?userId=u")
        .header("Origin", ORIGIN)
        .send()
        .await;
    assert!(answer.header("access-control-allow-origin").is_none());
    let plain = SHARED.world().await;
    let response = preflight(&plain, Api::Dashboard, "/v1/merchants", ORIGIN, "GET").await;
    assert_eq!(header(&response, "access-control-allow-origin"), "");
}

#[tokio::test]
async fn a_shutdown_finishes_what_runs() {
    let world = World::with(Options::default()).await;
    let template = world.publish(&Template::default()).await;
    let database =
        rusqlite::Connection::open(world.server().data_dir().join("goodpon.db")).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Two with one key: that one of them is refused, or waits, proves that the other has begun.
    let send = || {
        let shop = world.shop.clone();
        tokio::spawn(async move { shop.issue_with_key(template, "u", "key").await })
    };
    let mut both = futures::future::select(send(), send());
    let early = tokio::time::timeout(Duration::from_secs(3), &mut both).await;
    world.server().signal_term();
    let address = world.server().addr(Api::Partner);
    let mut refuses = false;
    for _ in 0..100 {
        refuses = refuses || TcpStream::connect(address).await.is_err();
        if refuses {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    database.execute_batch("ROLLBACK").unwrap();
    drop(database);
    assert!(
        refuses,
        "what is new is refused while what runs is finished"
    );
    let (first, other) = match early {
        Ok(done) => done,
        Err(_) => both.await,
    }
    .factor_first();
    let answers = [first.unwrap(), other.await.unwrap()];
    let succeeded = answers
        .iter()
        .filter(|answer| answer.status == 200 && !answer.replayed())
        .count();
    assert_eq!(succeeded, 1, "{answers:?}");
    let status = world.server().wait();
    assert_eq!(status.code(), Some(0), "{}", world.server().last_lines());
    world.server().restart();
    assert_eq!(world.ledger(&[]).await.len(), 1);
}

#[tokio::test]
async fn an_idle_server_stops_at_once_with_open_connections() {
    let world = World::with(Options::default()).await;
    let _idle = busy_connection(&world).await;
    world.shop.coupons("u").await.ok();
    assert_eq!(world.server().terminate().code(), Some(0));
}
