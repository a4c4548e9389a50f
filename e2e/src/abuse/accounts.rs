//! Addresses claimed before their owners do, and tokens that outlive their accounts.

use std::sync::Arc;

use tempfile::TempDir;

use super::Size;
use crate::program::goodpon;
use crate::world::{PASSWORD, fresh_email};
use crate::{Account, Anonymous, Api, Client, Options, Server, World};

/// Signing secret that servers share.
const SECRET: &str = "a signing secret of at least 32 bytes, for tests";

const THEIRS: &str = "the password of a thief";
const MINE: &str = "the password of the owner";

/// Logs in; returns no account if the password does not match.
async fn logged_in(anonymous: &Anonymous, email: &str, password: &str) -> Option<Account> {
    let login = anonymous.login(email, password).await;
    assert!(matches!(login.status, 200 | 401), "{login}");
    let token = login.json["data"]["accessToken"].as_str()?.to_owned();
    Some(Account {
        client: anonymous.client.clone(),
        token: Some(token),
        id: login.ok()["id"].as_i64().unwrap(),
        email: email.to_owned(),
        name: String::new(),
    })
}

/// Has a thief sign up with an address before its owner does, and again at the same moment as the owner. The one who has
/// the mailbox gets the account, and neither token nor password of the thief opens it.
///
/// # Panics
/// The thief can use the account, or the owner cannot.
pub async fn claimed_addresses(size: Size) {
    let world = World::with(Options::default()).await;
    for _ in 0..size.addresses {
        claimed_address(&world).await;
    }
}

async fn claimed_address(world: &World) {
    let (anonymous, email) = (&world.anonymous, fresh_email());
    anonymous.sign_up(&email, THEIRS, "도둑").await.ok();
    let before = logged_in(anonymous, &email, THEIRS).await.unwrap();
    let void = world.server().verification_token(&email);
    let (owner, thief, beside) = futures::join!(
        anonymous.sign_up(&email, MINE, "주인"),
        anonymous.sign_up(&email, THEIRS, "도둑"),
        logged_in(anonymous, &email, THEIRS),
    );
    owner.ok();
    thief.ok();
    anonymous
        .verify(&void)
        .await
        .refused("INVALID_EMAIL_VERIFICATION_TOKEN");
    before.me().await.refused("UNAUTHORIZED");
    // The newest mail belongs to the sign-up that counts, the owner's or the thief's: so the owner sets a password.
    let token = world.server().verification_token(&email);
    let after = logged_in(anonymous, &email, THEIRS).await;
    let page = format!("{}/verify", world.server().base(Api::Dashboard));
    let form = [("token", token.as_str()), ("newPassword", MINE)];
    let set = world.client.http().post(page).form(&form).send().await;
    assert_eq!(set.unwrap().status().as_u16(), 200);
    for thief in [Some(before), beside, after].into_iter().flatten() {
        thief.me().await.refused("UNAUTHORIZED");
        thief.merchants().await.refused("UNAUTHORIZED");
    }
    assert!(logged_in(anonymous, &email, THEIRS).await.is_none());
    anonymous
        .sign_up(&email, THEIRS, "도둑")
        .await
        .refused("ACCOUNT_EMAIL_ALREADY_EXISTS");
    let owner = logged_in(anonymous, &email, MINE).await.unwrap();
    owner.merchants().await.ok();
}

/// Asserts that every call of an account is refused to its token.
async fn opens_nothing(account: &Account) {
    account.me().await.refused("UNAUTHORIZED");
    account.merchants().await.refused("UNAUTHORIZED");
    account
        .create_merchant("상점")
        .await
        .refused("UNAUTHORIZED");
    account.create_secret(1).await.refused("UNAUTHORIZED");
}

/// Tries tokens of a database that is gone on one that was made anew, with the same signing secret and the same account
/// numbers.
///
/// # Panics
/// A token is taken.
pub async fn tokens_of_another_database(size: Size) {
    let options = || Options::default().env("GOODPON_JWT_SECRET", SECRET);
    let (gone, world) = (World::with(options()).await, World::with(options()).await);
    for _ in 0..size.accounts {
        let (theirs, here) = (gone.fresh_account().await, world.fresh_account().await);
        assert_eq!(theirs.id, here.id, "the same number");
        here.me().await.ok();
        let mut stray = here.clone();
        stray.token = theirs.token;
        opens_nothing(&stray).await;
    }
}

/// Tries tokens of accounts made after a backup, once it was restored and other accounts have got their numbers. Tokens
/// of accounts that the backup has are still good.
///
/// # Panics
/// A token of the former is taken, or one of the latter refused.
pub async fn tokens_that_a_restore_forgot(size: Size) {
    let options = Options::default()
        .embedded()
        .env("GOODPON_JWT_SECRET", SECRET);
    let world = World::with(options.clone()).await;
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join("copy.db");
    let copied = world.server().run_cli(&["backup", copy.to_str().unwrap()]);
    assert!(copied.status.success(), "{copied:?}");
    let mut forgotten = Vec::new();
    for _ in 0..size.accounts {
        forgotten.push(world.fresh_account().await);
    }
    let place = folder.path().join("data");
    let (place_text, copy_text) = (place.to_str().unwrap(), copy.to_str().unwrap());
    let restored = goodpon(&["restore", "--data-dir", place_text, copy_text], &[]);
    assert!(restored.status.success(), "{restored:?}");
    let output = String::from_utf8(restored.stdout).unwrap();
    assert!(output.contains("log in again"), "{output}");
    let client = Client::new(&Arc::new(Server::start(options.data_dir(&place))));
    let anonymous = Anonymous {
        client: client.clone(),
    };
    for mut account in forgotten {
        let made = anonymous.sign_up(&fresh_email(), PASSWORD, "새 계정").await;
        assert_eq!(made.ok()["id"], account.id, "the same number");
        account.client = client.clone();
        opens_nothing(&account).await;
    }
    let mut owner = world.owner.0.clone();
    owner.client = client;
    owner.me().await.ok();
}
