//! Laws of [`goodpon_application::ports::Histories`].

use std::collections::BTreeSet;
use std::time::Instant;

use goodpon_application::ports::{Direction, HistoryFilter};
use goodpon_domain::{
    history::{HistoryEntry, HistoryPosition},
    id::{MerchantId, TemplateId},
    ledger::{
        Amounts,
        HistoryAction::{CancelRedemption, Discard, Expire, Issue, Redeem},
    },
    template::{Discount, Terms},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    World,
    scene::{ALL, MICRO, Shop, order},
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn position(entry: &HistoryEntry) -> HistoryPosition {
    HistoryPosition {
        recorded_at: entry.recorded_at,
        id: entry.id,
    }
}

fn is_ascending(entries: &[HistoryEntry]) -> bool {
    entries
        .windows(2)
        .all(|pair| position(&pair[0]) < position(&pair[1]))
}

/// Reads on from page to page until one is empty.
async fn pages(
    world: &World,
    merchant: MerchantId,
    filter: &HistoryFilter,
    direction: Direction,
    size: usize,
) -> Vec<HistoryEntry> {
    let mut read: Vec<HistoryEntry> = Vec::new();
    loop {
        let after = read.last().map(position);
        let page = world
            .stores
            .histories
            .page(merchant, filter, direction, after, size)
            .await
            .unwrap();
        assert!(page.len() <= size, "a page of more than {size}");
        if page.is_empty() {
            return read;
        }
        read.extend(page);
        assert!(read.len() < ALL, "pages without end for {filter:?}");
    }
}

fn passes(entry: &HistoryEntry, filter: &HistoryFilter) -> bool {
    filter.from.is_none_or(|from| entry.recorded_at >= from)
        && filter.until.is_none_or(|until| entry.recorded_at < until)
        && filter
            .order_id
            .as_ref()
            .is_none_or(|id| entry.order_id.as_ref() == Some(id))
        && filter
            .user_id
            .as_ref()
            .is_none_or(|id| entry.user_id == *id)
        && filter.template_id.is_none_or(|id| entry.template_id == id)
}

/// A shop with entries of every kind, many of one instant.
struct Past {
    shop: Shop,
    templates: [TemplateId; 2],
    /// When coupons were issued, redeemed, cancelled and swept.
    phases: [Timestamp; 4],
}

const USERS: [&str; 4] = ["u", "U", "u ", "v"];

async fn past(world: &World) -> Past {
    let shop = world.shop().await;
    let named = |name: &str, terms| Terms {
        name: name.into(),
        ..terms
    };
    let templates = [
        world
            .published(&shop, named("끝나는 쿠폰", world.ending_in(HOUR * 4)))
            .await,
        world
            .published(&shop, named("폐기되는 쿠폰", world.terms()))
            .await,
    ];
    let issued_at = world.now();
    let mut coupons = Vec::new();
    for template in templates {
        for user in USERS {
            coupons.push(world.issued(&shop, template, user).await);
        }
    }
    world.clock.advance(HOUR);
    let redeemed_at = world.now();
    for (coupon, id) in coupons.iter().zip(["o", "O", "o", "o ", "p", "o"]) {
        let redeemed = world
            .redeem(shop.id, coupon.id, order(&coupon.user_id, id, 1))
            .await;
        assert!(redeemed.is_ok());
    }
    world.clock.advance(MICRO);
    let cancelled_at = world.now();
    for (coupon, id) in coupons.iter().zip(["o", "O"]) {
        assert!(world.cancel(shop.id, coupon.id, id).await.is_ok());
    }
    world.clock.advance(HOUR * 4);
    let swept_at = world.now();
    let discarded = world
        .stores
        .templates
        .discard(shop.id, shop.owner, templates[1], "재고 소진".into())
        .await;
    assert!(discarded.unwrap().is_ok());
    world.swept().await;
    Past {
        shop,
        templates,
        phases: [issued_at, redeemed_at, cancelled_at, swept_at],
    }
}

/// Every combination of filters, in pages of any size and both orders, finds what a search through all entries finds.
pub async fn filters_find_what_a_plain_search_finds(world: &World) {
    let (other, ours) = (past(world).await, past(world).await);
    let all = world.ledger(ours.shop.id).await;
    assert_eq!(all.len(), 8 + 6 + 2 + 4, "entries");
    assert!(is_ascending(&all), "in order of time, then id");
    let [issued_at, redeemed_at, cancelled_at, swept_at] = ours.phases;
    let texts = |texts: [&str; 3]| {
        [None]
            .into_iter()
            .chain(texts.map(|text| Some(text.to_owned())))
    };
    let froms = [
        None,
        Some(issued_at),
        Some(redeemed_at),
        Some(cancelled_at + MICRO),
    ];
    let untils = [
        None,
        Some(redeemed_at),
        Some(swept_at),
        Some(swept_at + MICRO),
    ];
    let [one, two] = ours.templates;
    let mut size = 0;
    for from in froms {
        for until in untils {
            for order_id in texts(["o", "O", "o  "]) {
                for user_id in texts(["u", "U", "ｕ"]) {
                    for template_id in [None, Some(one), Some(two), Some(other.templates[0])] {
                        let (order_id, user_id) = (order_id.clone(), user_id.clone());
                        let filter = HistoryFilter {
                            from,
                            until,
                            order_id,
                            user_id,
                            template_id,
                        };
                        size = size % (all.len() + 1) + 1;
                        check(world, &ours.shop, &all, &filter, size).await;
                    }
                }
            }
        }
    }
    for absent in [0, -1, i64::MAX] {
        let filter = HistoryFilter {
            template_id: Some(TemplateId(absent)),
            ..HistoryFilter::default()
        };
        check(world, &ours.shop, &all, &filter, 5).await;
        let nobody = world.ledger(MerchantId(absent)).await;
        assert_eq!(nobody, [], "of no merchant");
    }
    for size in 1..=all.len() + 1 {
        check(world, &ours.shop, &all, &HistoryFilter::default(), size).await;
    }
    world.audited().await;
}

async fn check(
    world: &World,
    shop: &Shop,
    all: &[HistoryEntry],
    filter: &HistoryFilter,
    size: usize,
) {
    let mut expected: Vec<_> = all
        .iter()
        .filter(|entry| passes(entry, filter))
        .cloned()
        .collect();
    let found = pages(world, shop.id, filter, Direction::Ascending, size).await;
    assert_eq!(found, expected, "{filter:?} in pages of {size}");
    expected.reverse();
    let found = pages(world, shop.id, filter, Direction::Descending, size).await;
    assert_eq!(
        found, expected,
        "{filter:?} in pages of {size}, newest first"
    );
}

/// Each kind of entry has order, reason, coupon, user and template as the contract says.
pub async fn entries_have_the_fields_of_their_kind(world: &World) {
    let past = past(world).await;
    let all = world.ledger(past.shop.id).await;
    let names = ["끝나는 쿠폰", "폐기되는 쿠폰"];
    for entry in &all {
        let (order, reason) = (entry.order_id.is_some(), entry.reason.as_deref());
        let [issued_at, redeemed_at, cancelled_at, swept_at] = past.phases;
        let expected = match entry.action {
            Issue => (false, None, issued_at),
            Redeem => (true, None, redeemed_at),
            CancelRedemption => (true, Some("단순 변심"), cancelled_at),
            Expire => (false, None, swept_at),
            Discard => (false, Some("재고 소진"), swept_at),
        };
        assert_eq!((order, reason, entry.recorded_at), expected, "{entry:?}");
        let place = past
            .templates
            .iter()
            .position(|id| *id == entry.template_id);
        assert_eq!(
            entry.template_name,
            names[place.expect("a template of the shop")]
        );
        let issue = all
            .iter()
            .find(|one| one.coupon_id == entry.coupon_id)
            .unwrap();
        assert_eq!((issue.action, &issue.user_id), (Issue, &entry.user_id));
    }
}

/// Entries of a coupon within one instant are listed in the order in which they happened.
pub async fn entries_of_one_instant_keep_their_order(world: &World) {
    if world.entries_may_come_late {
        return;
    }
    let shop = world.shop().await;
    let id = world.published(&shop, world.terms()).await;
    for number in 0..8 {
        let user = format!("user-{number}");
        let coupon = world.issued(&shop, id, &user).await.id;
        for round in ["a", "b", "c"] {
            assert!(
                world
                    .redeem(shop.id, coupon, order(&user, round, 1))
                    .await
                    .is_ok()
            );
            assert!(world.cancel(shop.id, coupon, round).await.is_ok());
        }
        let pair = [Redeem, CancelRedemption];
        let expected = [vec![Issue], pair.repeat(3)].concat();
        assert_eq!(world.actions(shop.id, coupon).await, expected);
    }
}

/// Reads the entries behind `after`, in ascending order.
async fn behind(
    world: &World,
    shop: &Shop,
    after: HistoryPosition,
    size: usize,
) -> Vec<HistoryEntry> {
    let filter = HistoryFilter::default();
    let page =
        world
            .stores
            .histories
            .page(shop.id, &filter, Direction::Ascending, Some(after), size);
    page.await.unwrap()
}

/// Users to whom coupons are issued while pages are read.
const ARRIVING: usize = 240;

/// Issues to many users while pages of `size` entries are read in ascending order behind `after`; returns all that was
/// read.
async fn read_while_issuing(
    world: &World,
    shop: &Shop,
    id: TemplateId,
    after: HistoryPosition,
    size: usize,
) -> Vec<HistoryEntry> {
    let issuer = {
        let (world, merchant) = (world.clone(), shop.id);
        tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..ARRIVING {
                let world = world.clone();
                tasks.spawn(async move {
                    let user = format!("user-{number}");
                    assert_eq!(world.issue(merchant, id, &user).await, Ok(()));
                });
                if number % 8 == 7 {
                    while let Some(ended) = tasks.join_next().await {
                        ended.expect("an issue");
                    }
                }
            }
            world.settled().await;
        })
    };
    let mut read: Vec<HistoryEntry> = Vec::new();
    let deadline = Instant::now() + goodpon_waits::DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "the issues do not end");
        let ended = issuer.is_finished();
        let after = read.last().map_or(after, position);
        let page = behind(world, shop, after, size).await;
        if ended && page.is_empty() {
            issuer.await.expect("all issues");
            return read;
        }
        read.extend(page);
        tokio::task::yield_now().await;
    }
}

