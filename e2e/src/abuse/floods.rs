//! Floods of logins and sign-ups.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Size;
use crate::world::{PASSWORD, fresh_email};
use crate::{Answer, Api, Client, Options, World};

/// The pause between two calls of one network, per network that attacks: with any number of networks they send some 6,000
/// calls a second together.
const PACE: Duration = Duration::from_micros(300);

/// Sends a call that needs no token, with `address` as the proxy in front would name it.
async fn call(client: &Client, address: &str, path: &str, body: &Value) -> Answer {
    client
        .call(Api::Dashboard, "POST", path)
        .header("X-Forwarded-For", address)
        .json(body)
        .send()
        .await
}

/// Has the owner log in while many networks log in as the owner with a wrong password, and others sign up.
///
/// # Panics
/// The owner is refused.
pub async fn logins_and_sign_ups(size: Size) {
    let options = Options::default()
        .env("GOODPON_TRUST_FORWARDED_FOR", "true")
        .expect_log("too many passwords wait to be hashed");
    let world = World::with(options).await;
    let (client, victim) = (&world.client, world.owner.email.clone());
    let right = json!({"email": victim, "password": PASSWORD});
    let login = "/v1/auth/login";
    call(client, "2001:db8:1:2::3", login, &right).await.ok();
    let pace = PACE * u32::from(size.networks);
    let mut attack = JoinSet::new();
    for number in 0..size.networks {
        let wrong = json!({"email": victim, "password": "wrong password"});
        let attacker = client.clone();
        attack.spawn(async move {
            let address = format!("198.18.{}.{}", number >> 8, number & 255);
            loop {
                call(&attacker, &address, login, &wrong).await;
                tokio::time::sleep(pace).await;
            }
        });
        let attacker = client.clone();
        attack.spawn(async move {
            let address = format!("2001:db8:{:x}::1", 0x1000 + number);
            loop {
                let body = json!({"email": fresh_email(), "password": PASSWORD, "name": "x"});
                call(&attacker, &address, "/v1/accounts/sign-up", &body).await;
                tokio::time::sleep(pace).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..size.logins {
        // The same site, another computer.
        call(client, "2001:db8:1:7::8", login, &right).await.ok();
    }
    let attackers = 2 * usize::from(size.networks);
    assert_eq!(attack.len(), attackers, "no attacker gave up");
    attack.shutdown().await;
}
