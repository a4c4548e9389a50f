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
async fn an_e_mail_is_taken_without_regard_to_case_once_it_is_verified() {
    let world = SHARED.world().await;
    let email = world.owner.email.to_uppercase();
    let again = world.anonymous.sign_up(&email, PASSWORD, "둘").await;
    assert!(again.refused("ACCOUNT_EMAIL_ALREADY_EXISTS").is_null());
}

/// A stranger signs up with an address before its owner does; their token and password are void once the owner signs up.
#[tokio::test]
async fn nobody_claims_an_address_before_its_owner() {
    let world = SHARED.world().await;
    let email = fresh_email();
    let (theirs, mine) = ("the password of a thief", "the password of the owner");
    let first = world.anonymous.sign_up(&email, theirs, "도둑").await;
    let mut thief = world.owner.0.clone();
    let login = world.anonymous.login(&email, theirs).await;
    thief.token = login.ok()["accessToken"].as_str().map(str::to_owned);
    thief.me().await.ok();
    let void = world.server().verification_token(&email);

    let typed = email.to_uppercase();
    let again = world.anonymous.sign_up(&typed, mine, "주인").await;
    let expected =
        json!({"id": first.ok()["id"], "email": typed, "name": "주인", "verified": false});
    assert_eq!(again.ok(), &expected);
    thief.me().await.refused("UNAUTHORIZED");
    let refused = world.anonymous.login(&email, theirs).await;
    refused.refused("PASSWORD_MISMATCH");
    let refused = world.anonymous.verify(&void).await;
    refused.refused("INVALID_EMAIL_VERIFICATION_TOKEN");

    let token = world.server().verification_token(&typed);
    world.anonymous.verify(&token).await.ok();
    let mut owner = world.owner.0.clone();
    let login = world.anonymous.login(&email, mine).await;
    owner.token = login.ok()["accessToken"].as_str().map(str::to_owned);
    owner.merchants().await.ok();
    thief.me().await.refused("UNAUTHORIZED");
    let refused = world.anonymous.login(&email, theirs).await;
    refused.refused("PASSWORD_MISMATCH");
    let late = world.anonymous.sign_up(&email, theirs, "도둑").await;
    late.refused("ACCOUNT_EMAIL_ALREADY_EXISTS");
}

#[tokio::test]
async fn an_address_is_sent_three_further_mails_an_hour() {
    let world = SHARED.world().await;
    let email = fresh_email();
    world.anonymous.sign_up(&email, PASSWORD, "이름").await.ok();
    world.anonymous.resend(&email).await.ok();
    let second = "another good password";
    world.anonymous.sign_up(&email, second, "둘").await.ok();
    world.anonymous.resend(&email).await.ok();
    for refused in [
        world.anonymous.resend(&email).await,
        world.anonymous.sign_up(&email, PASSWORD, "셋").await,
    ] {
        assert!(refused.refused("TOO_MANY_REQUESTS").is_null());
        let wait: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
        assert!((3500..=3600).contains(&wait), "{wait}");
    }
    assert_eq!(world.server().mailbox(&email).len(), 4);
    let login = world.anonymous.login(&email, second).await;
    assert_eq!(login.ok()["name"], "둘", "nothing changed");
    // The last link stays good, and no other address is held up.
    let token = world.server().verification_token(&email);
    world.anonymous.verify(&token).await.ok();
    let other = fresh_email();
    world.anonymous.sign_up(&other, PASSWORD, "이름").await.ok();
    world.anonymous.resend(&other).await.ok();
}

#[tokio::test]
async fn a_password_that_is_guessed_first_is_refused() {
    let world = SHARED.world().await;
    let email = fresh_email();
    let local = email.split('@').next().unwrap();
    for bad in [
        "password",
        "password123",
        "12345678",
        "        ",
        "qwertyuiop",
        "goodpongoodpon",
        &email,
        local,
        "홍길동홍길동홍길동",
    ] {
        let answer = world.anonymous.sign_up(&email, bad, "홍길동").await;
        let data = answer.refused("ACCOUNT_SIGN_UP_INVALID_INPUT");
        assert!(data.is_null(), "{bad}");
    }
    let refused = world.anonymous.login(&email, PASSWORD).await;
    refused.refused("ACCOUNT_NOT_FOUND");
    // A password that takes long to judge is accepted.
    let long = "4@8({[<3369&!|10$5+7%2".repeat(5)[..100].to_owned();
    world.anonymous.sign_up(&email, &long, "홍길동").await.ok();
}

#[tokio::test]
async fn names_that_cannot_be_seen_are_empty() {
    let world = SHARED.world().await;
    for empty in ["\u{3164}", "\u{200b}\u{feff}", "\u{1160}", "\u{2800}\u{ad}"] {
        let email = fresh_email();
        let answer = world.anonymous.sign_up(&email, PASSWORD, empty).await;
        answer.refused("ACCOUNT_SIGN_UP_INVALID_INPUT");
        let answer = world.owner.create_merchant(empty).await;
        answer.bad_fields(&["name"]);
        let mut draft = goodpon_e2e::Template::default().body().clone();
        draft["name"] = json!(empty);
        let answer = world.owner.create_template(world.merchant, &draft).await;
        answer.bad_fields(&["name"]);
    }
    let answer = world.owner.create_merchant(" \u{200b}상점 ").await;
    assert_eq!(answer.ok()["name"], "\u{200b}상점");
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
async fn invalid_input_is_refused_without_fields() {
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
        ("a@-example.com".into(), PASSWORD, "이름"),
        ("a@example..com".into(), PASSWORD, "이름"),
        (format!("{}@example.com", "a".repeat(65)), PASSWORD, "이름"),
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
async fn every_missing_or_mistyped_field_of_sign_up_is_named() {
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
    let body =
        json!({"email": email, "password": 7_391_428_560_i64, "name": 7, "surplus": {"x": [1]}});
    assert_eq!(
        world
            .anonymous
            .post("/v1/accounts/sign-up", &body)
            .await
            .ok()["name"],
        "7"
    );
    world.anonymous.login(&email, "7391428560").await.ok();
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
async fn the_mail_says_nothing_that_was_typed_but_the_address() {
    let world = SHARED.world().await;
    let email = fresh_email();
    let name = "http://evil.example 당첨!";
    world.anonymous.sign_up(&email, PASSWORD, name).await.ok();
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
    for part in ["subject", "text", "html"] {
        let text = mail[part].as_str().unwrap();
        assert!(!text.contains("evil") && !text.contains("당첨"), "{text}");
        if part != "subject" {
            assert!(text.contains(&email), "{text}");
            assert!(text.contains("/verify?token="), "{text}");
            // The time of the sign-up, in the business time zone.
            assert!(text.contains(" (Asia/Seoul)"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_token_in_a_mail_is_blanked_once_it_is_void_or_used() {
    let world = SHARED.world().await;
    let email = fresh_email();
    world.anonymous.sign_up(&email, PASSWORD, "이름").await.ok();
    let first = world.server().verification_token(&email);
    world.anonymous.resend(&email).await.ok();
    let second = world.server().verification_token(&email);
    let whole = |mails: &[Value]| Value::from(mails).to_string();
    let mails = whole(&world.server().mailbox(&email));
    assert!(
        !mails.contains(&first) && mails.contains(&second),
        "{mails}"
    );
    world.anonymous.verify(&second).await.ok();
    let mails = whole(&world.server().mailbox(&email));
    assert!(!mails.contains(&second), "{mails}");
    assert!(mails.contains(&format!("/verify?token={}", "*".repeat(32))));
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