/// Reads while entries arrive, from behind one that is older than all of them by more than entries may come late, and
/// again from there once all have arrived: that finds every one of them (contract §2.2). On one machine the first
/// reading has found them already.
async fn reads_all_that_arrives(world: &World, step: i64) {
    let shop = world.shop().await;
    let id = world.published(&shop, world.terms()).await;
    world.issued(&shop, id, "long ago").await;
    let older = position(world.ledger(shop.id).await.last().expect("an entry"));
    world.clock.advance(SignedDuration::from_secs(11));
    world.clock.step_by(step);
    let read = read_while_issuing(world, &shop, id, older, 3).await;
    world.clock.step_by(0);
    assert!(is_ascending(&read), "no entry twice");
    let mut again: Vec<HistoryEntry> = Vec::new();
    loop {
        let after = again.last().map_or(older, position);
        let page = behind(world, &shop, after, 7).await;
        if page.is_empty() {
            break;
        }
        again.extend(page);
    }
    let users: BTreeSet<_> = again.iter().map(|entry| entry.user_id.clone()).collect();
    let arrived = (0..ARRIVING)
        .map(|number| format!("user-{number}"))
        .collect();
    assert_eq!(users, arrived, "asked again from an older cursor");
    assert_eq!(again.len(), ARRIVING);
    match world.entries_may_come_late {
        true => {
            let moved = read.iter().filter(|entry| !again.contains(entry)).count();
            assert_eq!(moved, 0, "entries that are elsewhere than they were read");
        }
        false => assert_eq!(read, again, "nothing is skipped"),
    }
    world.audited().await;
}

