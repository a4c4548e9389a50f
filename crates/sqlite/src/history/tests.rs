//! Pages are found by seeks, even of coupons with many entries, which may be out of order.
#![allow(clippy::unwrap_used)]

use goodpon_application::ports::Audit;
use goodpon_domain::{ledger::HistoryAction, template::Limit};
use jiff::SignedDuration;

use super::streams::{active_sql, sql};
use super::*;
use crate::{late::holder::OF_USER, tests::Scene};

/// All pages of that size, one after the other.
async fn pages(
    scene: &Scene,
    filter: &HistoryFilter,
    direction: Direction,
    size: usize,
) -> Vec<HistoryEntry> {
    let mut read: Vec<HistoryEntry> = Vec::new();
    loop {
        let after = read.last().map(|entry| HistoryPosition {
            recorded_at: entry.recorded_at,
            id: entry.id,
        });
        let page = scene
            .store
            .page(scene.merchant, filter, direction, after, size);
        let page = page.await.unwrap();
        if page.is_empty() {
            return read;
        }
        read.extend(page);
    }
}

#[tokio::test]
async fn many_entries_of_a_coupon_are_read_in_order_even_after_the_clock_was_set_back() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let coupon = scene.issued(template, "user").await;
    scene.issued(template, "another").await;
    scene
        .issued(scene.template(Limit::None).await, "user")
        .await;
    for round in 0..60 {
        let order = format!("order {}", round % 3);
        scene.redeem(coupon, "user", &order).await;
        let step = if round == 30 { -600 } else { 1 };
        scene.clock.advance(SignedDuration::from_secs(step));
        scene.cancel(coupon, &order).await;
    }
    let all = pages(&scene, &HistoryFilter::default(), Direction::Ascending, 7).await;
    assert_eq!(all.len(), 3 + 120);
    for order_id in [None, Some("order 1".to_owned())] {
        let filter = HistoryFilter {
            user_id: Some("user".into()),
            order_id,
            ..HistoryFilter::default()
        };
        let passes = |entry: &&HistoryEntry| {
            entry.user_id == "user"
                && (filter.order_id.is_none() || entry.order_id == filter.order_id)
        };
        let mut expected: Vec<_> = all.iter().filter(passes).cloned().collect();
        assert!(expected.len() >= 40);
        for size in [1, 16, 17, 200] {
            let read = pages(&scene, &filter, Direction::Ascending, size).await;
            assert_eq!(read, expected, "in pages of {size}");
        }
        expected.reverse();
        for size in [1, 16, 17, 200] {
            let read = pages(&scene, &filter, Direction::Descending, size).await;
            assert_eq!(read, expected, "in pages of {size}, newest first");
        }
    }
}

#[tokio::test]
async fn a_page_of_a_user_ends_before_what_was_published_while_it_was_read() {
    let scene = Scene::new().await;
    let (one, other) = (
        scene.template(Limit::None).await,
        scene.template(Limit::None).await,
    );
    let (one, other) = (
        scene.issued(one, "user").await,
        scene.issued(other, "user").await,
    );
    let states = &scene.store.inner.published.states;
    let connection = scene.raw();
    let published = states.published();
    let mut coupons = states.load_all(&connection, [one]).unwrap();
    scene.redeem(one, "user", "order 1").await;
    scene.redeem(other, "user", "order 2").await;
    coupons.extend(states.load_all(&connection, [other]).unwrap());
    let reader = Reader {
        connection: &connection,
        merchant: scene.merchant,
        direction: Direction::Descending,
    };
    let filter = HistoryFilter::default();
    let range = Range::of(&filter, reader.direction, None);
    let seen = |published| {
        let page = user_page(&coupons, published, &reader, &filter, range, 10).unwrap();
        page.iter().map(|line| line.action).collect::<Vec<_>>()
    };
    let issues = [HistoryAction::Issue; 2];
    assert_eq!(
        seen(states.published()),
        [&[HistoryAction::Redeem], &issues[..]].concat(),
        "with a hole"
    );
    assert_eq!(seen(published), issues);
    assert_eq!(seen(None), []);
}

