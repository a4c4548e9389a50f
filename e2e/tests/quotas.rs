//! The quotas of tenants.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::future::join_all;
use goodpon_e2e::World;
use goodpon_e2e::server::Options;
use goodpon_e2e::template::Template;

fn options() -> Options {
    Options::default().args([
        "--max-merchants-per-account",
        "3",
        "--max-templates-per-merchant",
        "2",
        "--max-members-per-merchant",
        "2",
    ])
}

/// Counts the successes among these answers; all others are refused with `code`.
fn successes(answers: &[goodpon_e2e::client::Answer], code: &str) -> usize {
    let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|one| one.status == 200);
    for answer in refused {
        answer.refused(code);
    }
    done.len()
}

#[tokio::test]
async fn quotas_hold_at_once_and_are_refused_with_codes_of_their_own() {
    let world = World::with(options()).await;
    let (owner, merchant) = (&world.owner, world.merchant);
    // The world has one already.
    let merchants = join_all((0..8).map(|_| owner.create_merchant("상점"))).await;
    assert_eq!(successes(&merchants, "MERCHANT_LIMIT_EXCEEDED"), 2);

    let template = Template::default();
    let templates =
        join_all((0..8).map(|_| owner.create_template(merchant, template.body()))).await;
    assert_eq!(successes(&templates, "COUPON_TEMPLATE_LIMIT_EXCEEDED"), 2);
    let bad = Template::fixed(0);
    let answer = owner.create_template(merchant, bad.body()).await;
    answer.validation_failed(&[("discountValue", "고정 할인 금액은 0보다 커야 합니다.")]);
    let id = templates.iter().find(|one| one.status == 200).unwrap().ok()["id"].clone();
    let discarded = owner.discard(merchant, id.as_i64().unwrap(), "").await;
    discarded.ok();
    let answer = owner.create_template(merchant, template.body()).await;
    answer.refused("COUPON_TEMPLATE_LIMIT_EXCEEDED");

    let mut accounts = Vec::new();
    for _ in 0..4 {
        accounts.push(world.fresh_account().await);
    }
    let added = accounts
        .iter()
        .map(|account| owner.add_member(merchant, &account.email));
    let added = join_all(added).await;
    assert_eq!(successes(&added, "MEMBER_LIMIT_EXCEEDED"), 1);
    let stranger = world.stranger().await;
    let answer = stranger.create_template(merchant, template.body()).await;
    answer.refused("NO_MERCHANT_ACCESS_PERMISSION");
}