/// Entries that arrive while pages are read are read in their turn: none twice, and on one machine none skipped.
/// Scaled out, a reader who asks again from an older cursor finds those that came late.
pub async fn ascending_pages_skip_nothing_that_arrives(world: &World) {
    reads_all_that_arrives(world, 1).await;
}

/// The same where the clock stands still, as it does for a store that waits out a clock that was set back.
pub async fn ascending_pages_skip_nothing_of_one_instant(world: &World) {
    reads_all_that_arrives(world, 0).await;
}

/// Reading backwards returns every entry of the start once, whatever arrives meanwhile.
pub async fn descending_pages_are_not_disturbed(world: &World) {
    let shop = world.shop().await;
    let id = world.published(&shop, world.terms()).await;
    world.clock.step_by(1);
    for number in 0..60 {
        assert_eq!(
            world.issue(shop.id, id, &format!("user-{number}")).await,
            Ok(())
        );
    }
    let before = world.ledger(shop.id).await;
    let issuer = {
        let (world, merchant) = (world.clone(), shop.id);
        tokio::spawn(async move {
            for number in 60..120 {
                let user = format!("user-{number}");
                assert_eq!(world.issue(merchant, id, &user).await, Ok(()));
            }
        })
    };
    let filter = HistoryFilter::default();
    let mut read = pages(world, shop.id, &filter, Direction::Descending, 2).await;
    issuer.await.expect("all issues");
    world.clock.step_by(0);
    read.reverse();
    assert!(is_ascending(&read), "no entry twice");
    let missed = before.iter().filter(|entry| !read.contains(entry)).count();
    assert_eq!(missed, 0, "entries that were there and were skipped");
    world.audited().await;
}

