//! The differences that the audit reports of a damaged database.

use goodpon_application::ports::Upkeep;
use goodpon_domain::{id::CouponId, template::Limit};

use super::scene::{HOUR, Scene, cancel};

struct Damage {
    cause: String,
    mend: String,
    /// The beginning of one line of the audit.
    report: String,
}

fn damage(cause: impl Into<String>, mend: impl Into<String>, report: impl Into<String>) -> Damage {
    Damage {
        cause: cause.into(),
        mend: mend.into(),
        report: report.into(),
    }
}

/// A coupon of each kind, and the templates of them.
struct Coupons {
    issued: CouponId,
    redeemed: CouponId,
    limited: CouponId,
    discarded: CouponId,
    expired: CouponId,
    cancelled: CouponId,
    /// Templates: without a limit, with one, discarded.
    templates: [i64; 3],
}

async fn coupons(scene: &Scene) -> Coupons {
    let free = scene.template(Limit::None).await;
    let (limited, gone) = (
        scene.template(Limit::RedeemCount(2)).await,
        scene.template(Limit::IssueCount(3)).await,
    );
    let discarded = scene.coupon(gone, "d").await;
    scene.discard(gone).await;
    while scene.store.discard_coupons(10).await.unwrap() > 0 {}
    let redeemed = scene.redeemed(free, "r").await;
    let redeemed_limited = scene.redeemed(limited, "l").await;
    let cancelled = scene.redeemed(free, "c").await;
    cancel(&scene.store, cancelled).await.unwrap();
    let expired = scene.coupon(free, "e").await;
    scene.clock.advance(HOUR * 2);
    while scene.store.expire_coupons(10).await.unwrap() > 0 {}
    let fresh = scene.template(Limit::None).await;
    Coupons {
        issued: scene.coupon(fresh, "i").await,
        redeemed,
        limited: redeemed_limited,
        discarded,
        expired,
        cancelled,
        templates: [free.0, limited.0, gone.0],
    }
}

fn of_rows(coupons: &Coupons) -> Vec<Damage> {
    let Coupons {
        issued,
        redeemed,
        limited,
        ..
    } = coupons;
    let coupon = |id: &CouponId, set: &str| format!("UPDATE coupons SET {set} WHERE id = x'{id}'");
    vec![
        damage(
            coupon(redeemed, "status = 0"),
            coupon(redeemed, "status = 1"),
            format!("coupon {redeemed} status: expected Redeemed, found Issued"),
        ),
        damage(
            coupon(redeemed, "order_id = 'O'"),
            coupon(redeemed, "order_id = 'o'"),
            format!("coupon {redeemed} order_id: expected Some(\"o\"), found Some(\"O\")"),
        ),
        damage(
            coupon(redeemed, "changed_at = changed_at + 1"),
            coupon(redeemed, "changed_at = changed_at - 1"),
            format!("coupon {redeemed} changed_at: expected 2026"),
        ),
        damage(
            coupon(issued, "issued_at = issued_at - 1"),
            coupon(issued, "issued_at = issued_at + 1"),
            format!("coupon {issued} ISSUE entries at "),
        ),
        damage(
            coupon(issued, "merchant_id = 2"),
            coupon(issued, "merchant_id = 1"),
            format!("coupon {issued} merchant: expected 1, found 2"),
        ),
        damage(
            coupon(limited, "template_id = template_id + 1000"),
            coupon(limited, "template_id = template_id - 1000"),
            format!("coupon {limited} template: expected one that exists"),
        ),
        damage(
            coupon(issued, "status = 9"),
            coupon(issued, "status = 0"),
            format!("coupon {issued} row: expected one that can be read"),
        ),
        damage(
            coupon(redeemed, "expires_at = 1"),
            coupon(
                redeemed,
                "expires_at = (SELECT absolute_expires_at FROM coupon_templates t WHERE t.id = template_id)",
            ),
            format!("coupon {redeemed} entries: expected no redemption past the expiry"),
        ),
        damage(
            format!(
                "ALTER TABLE coupons DROP KEY coupons_one_for_each_user;
                 UPDATE coupons SET template_id = {}, user_id = 'r' WHERE user_id = 'i'",
                coupons.templates[0]
            ),
            "UPDATE coupons SET template_id = (SELECT MAX(id) FROM coupon_templates), user_id = 'i'
             WHERE user_id = 'r' AND status = 0;
             ALTER TABLE coupons ADD UNIQUE KEY coupons_one_for_each_user (template_id, user_id)",
            format!(
                "template {} coupons of user \"r\": expected at most 1, found 2",
                coupons.templates[0]
            ),
        ),
    ]
}

