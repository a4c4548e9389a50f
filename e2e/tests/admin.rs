//! Health, metrics and log lines, and no secret in any of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::program::{goodpon, text};
use goodpon_e2e::raw::exchange;
use goodpon_e2e::world::PASSWORD;
use goodpon_e2e::{Options, Server, Shared, Template, World};
use goodpon_waits::eventually;
use serde_json::Value;

static SHARED: Shared = Shared::new();

async fn admin(world: &World, path: &str) -> (u16, String) {
    let response = world
        .client
        .http()
        .get(format!("http://{}{path}", world.server().admin()))
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn it_lives_and_is_ready() {
    let world = SHARED.world().await;
    assert_eq!(admin(&world, "/livez").await.0, 200);
    assert_eq!(admin(&world, "/readyz").await.0, 200);
    assert!((400..500).contains(&admin(&world, "/nothing").await.0));
    for api in [goodpon_e2e::Api::Dashboard, goodpon_e2e::Api::Partner] {
        let url = format!("{}/metrics", world.server().base(api));
        let status = world.client.http().get(url).send().await.unwrap().status();
        assert!(
            status.is_client_error(),
            "metrics are for the admin port alone: {status}"
        );
    }
}

#[tokio::test]
async fn only_hosts_of_its_own_are_answered() {
    let world = World::with(Options::default().args(["--admin-hosts", "metrics.example"])).await;
    let address = world.server().admin();
    let ask = async |method: &str, host: &str, path: &str| {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        exchange(address, request.as_bytes()).await
    };
    for host in [
        "localhost",
        "127.0.0.1:9090",
        "[::1]",
        "Metrics.Example:9090",
    ] {
        assert_eq!(ask("GET", host, "/livez").await.status, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:9090"] {
        for path in ["/metrics", "/readyz", "/nothing"] {
            let answer = ask("GET", host, path).await;
            assert_eq!(answer.status, 421, "{host}: {}", answer.text);
            assert!(!answer.text.contains("goodpon_"));
        }
    }
    // Neither a body nor a Content-Length: on a kept connection a body would be taken for the next answer.
    let answer = ask("HEAD", "localhost", "/nothing").await;
    assert_eq!(answer.status, 404, "{}", answer.text);
    assert!(answer.text.ends_with("\r\n\r\n"), "{}", answer.text);
}

#[tokio::test]
async fn metrics_show_what_runs_and_name_nobody() {
    let world = World::with(Options::default()).await;
    let template = world.publish(&Template::default().issue_limit(1)).await;
    world.shop.issue(template, "unmistakable-user").await.ok();
    world
        .shop
        .issue(template, "other-user")
        .await
        .refused("COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED");
    world
        .shop
        .call("GET", "/v1/unmistakable-path")
        .send()
        .await
        .refused("NOT_FOUND");
    let (status, text) = admin(&world, "/metrics").await;
    assert_eq!(status, 200);
    let samples: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    let parts = match world.server().rooms() {
        None => ["duration", "issue", "batch", "wait", "queue"],
        Some(_) => ["duration", "issue", "batch", "spare", "queue"],
    };
    for part in parts {
        let is_shown = samples
            .iter()
            .any(|line| line.split(['{', ' ']).next().unwrap().contains(part));
        assert!(is_shown, "nothing about {part}:\n{text}");
    }
    let durations: Vec<_> = samples
        .iter()
        .filter(|line| line.contains("duration") && line.contains("_count"))
        .collect();
    assert!(
        durations.iter().any(
            |line| line.contains("/v1/coupon-templates/{couponTemplateId}/issue")
                && line.contains("200")
        ),
        "by route and status: {durations:?}"
    );
    for line in samples {
        let labels = line
            .split_once('{')
            .map(|(_, rest)| rest)
            .unwrap_or_default();
        for forbidden in [
            "merchant=",
            "merchant_id",
            "user=",
            "user_id",
            "template=",
            "template_id",
            "unmistakable",
        ] {
            assert!(!labels.contains(forbidden), "{line}");
        }
        assert!(!labels.contains(&world.shop.client_id), "{line}");
    }
}

#[tokio::test]
async fn an_issue_is_counted_once_and_its_replay_not_at_all() {
    let world = World::with(Options::default()).await;
    let template = world.publish(&Template::default()).await;
    world.shop.issue(template, "plain").await.ok();
    for _ in 0..3 {
        world
            .shop
            .issue_with_key(template, "keyed", "once")
            .await
            .ok();
    }
    world
        .shop
        .issue_with_key(template, "keyed", "again")
        .await
        .refused("COUPON_ALREADY_ISSUED");
    let (_, text) = admin(&world, "/metrics").await;
    for sample in [
        r#"goodpon_issue_total{outcome="issued"} 2"#,
        r#"goodpon_issue_total{outcome="already_issued"} 1"#,
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample}:\n{text}");
    }
}

#[tokio::test]
async fn the_embedded_store_shows_its_log_and_what_waits_for_its_indexes() {
    let world = World::with(Options::default().embedded()).await;
    let template = world.publish(&Template::default()).await;
    world.shop.issue_with_key(template, "u", "key").await.ok();
    // The size of the log is read ten times a second.
    eventually("the log has a size", || async {
        let (_, text) = admin(&world, "/metrics").await;
        let size = text
            .lines()
            .find_map(|line| line.strip_prefix("goodpon_database_wal_bytes "));
        size.is_some_and(|size| size != "0")
    })
    .await;
    let (_, text) = admin(&world, "/metrics").await;
    for index in ["coupon_holders", "idempotency_keys", "coupon_states"] {
        for (name, value) in [
            ("goodpon_late_entries_waiting", ""),
            ("goodpon_late_entries_stuck", "0"),
            ("goodpon_late_mark_lag", ""),
        ] {
            let sample = format!("{name}{{index=\"{index}\"}} {value}");
            assert!(text.contains(&sample), "{sample}:\n{text}");
        }
    }
    let ours = ["goodpon_writer_", "goodpon_database_", "goodpon_late_"];
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ")
            && ours.iter().any(|prefix| name.starts_with(prefix))
        {
            let name = name.split(' ').next().unwrap();
            assert!(text.contains(&format!("# HELP {name} ")), "{name}:\n{text}");
        }
    }
}

