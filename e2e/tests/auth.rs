//! Login and bearer tokens of the dashboard, credentials of the partner API (contract §2 and §3).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::time::{SystemTime, UNIX_EPOCH};

use goodpon_e2e::expect::{exact_keys, is_lower_hex};
use goodpon_e2e::world::PASSWORD;
use goodpon_e2e::{Api, Options, Shared, Template, World};
use goodpon_waits::eventually;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

/// Signing secret given to the server where a test signs tokens of its own.
const SECRET: &str = "a signing secret of at least 32 bytes, for tests";

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn sign(algorithm: Algorithm, claims: &Value, secret: &str) -> String {
    jsonwebtoken::encode(
        &Header::new(algorithm),
        claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap()
}

#[tokio::test]
async fn login_gives_a_token_for_24_hours() {
    let world = World::with(Options::default().env("GOODPON_JWT_SECRET", SECRET)).await;
    let answer = world
        .anonymous
        .login(&world.owner.email.to_uppercase(), PASSWORD)
        .await;
    let data = answer.no_store().ok();
    exact_keys(data, &["id", "email", "name", "verified", "accessToken"]);
    assert_eq!(
        (&data["id"], &data["verified"]),
        (&json!(world.owner.id), &json!(true))
    );
    assert_eq!(
        data["email"], world.owner.email,
        "shown as typed at sign-up"
    );
    let mut rules = Validation::new(Algorithm::HS256);
    rules.set_required_spec_claims(&["sub", "exp"]);
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    let token =
        jsonwebtoken::decode::<Value>(data["accessToken"].as_str().unwrap(), &key, &rules).unwrap();
    assert_eq!(
        token.claims["sub"].as_str().map(str::to_owned),
        Some(world.owner.id.to_string())
    );
    let (issued, expires) = (
        token.claims["iat"].as_u64().unwrap(),
        token.claims["exp"].as_u64().unwrap(),
    );
    assert_eq!(expires - issued, 24 * 60 * 60);
    assert_eq!(token.header.typ.as_deref(), Some("at+jwt"));
    let generation = token.claims["gen"].as_str().unwrap();
    assert!(is_lower_hex(generation, 16), "{generation}");
}

#[tokio::test]
async fn login_refuses() {
    let world = SHARED.world().await;
    world
        .anonymous
        .login("nobody@example.com", PASSWORD)
        .await
        .refused("ACCOUNT_NOT_FOUND");
    for wrong in [
        "wrong password",
        "",
        &PASSWORD.to_uppercase(),
        &format!("{PASSWORD} "),
    ] {
        world
            .anonymous
            .login(&world.owner.email, wrong)
            .await
            .refused("PASSWORD_MISMATCH");
    }
    world
        .anonymous
        .post("/v1/auth/login", &json!({}))
        .await
        .bad_fields(&["email", "password"]);
    let mistyped = json!({"email": false, "password": {}});
    world
        .anonymous
        .post("/v1/auth/login", &mistyped)
        .await
        .bad_fields(&["email", "password"]);
}

#[tokio::test]
async fn only_our_own_living_tokens_pass() {
    let world = World::with(Options::default().env("GOODPON_JWT_SECRET", SECRET)).await;
    let claims = |sub: &str, iat: u64, exp: u64| json!({"sub": sub, "iat": iat, "exp": exp});
    let (me, day) = (world.owner.id.to_string(), 24 * 60 * 60);
    let good = sign(Algorithm::HS256, &claims(&me, now(), now() + day), SECRET);
    let mut account = world.owner.0.clone();
    account.token = Some(good.clone());
    account.me().await.ok();

    let unsigned = {
        let head = good.split('.').collect::<Vec<_>>();
        // {"alg":"none","typ":"JWT"}
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", head[1])
    };
    let bad = [
        (
            "expired",
            sign(
                Algorithm::HS256,
                &claims(&me, now() - 2 * day, now() - day),
                SECRET,
            ),
        ),
        (
            "expired this hour",
            sign(
                Algorithm::HS256,
                &claims(&me, now() - day - 3600, now() - 3600),
                SECRET,
            ),
        ),
        (
            "foreign",
            sign(
                Algorithm::HS256,
                &claims(&me, now(), now() + day),
                "another secret of 32 bytes, or more!",
            ),
        ),
        (
            "other algorithm",
            sign(Algorithm::HS512, &claims(&me, now(), now() + day), SECRET),
        ),
        ("no algorithm", unsigned),
        (
            "no account",
            sign(
                Algorithm::HS256,
                &claims("999999999", now(), now() + day),
                SECRET,
            ),
        ),
        (
            "no number",
            sign(Algorithm::HS256, &claims("me", now(), now() + day), SECRET),
        ),
        (
            "no expiry",
            sign(Algorithm::HS256, &json!({"sub": me}), SECRET),
        ),
        ("older than its account, and without generation", {
            let before = now() - 3600;
            sign(Algorithm::HS256, &claims(&me, before, now() + day), SECRET)
        }),
        ("another generation", {
            let mut claims = claims(&me, now(), now() + day);
            claims["gen"] = json!("00000000000000ab");
            sign(Algorithm::HS256, &claims, SECRET)
        }),
        ("another audience", {
            let mut claims = claims(&me, now(), now() + day);
            claims["aud"] = json!("another");
            sign(Algorithm::HS256, &claims, SECRET)
        }),
        ("cut", good[..good.len() - 4].to_owned()),
        ("text", "token".to_owned()),
    ];
    for (what, token) in bad {
        account.token = Some(token);
        let answer = account.me().await;
        assert_eq!(answer.status, 401, "{what}: {answer}");
        answer.refused("UNAUTHORIZED");
    }
}

#[tokio::test]
async fn the_header_must_be_a_bearer_token() {
    let world = SHARED.world().await;
    let call = || world.client.call(Api::Dashboard, "GET", "/v1/merchants");
    call().send().await.refused("UNAUTHORIZED");
    let token = world.owner.token.clone().unwrap();
    for value in [
        String::new(),
        token.clone(),
        format!("Basic {token}"),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
    ] {
        call()
            .header("Authorization", value)
            .send()
            .await
            .refused("UNAUTHORIZED");
    }
    call()
        .header("Authorization", b"Bearer \xff\xfe".as_slice())
        .send()
        .await
        .refused("UNAUTHORIZED");
    call()
        .header("Authorization", format!("Bearer {token}"))
        .send()
        .await
        .ok();
}

#[tokio::test]
async fn partner_credentials_are_looked_at_id_first() {
    let world = SHARED.world().await;
    let path = "/v1/user-coupons?userId=u";
    let (id, secret) = (world.shop.client_id.clone(), world.shop.secret.clone());
    let call = |id: Option<&str>, secret: Option<&str>| {
        let call = world.client.call(Api::Partner, "GET", path);
        call.header_if("X-Goodpon-Client-Id", id.map(str::as_bytes))
            .header_if("X-Goodpon-Client-Secret", secret.map(str::as_bytes))
            .send()
    };
    call(None, None).await.refused("CLIENT_ID_MISSING");
    call(Some("  "), Some(&secret))
        .await
        .refused("CLIENT_ID_MISSING");
    call(Some(""), None).await.refused("CLIENT_ID_MISSING");
    call(Some(&id), None).await.refused("CLIENT_SECRET_MISSING");
    call(Some(&id), Some(" \t "))
        .await
        .refused("CLIENT_SECRET_MISSING");
    call(Some("ck_unknown"), Some(" "))
        .await
        .refused("CLIENT_SECRET_MISSING");
    call(Some(&id), Some(&secret)).await.ok();
    call(Some(&format!(" {id}\t")), Some(&format!("\t{secret}  ")))
        .await
        .ok();
}

#[tokio::test]
async fn wrong_partner_credentials_never_pass() {
    let world = SHARED.world().await;
    let (_, other) = world.other_merchant().await;
    let mut shop = world.shop.clone();
    shop.coupons("u").await.ok();
    let (id, secret) = (shop.client_id.clone(), shop.secret.clone());
    let masked = format!(
        "{}{}{}",
        &secret[..7],
        "*".repeat(24),
        &secret[secret.len() - 4..]
    );
    let wrong = [
        (id.clone(), other.secret.clone()),
        (other.client_id.clone(), secret.clone()),
        (
            "ck_00000000000000000000000000000000".to_owned(),
            secret.clone(),
        ),
        (id.to_uppercase(), secret.clone()),
        (id.clone(), secret.to_uppercase()),
        (id.clone(), masked),
        (id.clone(), format!("{secret}0")),
        (id.clone(), "x".repeat(5000)),
        ("x".repeat(5000), secret.clone()),
    ];
    for (id, secret) in wrong {
        (shop.client_id, shop.secret) = (id, secret);
        shop.coupons("u").await.refused("INVALID_CREDENTIALS");
    }
    let call = world
        .client
        .call(Api::Partner, "GET", "/v1/user-coupons?userId=u");
    let call = call
        .header("X-Goodpon-Client-Id", &id)
        .header("X-Goodpon-Client-Secret", b"sk_\xff\x80".as_slice());
    call.send().await.refused("INVALID_CREDENTIALS");
}

#[tokio::test]
async fn several_secrets_pass_together_and_an_expired_one_stops() {
    let world = SHARED.world().await;
    let made = world.owner.create_secret(world.merchant).await;
    let mut second = world.shop.clone();
    second.secret = made.ok()["secret"].as_str().unwrap().to_owned();
    let template = world.publish(&Template::default()).await;
    world.shop.issue(template, "a").await.ok();
    second.issue(template, "b").await.ok();

    let first_id = world.created["clientSecrets"][0]["id"].as_i64().unwrap();
    world
        .owner
        .expire_secret(world.merchant, first_id, None)
        .await
        .ok();
    // A revoked secret is taken for at most 5 seconds more.
    eventually("the expired secret is refused", || async {
        world.shop.coupons("a").await.code() == Some("INVALID_CREDENTIALS")
    })
    .await;
    second.coupons("b").await.ok();
}

#[tokio::test]
async fn authentication_comes_before_unknown_paths_and_methods() {
    let world = SHARED.world().await;
    let nobody = |api, method, path| world.client.call(api, method, path).send();
    nobody(Api::Dashboard, "GET", "/v1/nothing")
        .await
        .refused("UNAUTHORIZED");
    nobody(Api::Dashboard, "DELETE", "/v1/merchants")
        .await
        .refused("UNAUTHORIZED");
    nobody(Api::Partner, "GET", "/v1/nothing")
        .await
        .refused("CLIENT_ID_MISSING");
    world
        .unverified()
        .await
        .get("/v1/nothing")
        .await
        .refused("ACCOUNT_NOT_VERIFIED");
    world.owner.get("/v1/nothing").await.refused("NOT_FOUND");
    world
        .shop
        .call("GET", "/v1/nothing")
        .send()
        .await
        .refused("NOT_FOUND");
    world
        .shop
        .call("GET", "/")
        .send()
        .await
        .refused("NOT_FOUND");

    let answer = world.owner.call("PUT", "/v1/merchants").send().await;
    answer.refused("METHOD_NOT_ALLOWED");
    let allow = answer.header("Allow").unwrap_or_default();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    let answer = world
        .shop
        .call("DELETE", "/v1/coupon-templates/1/issue")
        .send()
        .await;
    answer.refused("METHOD_NOT_ALLOWED");
    assert!(answer.header("Allow").unwrap_or_default().contains("POST"));
}

#[tokio::test]
async fn the_trace_id_is_that_of_a_valid_traceparent() {
    let world = SHARED.world().await;
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    for flags in ["01", "00"] {
        let call = world.shop.call("GET", "/v1/user-coupons?userId=u");
        let answer = call
            .header("traceparent", format!("00-{id}-00f067aa0ba902b7-{flags}"))
            .send()
            .await;
        answer.ok();
        assert_eq!(
            answer.header("X-Goodpon-Trace-Id").as_deref(),
            Some(id),
            "flags {flags}"
        );
    }
    let zero = "0".repeat(32);
    let upper = id.to_uppercase();
    for bad in [
        format!("00-{zero}-00f067aa0ba902b7-01"),
        format!("00-{id}-0000000000000000-01"),
        format!("ff-{id}-00f067aa0ba902b7-01"),
        format!("00-{upper}-00f067aa0ba902b7-01"),
        "nonsense".to_owned(),
    ] {
        let answer = world
            .owner
            .call("GET", "/v1/merchants")
            .header("traceparent", &bad)
            .send()
            .await;
        answer.ok();
        assert_ne!(
            answer.header("X-Goodpon-Trace-Id").as_deref(),
            Some(id),
            "{bad}"
        );
        assert_ne!(
            answer.header("X-Goodpon-Trace-Id"),
            Some(zero.clone()),
            "{bad}"
        );
    }
}