fn of_entries(coupons: &Coupons) -> Vec<Damage> {
    let Coupons {
        issued,
        redeemed,
        expired,
        discarded,
        cancelled,
        ..
    } = coupons;
    let entry = |id: &CouponId, action: u8, set: &str| {
        format!("UPDATE coupon_histories SET {set} WHERE coupon_id = x'{id}' AND action = {action}")
    };
    let hidden = |id: &CouponId, action: u8| {
        let (there, elsewhere) = (format!("x'{id}'"), "x'ff00000000000000000000000000000f'");
        let moved = |from: &str, to: &str| {
            format!(
                "UPDATE coupon_histories SET coupon_id = {to} WHERE coupon_id = {from} AND action = {action}"
            )
        };
        (moved(&there, elsewhere), moved(elsewhere, &there))
    };
    let (no_issue, issue) = hidden(issued, 0);
    let (no_redeem, redeem) = hidden(redeemed, 1);
    let (stray, back) = hidden(expired, 3);
    let (no_cancel, cancel) = hidden(cancelled, 2);
    let later = "recorded_at = recorded_at + 7200000000";
    let earlier = "recorded_at = recorded_at - 7200000000";
    vec![
        damage(
            no_issue,
            issue,
            format!("coupon {issued} ISSUE entries at "),
        ),
        damage(
            no_redeem,
            redeem,
            format!("coupon {redeemed} status: expected Issued, found Redeemed"),
        ),
        damage(stray, back, "history entry "),
        damage(
            no_cancel,
            cancel,
            format!(
                "coupon {cancelled} entries: expected CANCEL_REDEMPTION or nothing, found Expire at "
            ),
        ),
        damage(
            entry(redeemed, 0, later),
            entry(redeemed, 0, earlier),
            format!("coupon {redeemed} entries: expected ISSUE, found Redeem at "),
        ),
        damage(
            entry(redeemed, 1, "action = 3, order_id = NULL"),
            entry(redeemed, 3, "action = 1, order_id = 'o'"),
            format!("coupon {redeemed} entries: expected no EXPIRE before the expiry"),
        ),
        damage(
            entry(redeemed, 1, "order_id = NULL"),
            entry(redeemed, 1, "order_id = 'o'"),
            "history entry ",
        ),
        damage(
            entry(redeemed, 1, "order_amount = NULL, discount_amount = NULL"),
            entry(redeemed, 1, "order_amount = 5000, discount_amount = 1000"),
            "history entry ",
        ),
        damage(
            entry(redeemed, 1, "discount_amount = 999"),
            entry(redeemed, 1, "discount_amount = 1000"),
            "history entry ",
        ),
        damage(
            entry(cancelled, 2, "discount_amount = NULL"),
            entry(cancelled, 2, "discount_amount = 1000"),
            "history entry ",
        ),
        damage(
            entry(cancelled, 2, "discount_amount = 999"),
            entry(cancelled, 2, "discount_amount = 1000"),
            "history entry ",
        ),
        damage(
            entry(cancelled, 2, "order_amount = 5000"),
            entry(cancelled, 2, "order_amount = NULL"),
            "history entry ",
        ),
        damage(
            entry(expired, 3, "discount_amount = 0"),
            entry(expired, 3, "discount_amount = NULL"),
            "history entry ",
        ),
        damage(
            entry(redeemed, 1, "merchant_id = 2"),
            entry(redeemed, 1, "merchant_id = 1"),
            "history entry ",
        ),
        damage(
            entry(redeemed, 1, "template_id = template_id + 1"),
            entry(redeemed, 1, "template_id = template_id - 1"),
            "history entry ",
        ),
        damage(
            entry(redeemed, 1, "action = 7"),
            entry(redeemed, 7, "action = 1"),
            "history entry ",
        ),
        damage(
            entry(cancelled, 2, "order_id = 'O'"),
            entry(cancelled, 2, "order_id = 'o'"),
            format!(
                "coupon {cancelled} entries: expected a cancellation of the order that redeemed it"
            ),
        ),
        damage(
            entry(
                discarded,
                4,
                "recorded_at = (SELECT issued_at FROM coupons WHERE user_id = 'd')",
            ),
            entry(
                discarded,
                4,
                "recorded_at = (SELECT changed_at FROM coupons WHERE user_id = 'd')",
            ),
            format!(
                "coupon {discarded} entries: expected one recorded later than the one before it"
            ),
        ),
    ]
}

