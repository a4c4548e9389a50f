//! The end of a process: its readiness before, the requests that it still serves, and the signals that it obeys.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use goodpon_e2e::{Api, Options, Server, World};
use goodpon_waits::eventually;
use serde_json::Value;

/// The longest time that anything here may take.
const DEADLINE: Duration = Duration::from_secs(30);

async fn readiness(server: &Server) -> (u16, Value) {
    let url = format!("http://{}/readyz", server.admin());
    let answer = reqwest::get(url)
        .await
        .expect("an answer of the admin port");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

/// Sends a request over a connection of its own. Returns its status, and whether the answer ends the connection.
async fn asked_anew(server: &Server, api: Api) -> reqwest::Result<(u16, bool)> {
    let url = format!("{}/openapi.json", server.base(api));
    let client = reqwest::Client::builder().timeout(DEADLINE).build()?;
    let answer = client.get(url).send().await?;
    let closes = answer
        .headers()
        .get("connection")
        .is_some_and(|value| value == "close");
    Ok((answer.status().as_u16(), closes))
}

#[tokio::test]
async fn a_drain_keeps_balancers_away_first_and_serves_requests_that_still_come() {
    let world = World::with(Options::default().args(["--drain-secs", "3"])).await;
    let server = world.server();
    assert_eq!(readiness(server).await.0, 200);
    let began = Instant::now();
    server.signal_term();
    eventually("readiness turns 503", async || {
        readiness(server).await.0 == 503
    })
    .await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    for api in [Api::Dashboard, Api::Partner] {
        assert_eq!(
            asked_anew(server, api).await.unwrap(),
            (200, true),
            "{api:?}"
        );
    }
    assert_eq!(server.wait().code(), Some(0));
    let lasted = began.elapsed();
    assert!(lasted >= Duration::from_secs(3), "{lasted:?}");
}

#[tokio::test]
async fn a_second_signal_ends_a_drain_at_once() {
    let world = World::with(Options::default().args(["--drain-secs", "600"])).await;
    let server = world.server();
    server.signal_term();
    eventually("readiness turns 503", async || {
        readiness(server).await.0 == 503
    })
    .await;
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(130));
}

#[tokio::test]
async fn every_signal_that_means_the_end_ends_in_order() {
    for name in ["TERM", "INT"] {
        let world = World::with(Options::default()).await;
        let server = world.server();
        server.signal(name);
        assert_eq!(server.wait().code(), Some(0), "SIG{name}");
        let log = server.log().join("\n");
        assert!(log.contains("\"stopped\""), "SIG{name}: {log}");
    }
}

#[tokio::test]
async fn readiness_shows_the_background_tasks() {
    let world = World::with(Options::default()).await;
    let server = world.server();
    eventually("all tasks have run", async || {
        let (_, body) = readiness(server).await;
        body["tasks"]["outbox"]["secondsSinceLastRun"].is_u64()
    })
    .await;
    let (status, body) = readiness(server).await;
    assert_eq!(status, 200);
    for task in [
        "admin_listener",
        "clean_up",
        "dashboard_listener",
        "discard_coupons",
        "expire_coupons",
        "expire_templates",
        "metrics",
        "outbox",
        "partner_listener",
    ] {
        let shown = &body["tasks"][task];
        assert_eq!(shown["state"], "running", "{task}: {body}");
        assert_eq!(shown["restarts"], 0, "{task}: {body}");
    }
    let url = format!("http://{}/metrics", server.admin());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    for line in [
        "goodpon_task_up{task=\"outbox\"} 1",
        "# HELP goodpon_task_up",
    ] {
        assert!(
            text.lines().any(|one| one.starts_with(line)),
            "{line} in {text}"
        );
    }
}
