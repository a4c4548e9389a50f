//! Accounts, mails, merchants and templates beyond their laws: several processes at once, and the number of rows read.

use std::sync::Arc;

use futures::future::join_all;
use goodpon_application::ports::{
    Accounts, Clock, MailContent, Mails, Merchants, NewAccount, NewSecret, NewVerification,
    Templates,
};
use goodpon_domain::{
    account::{Account, EmailKey},
    generation::Generation,
    id::MerchantId,
    quota::Quota,
    template::{Discount, Limit, Period, TemplateStatus, Terms},
};
use goodpon_port_laws::ManualClock;
use jiff::SignedDuration;
use mysql_async::{Conn, prelude::Queryable};

use super::{open, open_with, session::onlooker, store};
use crate::Store;

fn verification(digest: u8) -> NewVerification {
    NewVerification {
        token_digest: [digest; 32],
        mail: MailContent {
            subject: "제목".into(),
            text: "본문".into(),
            html: "<p>본문</p>".into(),
        },
        origin: None,
    }
}

async fn signed_up(store: &Store, email: &str, digest: u8) -> Account {
    let new = NewAccount {
        email: email.into(),
        name: "이름".into(),
        password_hash: "hash".into(),
        generation: Generation::of_random(1),
    };
    let account = store.sign_up(new, verification(digest)).await.unwrap();
    account.expect("a new address")
}

async fn shop(store: &Store, owner: &Account) -> MerchantId {
    let client_id = format!("ck_{}", owner.id);
    let created = Merchants::create(
        store,
        owner.id,
        "상점".into(),
        client_id,
        secret(),
        Quota::UNLIMITED,
    );
    created.await.unwrap().unwrap().merchant.id
}

fn secret() -> NewSecret {
    NewSecret {
        digest: [7; 32],
        head: "0a1b".into(),
        tail: "2c3d".into(),
    }
}

