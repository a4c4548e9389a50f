//! Sign-up, the account itself, verification and resending (contract §2).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::expect::exact_keys;
use goodpon_e2e::world::{PASSWORD, fresh_email};
use goodpon_e2e::{Options, Shared, World};
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

#[tokio::test]
async fn sign_up_shows_the_account_as_typed_and_unverified() {
    let world = SHARED.world().await;
    let email = format!("Some.Body+{}", fresh_email());
    let answer = world
        .anonymous
        .sign_up(&email, PASSWORD, " 홍 길동😀 ")
        .await;
    let data = answer.ok();
    exact_keys(data, &["id", "email", "name", "verified"]);
    assert!(data["id"].as_i64().is_some_and(|id| id > 0));
    assert_eq!(
        (&data["email"], &data["name"], &data["verified"]),
        (&json!(email), &json!(" 홍 길동😀 "), &json!(false))
    );
}

#[tokio::test]
async fn an_e_mail_is_taken_without_regard_to_case() {
    let world = SHARED.world().await;
    let email = fresh_email();
    world.anonymous.sign_up(&email, PASSWORD, "하나").await.ok();
    let again = world
        .anonymous
        .sign_up(&email.to_uppercase(), PASSWORD, "둘")
        .await;
    assert!(again.refused("ACCOUNT_EMAIL_ALREADY_EXISTS").is_null());
}

#[tokio::test]
async fn a_taken_e_mail_comes_before_a_bad_name_or_password() {
    let world = SHARED.world().await;
    let email = world.owner.email.clone();
    world
        .anonymous
        .sign_up(&email, "short", " ")
        .await
        .refused("ACCOUNT_EMAIL_ALREADY_EXISTS");
}

#[tokio::test]
async fn invalid_input_is_told_without_fields() {
    let world = SHARED.world().await;
    let good = fresh_email;
    let (long_name, long_password) = ("가".repeat(51), "p".repeat(101));
    let long_email = format!("{}@example.com", "a".repeat(244));
    let rows: Vec<(String, &str, &str)> = vec![
        ("no-at.example.com".into(), PASSWORD, "이름"),
        ("a@b".into(), PASSWORD, "이름"),
        ("a@b.c".into(), PASSWORD, "이름"),
        ("a b@example.com".into(), PASSWORD, "이름"),
        ("한글@example.com".into(), PASSWORD, "이름"),
        ("a@example.com\n".into(), PASSWORD, "이름"),
        (String::new(), PASSWORD, "이름"),
        (good(), "seven77", "이름"),
        (good(), &long_password, "이름"),
        (good(), "", "이름"),
        (good(), PASSWORD, ""),
        (good(), PASSWORD, " \t\n"),
        (good(), PASSWORD, &long_name),
    ];
    for (email, password, name) in rows {
        let answer = world.anonymous.sign_up(&email, password, name).await;
        assert!(
            answer.refused("ACCOUNT_SIGN_UP_INVALID_INPUT").is_null(),
            "{email:?} {password:?} {name:?}"
        );
    }
    // Over 255 characters is over the bounds of contract §1, which names the field.
    world
        .anonymous
        .sign_up(&long_email, PASSWORD, "이름")
        .await
        .bad_fields(&["email"]);
}

#[tokio::test]
async fn the_bounds_themselves_are_valid() {
    let world = SHARED.world().await;
    for (password, name) in [
        ("eight888".to_owned(), "가".repeat(50)),
        ("비".repeat(100), "나".to_owned()),
    ] {
        let email = fresh_email();
        world.anonymous.sign_up(&email, &password, &name).await.ok();
        assert_eq!(
            world.anonymous.login(&email, &password).await.ok()["name"],
            name
        );
    }
}

#[tokio::test]
async fn every_missing_or_mistyped_field_of_sign_up_is_told() {
    let world = SHARED.world().await;
    let path = "/v1/accounts/sign-up";
    world
        .anonymous
        .post(path, &json!({}))
        .await
        .bad_fields(&["email", "name", "password"]);
    let nulls = json!({"email": null, "password": PASSWORD, "name": null});
    world
        .anonymous
        .post(path, &nulls)
        .await
        .bad_fields(&["email", "name"]);
    let mistyped = json!({"email": [], "password": true, "name": {}});
    world
        .anonymous
        .post(path, &mistyped)
        .await
        .bad_fields(&["email", "name", "password"]);
}

#[tokio::test]
async fn a_number_may_stand_for_a_string_and_unknown_fields_are_ignored() {
    let world = SHARED.world().await;
    let email = fresh_email();
    let body = json!({"email": email, "password": 12_345_678, "name": 7, "surplus": {"x": [1]}});
    assert_eq!(
        world
            .anonymous
            .post("/v1/accounts/sign-up", &body)
            .await
            .ok()["name"],
        "7"
    );
    world.anonymous.login(&email, "12345678").await.ok();
}

#[tokio::test]
async fn my_account_is_shown_before_and_after_verification() {
    let world = SHARED.world().await;
    let unverified = world.unverified().await;
    let answer = unverified.me().await;
    exact_keys(answer.ok(), &["id", "email", "name", "verified"]);
    assert_eq!(answer.ok()["verified"], false);
    assert_eq!(answer.ok()["email"], unverified.email);
    let mine = world.owner.me().await;
    let expected = json!({"id": world.owner.id, "email": world.owner.email, "name": world.owner.name, "verified": true});
    assert_eq!(mine.ok(), &expected);
}