#[tokio::test]
async fn each_request_is_one_line_and_no_line_has_a_secret() {
    let world = World::with(Options::default()).await;
    let template = world.publish(&Template::default()).await;
    let issued = world.shop.issue(template, "u").await;
    issued.ok();
    world
        .anonymous
        .login(&world.owner.email, "a-wrong-password")
        .await
        .refused("PASSWORD_MISMATCH");
    let mut wrong = world.shop.clone();
    wrong.secret = "sk_0123456789abcdef0123456789abcdef".to_owned();
    wrong.coupons("u").await.refused("INVALID_CREDENTIALS");
    world
        .anonymous
        .sign_up("logged@example.com", PASSWORD, "이름")
        .await
        .ok();
    let token = world.server().verification_token("logged@example.com");
    let visit = format!(
        "{}/verify?token={token}",
        world.server().base(goodpon_e2e::Api::Dashboard)
    );
    world.client.http().get(visit).send().await.unwrap();
    world.anonymous.verify(&token).await.ok();
    world.owner.create_secret(world.merchant).await.ok();

    let trace = issued.header("X-Goodpon-Trace-Id").unwrap();
    let lines_of_issue = || -> Vec<Value> {
        let log = world.server().log();
        let lines = log.iter().filter(|line| line.contains(&trace));
        lines
            .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
            .collect()
    };
    eventually("the request is logged", || async {
        !lines_of_issue().is_empty()
    })
    .await;
    let lines = lines_of_issue();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = lines[0].to_string();
    assert!(
        line.contains("/v1/coupon-templates/{couponTemplateId}/issue"),
        "{line}"
    );
    assert!(
        line.contains("200") && line.contains("duration") && line.contains("merchant"),
        "{line}"
    );

    assert!(world.server().terminate().success());
    let access_token = world.owner.token.clone().unwrap();
    let secrets = [
        PASSWORD,
        "a-wrong-password",
        world.shop.secret.as_str(),
        wrong.secret.as_str(),
        token.as_str(),
        access_token.as_str(),
    ];
    for line in world.server().log() {
        for secret in secrets {
            assert!(!line.contains(secret), "{secret} in: {line}");
        }
        assert!(
            serde_json::from_str::<Value>(&line).is_ok_and(|line| line.is_object()),
            "no JSON object: {line}"
        );
    }
}

#[tokio::test]
async fn the_debug_level_shows_no_secret_either() {
    let world = World::with(Options::default().args(["--log-level", "trace"])).await;
    world.shop.coupons("u").await.ok();
    world.owner.create_secret(world.merchant).await.ok();
    assert!(world.server().terminate().success());
    let access_token = world.owner.token.clone().unwrap();
    for line in world.server().log() {
        for secret in [PASSWORD, world.shop.secret.as_str(), access_token.as_str()] {
            assert!(!line.contains(secret), "{secret} in: {line}");
        }
    }
}

#[test]
fn healthcheck_says_whether_it_serves() {
    let server = Server::start(Options::default());
    let admin = server.admin().to_string();
    let check = || goodpon(&["healthcheck", "--admin-addr", &admin], &[]);
    assert!(check().status.success(), "{}", text(&check()));
    server.kill9();
    assert!(!check().status.success());
}

#[test]
fn healthcheck_finds_an_address_that_only_a_flag_named() {
    let server = Server::start(Options::default());
    let check = || server.run_cli(&["healthcheck"]);
    assert!(check().status.success(), "{}", text(&check()));
    server.kill9();
    let refused = check();
    assert!(!refused.status.success());
    assert!(
        text(&refused).contains(&server.admin().to_string()),
        "{}",
        text(&refused)
    );
    server.restart();
    assert!(check().status.success(), "{}", text(&check()));
}