fn of_templates(coupons: &Coupons) -> Vec<Damage> {
    let [free, limited, gone] = coupons.templates;
    let template =
        |id: i64, set: &str| format!("UPDATE coupon_templates SET {set} WHERE id = {id}");
    let slot = |change: &str| {
        format!(
            "UPDATE template_redemptions SET redeem_count = redeem_count {change} WHERE template_id = {free} LIMIT 1"
        )
    };
    vec![
        damage(
            template(free, "issue_count = issue_count + 1"),
            template(free, "issue_count = issue_count - 1"),
            format!("template {free} issue_count: expected 3, found 4"),
        ),
        damage(
            slot("+ 1"),
            slot("- 1"),
            format!("template {free} redeem_count: expected 1, found 2"),
        ),
        damage(
            format!("INSERT INTO template_redemptions VALUES ({free}, 77, -1)"),
            "DELETE FROM template_redemptions WHERE slot = 77",
            format!("template {free} redeem_count slot 77: expected at least 0, found -1"),
        ),
        damage(
            format!("INSERT INTO template_redemptions VALUES ({limited}, 77, 1)"),
            "DELETE FROM template_redemptions WHERE slot = 77",
            format!("template {limited} redeem_count slot 77: expected none with a limit, found 1"),
        ),
        damage(
            template(free, "redeem_count = 1"),
            template(free, "redeem_count = 0"),
            format!("template {free} redeem_count row: expected 0, found 1"),
        ),
        damage(
            template(limited, "redeem_count = 0"),
            template(limited, "redeem_count = 1"),
            format!("template {limited} redeem_count: expected 1, found 0"),
        ),
        damage(
            template(limited, "limit_count = 0"),
            template(limited, "limit_count = 2"),
            format!("template {limited} redeemed coupons: expected at most 0, found 1"),
        ),
        damage(
            template(gone, "limit_count = 0"),
            template(gone, "limit_count = 3"),
            format!("template {gone} coupons: expected at most 0, found 1"),
        ),
        damage(
            template(gone, "status = 1"),
            template(gone, "status = 3"),
            format!(
                "coupon {} status: expected not discarded",
                coupons.discarded
            ),
        ),
        damage(
            template(free, "status = 9"),
            template(free, "status = 1"),
            format!("template {free} row: expected one that can be read"),
        ),
        damage(
            "INSERT INTO discard_walks SELECT template_id, user_id, 0 FROM coupons WHERE user_id = 'i'",
            "DELETE FROM discard_walks WHERE passed_user_id = 'i'",
            format!(
                "coupon {} sweep: expected still before it, found passed",
                coupons.issued
            ),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_damage_is_reported() {
    let scene = Scene::new().await;
    let coupons = coupons(&scene).await;
    let clean = [""; 0];
    assert_eq!(scene.audit().await, clean);
    let all = [
        of_rows(&coupons),
        of_entries(&coupons),
        of_templates(&coupons),
    ];
    for Damage {
        cause,
        mend,
        report,
    } in all.into_iter().flatten()
    {
        scene.sql(&cause).await;
        let lines = scene.audit().await;
        assert!(
            lines.iter().any(|line| line.starts_with(&report)),
            "{cause}\nis not reported as\n{report}\nbut as\n{lines:#?}"
        );
        scene.sql(&mend).await;
        assert_eq!(scene.audit().await, clean, "after {mend}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_from_before_an_upgrade_may_lack_their_amounts() {
    let scene = Scene::new().await;
    let coupons = coupons(&scene).await;
    let forget = "UPDATE coupon_histories SET order_amount = NULL, discount_amount = NULL";
    scene.sql(forget).await;
    assert_eq!(scene.audit().await.len(), 3, "each REDEEM");
    // As if the second schema step had been made at the time of the newest entry.
    let reached = |at: &str| format!("UPDATE schema_steps SET reached_at = {at} WHERE version = 2");
    let newest = "(SELECT MAX(recorded_at) FROM coupon_histories)";
    scene.sql(&reached(newest)).await;
    assert_eq!(scene.audit().await, [""; 0]);
    let only = format!(
        "UPDATE coupon_histories SET order_amount = 5000 WHERE action = 1 AND coupon_id = x'{}'",
        coupons.redeemed
    );
    scene.sql(&only).await;
    assert_eq!(scene.audit().await.len(), 1, "one amount without the other");
}
