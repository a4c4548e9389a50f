//! The plans of frequent statements: they read along an index, without sorting, and few more rows than they return.

use goodpon_application::ports::{Direction, HistoryFilter};
use goodpon_domain::{
    history::HistoryPosition,
    id::{CouponId, HistoryId, TemplateId},
};
use jiff::Timestamp;
use mysql_async::{Conn, Row, Value, from_value, prelude::Queryable};

use super::scene::{MERCHANT, Scene};
use crate::{
    coupon,
    history::{Page, Query},
    redemption, upkeep,
};

/// The time at which the first coupon was issued, in microseconds; each other one is issued a microsecond later.
const BEGAN: i64 = 1_700_000_000_000_000;
/// The number of each merchant's templates. Every user has a coupon of each.
const TEMPLATES: i64 = 40;
const USERS: i64 = 200;

const DIRECTIONS: [Direction; 2] = [Direction::Ascending, Direction::Descending];

fn coupon_id(template: i64, user: i64) -> CouponId {
    let at = Timestamp::from_microsecond(BEGAN + template * USERS + user).unwrap();
    CouponId::new(at, u64::MAX)
}

/// Fills all tables that grow; every tenth coupon is redeemed for an order of its own, and every fortieth for `same`.
async fn fill(conn: &mut Conn) {
    for merchant in [MERCHANT.0, 2] {
        let first = (merchant - 1) * TEMPLATES;
        let mut script = Vec::new();
        for template in first + 1..=first + TEMPLATES {
            let status = 1 + template % 3;
            script.push(format!(
                "INSERT INTO coupon_templates (id, merchant_id, name, description, discount_type, discount_value,
                     issue_start_at, absolute_expires_at, limit_type, status, created_at)
                 VALUES ({template}, {merchant}, 'n', '', 0, 1, 0, {}, 0, {status}, 0)",
                BEGAN + template
            ));
            let (mut coupons, mut entries) = (Vec::new(), Vec::new());
            for user in 0..USERS {
                let (id, at) = (coupon_id(template, user), BEGAN + template * USERS + user);
                let (mut status, mut changed_at, mut of) = (0, at, "NULL".to_owned());
                entries.push(format!(
                    "({merchant}, {at}, x'{id}', {template}, 0, x'{id}', NULL)"
                ));
                if user % 10 == 0 {
                    (status, changed_at) = (1, at + 1_000_000_000);
                    of = match user % 40 {
                        0 => "'same'".to_owned(),
                        _ => format!("'o{template}-{user}'"),
                    };
                    entries.push(format!(
                        "({merchant}, {changed_at}, x'{id}', {template}, 1, x'{id}', {of})"
                    ));
                }
                let due = at + 2_000_000_000;
                coupons.push(format!(
                    "(x'{id}', {merchant}, {template}, 'u{user}', {status}, {at}, {due}, {changed_at}, {of})"
                ));
            }
            script.push(format!(
                "INSERT INTO coupons (id, merchant_id, template_id, user_id, status, issued_at, expires_at, changed_at,
                     order_id) VALUES {}",
                coupons.join(",")
            ));
            script.push(format!(
                "INSERT INTO coupon_histories (merchant_id, recorded_at, id, template_id, action, coupon_id, order_id)
                 VALUES {}",
                entries.join(",")
            ));
        }
        conn.query_drop(script.join(";")).await.unwrap();
    }
    let old = "FROM coupons WHERE merchant_id = 1 AND template_id < 20";
    conn.query_drop(format!(
        "INSERT INTO idempotency_records SELECT id, id, 200, '', issued_at {old};
         INSERT INTO verification_tokens (digest, account_id, created_at) SELECT CONCAT(id, id), 1, issued_at {old};
         INSERT INTO mails (recipient, recipient_key, subject, text, html, created_at, sent_at)
             SELECT 'a', 'a', '', '', '', issued_at, issued_at {old};
         ANALYZE TABLE coupons, coupon_histories, coupon_templates, idempotency_records, verification_tokens, mails"
    ))
    .await
    .unwrap();
}