#[tokio::test]
async fn verification_takes_effect_for_tokens_already_given() {
    let world = SHARED.world().await;
    let email = fresh_email();
    world.anonymous.sign_up(&email, PASSWORD, "이름").await.ok();
    let login = world.anonymous.login(&email, PASSWORD).await;
    let mut account = world.owner.0.clone();
    account.token = login.ok()["accessToken"].as_str().map(str::to_owned);
    account.merchants().await.refused("ACCOUNT_NOT_VERIFIED");
    let verified = world
        .anonymous
        .verify(&world.server().verification_token(&email))
        .await;
    assert_eq!(verified.ok(), "이메일 인증이 완료되었습니다.");
    account.merchants().await.ok();
    assert_eq!(account.me().await.ok()["verified"], true);
}

#[tokio::test]
async fn a_verification_token_is_good_once() {
    let world = SHARED.world().await;
    let email = fresh_email();
    world.anonymous.sign_up(&email, PASSWORD, "이름").await.ok();
    let token = world.server().verification_token(&email);
    world.anonymous.verify(&token).await.ok();
    assert!(
        world
            .anonymous
            .verify(&token)
            .await
            .refused("INVALID_EMAIL_VERIFICATION_TOKEN")
            .is_null()
    );
}

#[tokio::test]
async fn any_other_text_is_an_invalid_token() {
    let world = SHARED.world().await;
    let long = "f".repeat(1000);
    for token in [
        "",
        " ",
        "0",
        "not a token",
        "00000000000000000000000000000000",
        &long,
        "😀",
    ] {
        world
            .anonymous
            .verify(token)
            .await
            .refused("INVALID_EMAIL_VERIFICATION_TOKEN");
    }
    for body in [json!({}), json!({"token": null}), json!({"token": []})] {
        world
            .anonymous
            .post("/v1/auth/verify", &body)
            .await
            .bad_fields(&["token"]);
    }
}

#[tokio::test]
async fn resending_voids_the_token_before_and_works_without_regard_to_case() {
    let world = SHARED.world().await;
    let email = fresh_email();
    world.anonymous.sign_up(&email, PASSWORD, "이름").await.ok();
    let first = world.server().verification_token(&email);
    let answer = world.anonymous.resend(&email.to_uppercase()).await;
    assert_eq!(answer.ok(), "인증 이메일이 재전송되었습니다.");
    assert_eq!(world.server().mailbox(&email).len(), 2);
    let second = world.server().verification_token(&email);
    assert_ne!(first, second);
    world
        .anonymous
        .verify(&first)
        .await
        .refused("INVALID_EMAIL_VERIFICATION_TOKEN");
    world.anonymous.verify(&second).await.ok();
    world
        .anonymous
        .resend(&email)
        .await
        .refused("ACCOUNT_ALREADY_VERIFIED");
}

#[tokio::test]
async fn resending_needs_an_account() {
    let world = SHARED.world().await;
    world
        .anonymous
        .resend("nobody@example.com")
        .await
        .refused("ACCOUNT_NOT_FOUND");
    world
        .anonymous
        .resend("not an address")
        .await
        .refused("ACCOUNT_NOT_FOUND");
    world
        .anonymous
        .post("/v1/auth/verify/resend", &json!({"email": null}))
        .await
        .bad_fields(&["email"]);
}

#[tokio::test]
async fn the_mail_greets_by_name_and_escapes_it() {
    let world = SHARED.world().await;
    let email = fresh_email();
    world
        .anonymous
        .sign_up(&email, PASSWORD, "<b>굵은</b> & 이름")
        .await
        .ok();
    let mails = world.server().mailbox(&email);
    let mail = &mails[0];
    exact_keys(
        mail,
        &[
            "id",
            "to",
            "subject",
            "text",
            "html",
            "createdAt",
            "sentAt",
            "state",
            "attempts",
            "error",
        ],
    );
    assert_eq!(mail["to"], email);
    // An escape is one, by name or by number.
    let text = |field: &str| {
        let raw = mail[field].as_str().unwrap_or_default();
        raw.replace("&#60;", "&lt;")
            .replace("&#62;", "&gt;")
            .replace("&#38;", "&amp;")
    };
    assert!(
        text("html").contains("&lt;b&gt;굵은&lt;/b&gt; &amp; 이름"),
        "{}",
        text("html")
    );
    assert!(!text("html").contains("<b>굵은"));
    assert!(text("text").contains("<b>굵은</b> & 이름"));
    assert!(text("html").contains("/verify?token="));
}

#[tokio::test]
async fn only_a_hash_of_the_password_is_on_disk() {
    let world = World::with(Options::default().embedded()).await;
    let (email, password) = (fresh_email(), "unmistakable-password-3141");
    world.anonymous.sign_up(&email, password, "이름").await.ok();
    let mut argon = false;
    for entry in std::fs::read_dir(world.server().data_dir()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        let has = |needle: &str| {
            bytes
                .windows(needle.len())
                .any(|window| window == needle.as_bytes())
        };
        assert!(!has(password), "the password is on disk");
        assert!(!has(&world.shop.secret), "a client secret is on disk");
        argon |= has("$argon2id$");
    }
    assert!(argon, "no argon2id hash found");
}

#[tokio::test]
async fn a_token_sent_to_an_open_call_is_not_looked_at() {
    let world = SHARED.world().await;
    let mut account = world.owner.0.clone();
    account.token = Some("broken".to_owned());
    let body: Value = json!({"email": fresh_email(), "password": PASSWORD, "name": "이름"});
    account.post("/v1/accounts/sign-up", &body).await.ok();
    account.post("/v1/auth/login", &body).await.ok();
    account
        .post("/v1/auth/verify", &json!({"token": "x"}))
        .await
        .refused("INVALID_EMAIL_VERIFICATION_TOKEN");
    account.post("/v1/auth/verify/resend", &body).await.ok();
}