/// A REDEEM keeps the amount of its order and the discount, and its cancellation the discount, also where the coupon is
/// redeemed again for another order. No other entry has amounts.
pub async fn entries_keep_their_amounts(world: &World) {
    let shop = world.shop().await;
    let terms = Terms {
        discount: Discount::Percentage {
            percent: 15,
            max: 2_000,
        },
        ..world.ending_in(HOUR)
    };
    let id = world.published(&shop, terms).await;
    let coupon = world.issued(&shop, id, "u").await.id;
    let mut expected = vec![(Issue, None, None)];
    for (amount, off) in [(9_999, 1_499), (0, 0), (1_000_000_000_000, 2_000)] {
        let id = format!("order of {amount}");
        let redeemed = world.redeem(shop.id, coupon, order("u", &id, amount)).await;
        redeemed.expect("an issued coupon can be redeemed");
        let refused = world.cancel(shop.id, coupon, "another").await;
        assert!(refused.is_err(), "leaves no entry");
        world.cancel(shop.id, coupon, &id).await.unwrap();
        expected.push((Redeem, Some(amount), Some(off)));
        expected.push((CancelRedemption, None, Some(off)));
    }
    world.clock.advance(HOUR * 2);
    world.swept().await;
    expected.push((Expire, None, None));
    let ledger = world.ledger(shop.id).await;
    let amounts = |entry: &HistoryEntry| {
        let Amounts { order, discount } = entry.amounts;
        (entry.action, order, discount)
    };
    assert_eq!(ledger.iter().map(amounts).collect::<Vec<_>>(), expected);
    let of_user = HistoryFilter {
        user_id: Some("u".into()),
        ..HistoryFilter::default()
    };
    let page = pages(world, shop.id, &of_user, Direction::Ascending, 3).await;
    assert_eq!(page, ledger, "a user's page has them as well");
    world.audited().await;
}