/// Counts the rows that the session has read so far by any access path but full scans.
async fn rows_read(conn: &mut Conn) -> i64 {
    let status: Vec<(String, String)> = conn
        .query("SHOW SESSION STATUS LIKE 'Handler_read%'")
        .await
        .unwrap();
    // SHOW itself adds to rnd_next, so full scans are found by the plan instead.
    let counted = status.iter().filter(|(name, _)| {
        ["key", "next", "prev", "first", "last"]
            .iter()
            .any(|way| name.ends_with(&format!("_{way}")))
    });
    counted
        .map(|(_, count)| count.parse::<i64>().unwrap())
        .sum()
}

/// Explains a statement and runs it, and checks that it uses exactly these keys and reads at most `max_rows` rows.
async fn check(conn: &mut Conn, sql: &str, values: Vec<Value>, keys: &[&str], max_rows: i64) {
    let plan: Vec<Row> = conn
        .exec(format!("EXPLAIN {sql}"), values.clone())
        .await
        .unwrap();
    let text = |row: &Row, name: &str| {
        let value = row.get::<Value, _>(name).unwrap_or(Value::NULL);
        from_value::<Option<String>>(value).unwrap_or_default()
    };
    let columns = ["table", "type", "key", "Extra"];
    let plan: Vec<[String; 4]> = plan
        .iter()
        .map(|row| columns.map(|name| text(row, name)))
        .collect();
    let mut used = Vec::new();
    for [_, access, key, extra] in &plan {
        assert!(
            access != "ALL" && access != "index",
            "a full scan: {plan:?}\n{sql}"
        );
        for bad in ["filesort", "temporary", "join buffer"] {
            assert!(!extra.contains(bad), "{bad}: {plan:?}\n{sql}");
        }
        used.push(key.as_str());
    }
    let mut expected = keys.to_vec();
    used.sort_unstable();
    expected.sort_unstable();
    assert_eq!(used, expected, "{plan:?}\n{sql}");
    let before = rows_read(conn).await;
    conn.exec_drop(sql, values).await.unwrap();
    let read = rows_read(conn).await - before;
    assert!(
        read <= max_rows,
        "{read} rows are read, where {max_rows} are enough: {plan:?}\n{sql}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn coupons_are_found_by_their_keys() {
    let scene = Scene::new().await;
    let conn = &mut scene.conn().await;
    fill(conn).await;
    let id = coupon_id(7, 10).to_bytes();
    let primary = ["PRIMARY"; 3];
    let key: Value = id.into();
    check(
        conn,
        &redemption::load_sql(),
        vec![key.clone(), key],
        &primary,
        3,
    )
    .await;
    let at = BEGAN + 7 * USERS + 10 + 1_000_000_000;
    let redeemed = vec![id.into(), at.into()];
    let by_coupon = ["coupon_histories_by_coupon"];
    check(conn, &redemption::redeemed_sql(), redeemed, &by_coupon, 3).await;
    let held = coupon::held_sql();
    let of_user = vec![MERCHANT.0.into(), "u7".into(), 65.into()];
    check(
        conn,
        &held,
        of_user,
        &["coupons_by_user", "PRIMARY"],
        2 * TEMPLATES + 2,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sweeps_find_what_is_due_along_an_index() {
    let scene = Scene::new().await;
    let conn = &mut scene.conn().await;
    fill(conn).await;
    let late = BEGAN + 100_000_000_000;
    let due = |status: i64| vec![status.into(), late.into(), 50.into()];
    check(
        conn,
        upkeep::DUE_TEMPLATES,
        due(1),
        &["coupon_templates_ending"],
        52,
    )
    .await;
    check(
        conn,
        &upkeep::due_coupons_sql(),
        due(0),
        &["coupons_due"],
        52,
    )
    .await;
    let walks = ["coupon_templates_ending", "PRIMARY"];
    check(
        conn,
        upkeep::OPEN_WALKS,
        vec![3.into(), 16.into()],
        &walks,
        40,
    )
    .await;
    let walk = vec![7.into(), "u150".into(), 50.into()];
    check(
        conn,
        &upkeep::walk_sql(),
        walk,
        &["coupons_one_for_each_user"],
        52,
    )
    .await;
    let keys = [
        "idempotency_records_by_age",
        "verification_tokens_by_age",
        "mails_sent",
    ];
    for (old_rows, key) in upkeep::OLD_ROWS.iter().zip(keys) {
        check(
            conn,
            old_rows.oldest,
            vec![late.into(), 50.into()],
            &[key],
            60,
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_pages_are_read_from_their_cursor() {
    let scene = Scene::new().await;
    let conn = &mut scene.conn().await;
    fill(conn).await;
    let at = |template: i64, user: i64| {
        Timestamp::from_microsecond(BEGAN + template * USERS + user).unwrap()
    };
    let position = |template, user| HistoryPosition {
        recorded_at: at(template, user),
        id: HistoryId::from_bytes(coupon_id(template, user).to_bytes()),
    };
    let none = HistoryFilter::default();
    let dates = HistoryFilter {
        from: Some(at(5, 0)),
        until: Some(at(35, 0)),
        ..none.clone()
    };
    let of_template = HistoryFilter {
        template_id: Some(TemplateId(20)),
        ..none.clone()
    };
    let of_order = HistoryFilter {
        order_id: Some("same".into()),
        ..none.clone()
    };
    let all = ["PRIMARY", "PRIMARY", "PRIMARY"];
    let by_template = ["PRIMARY", "coupon_histories_by_template", "PRIMARY"];
    let by_order = ["coupon_histories_by_order", "PRIMARY", "PRIMARY"];
    for (filter, keys) in [
        (none, all),
        (dates, all),
        (of_template, by_template),
        (of_order, by_order),
    ] {
        for direction in DIRECTIONS {
            for after in [None, Some(position(20, 100))] {
                let page = Page {
                    merchant: MERCHANT,
                    filter: &filter,
                    direction,
                    after,
                    limit: 21,
                };
                let Query { sql, values } = page.query();
                // For each entry its row, its coupon and its template are read.
                check(conn, &sql, values, &keys, 3 * 21 + 5).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_entry_of_another_merchants_template_is_read() {
    let scene = Scene::new().await;
    let conn = &mut scene.conn().await;
    fill(conn).await;
    let filter = HistoryFilter {
        template_id: Some(TemplateId(TEMPLATES + 1)),
        ..HistoryFilter::default()
    };
    let page = Page {
        merchant: MERCHANT,
        filter: &filter,
        direction: Direction::Ascending,
        after: None,
        limit: 21,
    };
    let Query { sql, values } = page.query();
    let before = rows_read(conn).await;
    let found: Vec<Row> = conn.exec(sql, values).await.unwrap();
    assert!(found.is_empty() && rows_read(conn).await - before <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_page_reads_few_entries_of_each_coupon() {
    let scene = Scene::new().await;
    let conn = &mut scene.conn().await;
    fill(conn).await;
    let recorded_at = Timestamp::from_microsecond(BEGAN + 20 * USERS).unwrap();
    let after = HistoryPosition {
        recorded_at,
        id: HistoryId::new(recorded_at, 0),
    };
    for direction in DIRECTIONS {
        let page = Page {
            merchant: MERCHANT,
            filter: &HistoryFilter::default(),
            direction,
            after: Some(after),
            limit: 21,
        };
        let Query { sql, values } = page.coupons_query("u10");
        check(
            conn,
            &sql,
            values,
            &["coupons_by_user", "PRIMARY"],
            2 * TEMPLATES + 2,
        )
        .await;
        let ids: Vec<CouponId> = (1..=8).map(|template| coupon_id(template, 10)).collect();
        let Query { sql, values } = page.entries_query(&ids);
        let read = rows_read(conn).await;
        conn.exec_drop(&sql, values.clone()).await.unwrap();
        assert!(rows_read(conn).await - read <= 4 * 8);
        let plan: Vec<Row> = conn.exec(format!("EXPLAIN {sql}"), values).await.unwrap();
        let keys = plan
            .iter()
            .filter_map(|row| row.get::<Option<String>, _>("key").flatten());
        assert!(keys.clone().all(|key| key == "coupon_histories_by_coupon") && keys.count() == 8);
    }
}