#[tokio::test]
async fn entries_that_lead_in_a_circle_come_to_an_end() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let coupon = scene.issued(template, "user").await;
    scene.redeem(coupon, "user", "order").await;
    scene.cancel(coupon, "order").await;
    let damage =
        "UPDATE coupon_histories SET previous_at = recorded_at, previous_id = id WHERE number = 2";
    assert_eq!(scene.raw().execute(damage, []).unwrap(), 1);
    let filter = HistoryFilter {
        user_id: Some("user".into()),
        ..HistoryFilter::default()
    };
    let read = pages(&scene, &filter, Direction::Ascending, 10).await;
    assert_eq!(read.len(), 2);
}

/// The cost of a page in hundreds of steps of SQLite's machine.
fn cost(scene: &Scene, filter: &HistoryFilter, direction: Direction) -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    static STEPS: AtomicUsize = AtomicUsize::new(0);
    let mut connection = scene.raw();
    connection
        .progress_handler(
            100,
            Some(|| {
                STEPS.fetch_add(1, Relaxed);
                false
            }),
        )
        .unwrap();
    let before = STEPS.load(Relaxed);
    let reader = Reader {
        connection: &connection,
        merchant: scene.merchant,
        direction,
    };
    let lines = reader.merge_active(Range::of(filter, direction, None), 21);
    assert_eq!(lines.unwrap().len(), 21);
    STEPS.load(Relaxed) - before
}

/// Templates that record nothing while the page's entries are recorded cost nothing, be they empty or not.
#[tokio::test]
async fn a_page_costs_the_same_however_many_templates_there_are() {
    let scene = Scene::new().await;
    let busy = scene.template(Limit::None).await;
    for user in 0..30 {
        scene.issued(busy, &format!("user {user}")).await;
        scene.clock.advance(SignedDuration::from_millis(300));
    }
    let filter = HistoryFilter::default();
    let first = cost(&scene, &filter, Direction::Ascending);
    for quiet in 0..200 {
        let template = scene.template(Limit::None).await;
        if quiet % 2 == 0 {
            scene.issued(template, "early").await;
        }
    }
    scene.clock.advance(SignedDuration::from_secs(10));
    for user in 30..60 {
        scene.issued(busy, &format!("user {user}")).await;
        scene.clock.advance(SignedDuration::from_millis(300));
    }
    for direction in [Direction::Ascending, Direction::Descending] {
        let now = cost(&scene, &filter, direction);
        assert!(now <= first + first / 4 + 2, "{first} and then {now}");
    }
    let all = pages(&scene, &filter, Direction::Descending, 7).await;
    assert_eq!(all.len(), 30 + 100 + 30);
    assert_eq!(scene.store.audit().await.unwrap(), []);
}

#[test]
fn every_query_seeks_and_none_sorts() {
    let mut connection = Connection::open_in_memory().unwrap();
    crate::schema::migrate(&mut connection).unwrap();
    let mut queries: Vec<String> = [OF_USER, OWN_TEMPLATE, NEXT_TEMPLATE_OF_ORDER, ENTRY]
        .map(str::to_owned)
        .to_vec();
    for direction in [Direction::Ascending, Direction::Descending] {
        queries.push(sql(false, direction));
        queries.push(sql(true, direction));
        queries.push(active_sql(direction));
    }
    for sql in queries {
        let plan = crate::schema::query_plan(&connection, &sql);
        assert!(!plan.contains("SCAN"), "{sql}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
    let plan = crate::schema::query_plan(&connection, &sql(false, Direction::Ascending));
    let seek = "(template_id=? AND (recorded_at,id)>(?,?) AND (recorded_at,id)<(?,?))";
    assert!(plan.contains(seek), "{plan}");
}