async fn count(conn: &mut Conn, sql: &str) -> i64 {
    conn.query_first(sql).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_at_once_leave_one_token_and_one_mail() {
    let (one, clock, database) = store().await;
    let (other, mut onlooker) = (open(&database, &clock), onlooker(&database).await);
    for round in 0..5 {
        let account = signed_up(&one, &format!("A{round}@example.com"), 200 + round).await;
        let key = EmailKey::of(&account.email);
        let renewals = (0..16).map(|number| {
            let store = if number % 2 == 0 { &one } else { &other };
            store.renew_verification(&key, verification(1 + round * 16 + number))
        });
        let renewed = join_all(renewals).await.into_iter();
        let sent = renewed.filter(|renewed| *renewed.as_ref().unwrap() == Ok(()));
        assert_eq!(sent.count(), 3, "the limit of mails an hour");
        let sql = format!(
            "SELECT COUNT(*) FROM verification_tokens WHERE account_id = {}",
            account.id
        );
        let tokens = count(&mut onlooker, &sql).await;
        let due = one.due(100).await.unwrap();
        let due = due.iter().filter(|mail| mail.to == account.email).count();
        assert_eq!((tokens, due), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_spent_or_voided_but_not_both() {
    let (one, clock, database) = store().await;
    let other = open(&database, &clock);
    for number in 0..30 {
        let account = signed_up(&one, &format!("{number}@example.com"), 2 * number).await;
        let key = EmailKey::of(&account.email);
        let renewed = other.renew_verification(&key, verification(2 * number + 1));
        let (verified, renewed) = tokio::join!(one.verify([2 * number; 32], None), renewed);
        let (verified, renewed) = (verified.unwrap(), renewed.unwrap());
        assert_ne!(
            verified.is_ok(),
            renewed.is_ok(),
            "{verified:?} {renewed:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_merchants_last_change_never_goes_back() {
    let (ahead, clock, database) = store().await;
    let behind = Arc::new(ManualClock::new(clock.now() - SignedDuration::from_secs(2)));
    let behind = open(&database, &behind);
    let owner = signed_up(&ahead, "a@example.com", 0).await;
    let shop = shop(&ahead, &owner).await;
    let added = behind.add_secret(shop, owner.id, secret()).await.unwrap();
    added.unwrap();
    let detail = ahead.detail(shop, owner.id).await.unwrap().unwrap();
    assert_eq!(detail.merchant.updated_at, clock.now());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discard_does_not_wait_for_a_redemption() {
    let (store, clock, database) = store().await;
    let mut redeeming = onlooker(&database).await;
    let terms = Terms {
        name: "이름".into(),
        description: String::new(),
        min_order_amount: None,
        discount: Discount::FixedAmount { amount: 1 },
        period: Period {
            issue_start_at: clock.now(),
            issue_end_at: None,
            validity_days: None,
            absolute_expires_at: None,
        },
        limit: Limit::None,
    };
    let owner = signed_up(&store, "a@example.com", 1).await;
    let (shop, owner) = (shop(&store, &owner).await, owner.id);
    let draft = Templates::create(&store, shop, owner, terms, Quota::UNLIMITED).await;
    let id = draft.unwrap().unwrap().id;
    let slot = |slot: u8| format!("INSERT INTO template_redemptions VALUES ({id}, {slot}, 1)");
    redeeming.query_drop(slot(1)).await.unwrap();
    redeeming.query_drop("START TRANSACTION").await.unwrap();
    redeeming
        .query_drop("UPDATE template_redemptions SET redeem_count = 2")
        .await
        .unwrap();
    redeeming.query_drop(slot(2)).await.unwrap();
    store.publish(shop, owner, id).await.unwrap().unwrap();
    let discarded = store
        .discard(shop, owner, id, "끝".into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (discarded.status, discarded.redeem_count),
        (TemplateStatus::Discarded, 1)
    );
}

/// Counts the rows that the session has read and sorted.
async fn rows_touched(store: &Store) -> i64 {
    let sql = "SHOW SESSION STATUS WHERE Variable_name LIKE 'Handler_read%' OR Variable_name = 'Sort_rows'";
    let mut session = store.scan_session().await.unwrap();
    let read = |row: &mut crate::columns::Columns| {
        row.read::<String>()?;
        row.read::<String>()
    };
    let counts = session.rows(sql, (), read).await.unwrap();
    counts
        .iter()
        .map(|count| count.parse::<i64>().unwrap())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_mails_are_read_than_are_returned() {
    let (_store, clock, database) = store().await;
    let (mut onlooker, only) = (onlooker(&database).await, open_with(&database, &clock, 1));
    let fill = "INSERT INTO mails (recipient, recipient_key, subject, text, html, created_at, next_try_at, sent_at)
                VALUES (?, ?, 's', 't', 'h', ?, ?, ?)";
    let now = clock.now().as_microsecond();
    let mails = (0..3_000_i64).map(|number| {
        let (to, age) = match number % 3 {
            0 => ("One@example.com", 1_000_000),
            _ => ("other@example.com", 0),
        };
        let due = (number % 2 == 0).then_some(now - number);
        let sent = (number % 2 == 1).then_some(now);
        (to, to.to_lowercase(), now - age - number % 100, due, sent)
    });
    onlooker.query_drop("START TRANSACTION").await.unwrap();
    onlooker.exec_batch(fill, mails).await.unwrap();
    onlooker.query_drop("COMMIT").await.unwrap();
    onlooker.query_drop("ANALYZE TABLE mails").await.unwrap();
    let before = rows_touched(&only).await;
    let own = rows_touched(&only).await - before;
    for (what, to) in [
        ("due", None),
        ("all", None),
        ("to one", Some("One@example.com")),
    ] {
        let before = rows_touched(&only).await;
        let returned = match what {
            "due" => only.due(10).await.unwrap().len(),
            _ => Mails::list(&only, to, 10).await.unwrap().len(),
        };
        let touched = rows_touched(&only).await - before - own;
        assert_eq!(returned, 10, "{what}");
        assert!(touched <= 30, "{what}: {touched} rows for 10");
    }
}
