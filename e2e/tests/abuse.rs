//! Attacks on a running server, with small numbers: what one client does must not keep the others out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use goodpon_e2e::actors::{Shop, Stranger};
use goodpon_e2e::raw::read_answer;
use goodpon_e2e::template::Template;
use goodpon_e2e::{Api, Options, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

// Slow readers: clients that ask and do not read.

/// No program of ours answers that much of it at once into any buffer.
const LARGE: &str = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n";
const ACCOUNTS: &str = "GET /v1/user-coupons HTTP/1.1\r\nHost: x\r\n\r\n";

/// How long a server may take to end a connection whose client does not read: its 10 s and as much again, since these
/// tests share a machine.
const ENDS_WITHIN: Duration = Duration::from_secs(40);

/// A client with next to no room for what it does not read, which asks so often that the system's room does not do.
async fn slow_reader(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(2048)?;
    let mut stream = socket.connect(address).await?;
    stream.write_all(LARGE.repeat(4).as_bytes()).await?;
    Ok(stream)
}

/// Resident memory of the server, in kB.
fn memory(world: &World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.server().pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// Whether the server has ended the connection: a client that does not read learns it when it writes.
async fn is_ended(stream: &mut TcpStream) -> bool {
    match stream.write_all(b"x").await {
        Ok(()) => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.write_all(b"x").await.is_err()
        }
        Err(_) => true,
    }
}

#[tokio::test]
async fn who_does_not_read_loses_the_connection() {
    let world = World::with(Options::default()).await;
    let address = world.server().addr(Api::Partner);
    let mut silent = slow_reader(address).await.unwrap();
    let mut trickle = slow_reader(address).await.unwrap();
    // One that reads steadily, though slower than we write, gets all of it.
    let mut steady = slow_reader(address).await.unwrap();
    let begun = Instant::now();
    let mut steadily_read = 0;
    let mut buffer = vec![0; 20_000];
    let mut ended = false;
    while begun.elapsed() < ENDS_WITHIN && !ended {
        let _ = tokio::time::timeout(Duration::from_millis(100), trickle.read(&mut [0; 1])).await;
        for _ in 0..5 {
            let read =
                tokio::time::timeout(Duration::from_secs(10), steady.read(&mut buffer)).await;
            steadily_read += read
                .expect("bytes for who reads")
                .expect("an open connection");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        if begun.elapsed() > Duration::from_secs(9) {
            ended = is_ended(&mut silent).await && is_ended(&mut trickle).await;
        }
    }
    assert!(ended, "they stay for ever");
    assert!(steadily_read > 10_000, "{steadily_read}");
    let (_, metrics) = {
        let url = format!("http://{}/metrics", world.server().admin());
        let answer = world.client.http().get(url).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let counted = r#"goodpon_http_connections_cut_total{api="partner",reason="slow_reader"}"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn slow_readers_of_one_address_keep_nobody_out_and_hold_little() {
    let options = Options::default().args([
        "--max-connections",
        "120",
        "--max-connections-per-address",
        "60",
    ]);
    let world = World::with(options).await;
    let address = world.server().addr(Api::Partner);
    let before = memory(&world);
    let mut readers = Vec::new();
    for _ in 0..150 {
        readers.extend(slow_reader(address).await.ok());
    }
    // An address of its own for everybody else: all of 127.0.0.0/8 is this machine.
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(address).await.unwrap();
    other.write_all(ACCOUNTS.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), read_answer(&mut other)).await;
    let answer = answer.expect("an answer for another address");
    assert_eq!(answer.code(), "CLIENT_ID_MISSING", "{}", answer.text);
    let grown = memory(&world).saturating_sub(before);
    // Copied whole for each, the file alone would be 1.5 MB times 60.
    assert!(grown < 40_000, "{grown} kB for 60 slow readers");
    drop(readers);
}

/// Floods of logins and sign-ups.
mod floods {
    use std::time::Duration;

    use goodpon_e2e::world::{PASSWORD, fresh_email};
    use goodpon_e2e::{Answer, Api, Client, Options, World};
    use serde_json::{Value, json};
    use tokio::task::JoinSet;

    /// How many networks attack at a time, in each of two ways.
    const NETWORKS: u8 = 64;

    /// How often the owner logs in meanwhile.
    const LOGINS: usize = 8;

    /// Between two calls of an attacker.
    const PACE: Duration = Duration::from_millis(20);

    /// A call that needs no token, from `address` as the proxy in front tells it.
    async fn call(client: &Client, address: &str, path: &str, body: &Value) -> Answer {
        client
            .call(Api::Dashboard, "POST", path)
            .header("X-Forwarded-For", address)
            .json(body)
            .send()
            .await
    }

    #[tokio::test]
    async fn logins_and_sign_ups_of_many_networks_do_not_keep_the_owner_out() {
        let options = Options::default().env("GOODPON_TRUST_FORWARDED_FOR", "true");
        let world = World::with(options).await;
        let (client, victim) = (&world.client, world.owner.email.clone());
        let right = json!({"email": victim, "password": PASSWORD});
        let login = "/v1/auth/login";
        call(client, "2001:db8:1:2::3", login, &right).await.ok();
        let mut attack = JoinSet::new();
        for number in 0..NETWORKS {
            let wrong = json!({"email": victim, "password": "wrong password"});
            let attacker = client.clone();
            attack.spawn(async move {
                let address = format!("198.51.100.{number}");
                loop {
                    call(&attacker, &address, login, &wrong).await;
                    tokio::time::sleep(PACE).await;
                }
            });
            let attacker = client.clone();
            attack.spawn(async move {
                let address = format!("2001:db8:{number:x}00::1");
                loop {
                    let body = json!({"email": fresh_email(), "password": PASSWORD, "name": "x"});
                    call(&attacker, &address, "/v1/accounts/sign-up", &body).await;
                    tokio::time::sleep(PACE).await;
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        for _ in 0..LOGINS {
            // The same site, another computer.
            call(client, "2001:db8:1:7::8", login, &right).await.ok();
        }
        assert_eq!(
            attack.len(),
            2 * usize::from(NETWORKS),
            "no attacker gave up"
        );
        attack.shutdown().await;
    }
}

// Noisy tenants: one who asks for as much as can be had, and another whose sale goes on.

/// A tenant with many templates, of each of which one user has a coupon.
async fn wide_tenant(world: &World, templates: usize) -> (Stranger, i64, Shop) {
    let tenant = world.stranger().await;
    let created = tenant.create_merchant("큰 상점").await.ok().clone();
    let merchant = created["id"].as_i64().unwrap();
    let shop = goodpon_e2e::world::shop(&world.client, &created);
    let template = Template::default().name(&"가".repeat(255));
    for _ in 0..templates {
        let draft = tenant.create_template(merchant, template.body()).await;
        let id = draft.ok()["id"].as_i64().unwrap();
        tenant.publish(merchant, id).await.ok();
        shop.issue(id, "wide").await.ok();
    }
    (tenant, merchant, shop)
}

/// How many coupons are issued to new users over so many connections within a time.
async fn issued(world: &World, template: i64, round: &str, connections: usize) -> usize {
    let until = Instant::now() + Duration::from_secs(3);
    let issuers = (0..connections).map(|connection| async move {
        let mut count = 0;
        while Instant::now() < until {
            let user = format!("{round}-{connection}-{count}");
            world.shop.issue(template, &user).await.ok();
            count += 1;
        }
        count
    });
    futures::future::join_all(issuers).await.into_iter().sum()
}

/// The widest requests of one tenant, eight at a time, leave another tenant at least half of its sale. They are answered,
/// or refused with 503 and told when to come again.
#[tokio::test(flavor = "multi_thread")]
async fn the_widest_requests_of_one_tenant_leave_another_half_of_its_rate() {
    let world = World::with(Options::default()).await;
    let template = world.publish(&Template::default()).await;
    let (tenant, merchant, shop) = wide_tenant(&world, 300).await;
    issued(&world, template, "warm", 16).await;
    let alone = issued(&world, template, "alone", 16).await;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let is_over = || stop.load(std::sync::atomic::Ordering::Relaxed);
    let noise = (0..8).map(|number| {
        let (tenant, shop, is_over) = (&tenant, &shop, &is_over);
        async move {
            let mut answered = 0;
            while !is_over() {
                let answer = match number % 3 {
                    0 => tenant.templates(merchant).await,
                    1 => tenant.histories(merchant, &[("size", "100")]).await,
                    _ => shop.coupons("wide").await,
                };
                match answer.status {
                    200 => answered += 1,
                    503 => assert!(answer.header("retry-after").is_some(), "{answer}"),
                    _ => panic!("{answer}"),
                }
            }
            answered
        }
    });
    let sale = async {
        let beside = issued(&world, template, "beside", 16).await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        beside
    };
    let (noise, beside) = futures::join!(futures::future::join_all(noise), sale);
    assert!(noise.iter().all(|answered| *answered > 0), "{noise:?}");
    assert!(
        beside * 2 >= alone,
        "{beside} issues beside {noise:?} wide requests, {alone} without"
    );
}
