//! Obstacles to an issuer: records that no partner wrote, records at which it panics, a slow database, a log that has lost
//! records.

use std::sync::Arc;
use std::time::Duration;

use goodpon_application::ports::{
    Clock, Direction, Health, Histories, HistoryFilter, Random, Templates,
};
use goodpon_domain::{
    gate::{IssueEvent, LogContent, LogRecord, Tally, WriteResult},
    history::HistoryPosition,
    id::TemplateId,
    template::{Limit, Period},
};
use goodpon_mysql::StaysParked;
use goodpon_port_laws::{FreshRandom, eventually};
use jiff::{SignedDuration, Timestamp};
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};

use super::{MERCHANT, OWNER, Scene, ran};
use crate::IssuerHealth;

const DAY: SignedDuration = SignedDuration::from_hours(24);
const MICRO: SignedDuration = SignedDuration::from_micros(1);

impl Scene {
    async fn of_right_clocks() -> Self {
        Self::on_time(Arc::new(FreshRandom::default())).await
    }

    /// Publishes a template whose coupons have the longest validity.
    async fn lasting(&self) -> TemplateId {
        self.template_for(Limit::None, |period| Period {
            validity_days: Some(36_500),
            ..period
        })
        .await
    }

    async fn discarded(&self) -> TemplateId {
        let template = self.lasting().await;
        let discarded =
            Templates::discard(&self.scaled, MERCHANT, OWNER, template, "gone".into()).await;
        discarded.unwrap().unwrap().id
    }

    fn accepted(&self, template: TemplateId, user: &str, accepted_at: Timestamp) -> IssueEvent {
        IssueEvent {
            accepted_at,
            valid_until: "9000-01-01T00:00:00Z".parse().unwrap(),
            ..self.event(template, user)
        }
    }

    /// Appends events without an installation's name to the log, like a foreign writer.
    async fn append(&self, partition: i32, events: &[IssueEvent]) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.cluster.brokers)
            .create()
            .unwrap();
        for event in events {
            // A packed event begins with a version, a mark, the length of the body in four bytes, and the body.
            let kept = goodpon_kafka::keep(event);
            let length = u32::from_be_bytes(kept[2..6].try_into().unwrap()) as usize;
            let record = FutureRecord::<(), [u8]>::to(&self.cluster.topic)
                .partition(partition)
                .payload(&kept[6..6 + length]);
            let sent = producer.send(record, Duration::from_secs(20)).await;
            sent.map_err(|(error, _)| error).unwrap();
        }
    }

    async fn parked_reasons(&self) -> Vec<String> {
        let parked = self.store.parked(100).await.unwrap();
        parked.into_iter().map(|one| one.reason).collect()
    }

    /// The issuer's problem in the readiness report.
    async fn issuer_problem(&self) -> Option<String> {
        let all = IssuerHealth(self.scaled.clone()).check().await;
        let issuer = all.into_iter().find(|one| one.name == "issuer")?;
        assert!(issuer.is_vital);
        issuer.problem
    }
}

/// Returns times of acceptance that no partner states; the nearest are a day and `edge` away from `now`.
fn far_from(now: Timestamp, edge: SignedDuration) -> Vec<Timestamp> {
    let far = [
        "9999-12-30T22:00:00.999999Z",
        "9998-06-01T00:00:00Z",
        "1969-12-31T23:59:59.999999Z",
        "-009999-01-02T01:59:59Z",
    ];
    let mut far: Vec<Timestamp> = far.iter().map(|text| text.parse().unwrap()).collect();
    far.extend([Timestamp::MAX, Timestamp::MIN]);
    far.extend([now + DAY + edge, now - DAY - edge]);
    far
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_acceptance_that_no_partner_states_are_parked() {
    let scene = Scene::of_right_clocks().await;
    let now = scene.clock.now();
    let mut records = Vec::new();
    let mut add = |event| {
        let content = LogContent::Event(event);
        let offset = i64::try_from(records.len()).unwrap();
        records.push(LogRecord {
            offset,
            appended_at: now,
            content,
        });
    };
    let mut far = 0;
    for (kind, template) in [
        ("plain", scene.template(Limit::None).await),
        ("lasting", scene.lasting().await),
        ("discarded", scene.discarded().await),
    ] {
        for (number, at) in far_from(now, MICRO).into_iter().enumerate() {
            add(scene.accepted(template, &format!("{kind}-{number}"), at));
            far += 1;
        }
        for (user, at) in [("early", now - DAY), ("late", now + DAY)] {
            add(scene.accepted(template, &format!("{kind}-{user}"), at));
        }
    }
    let written = scene.store.write_issues(0, &records, goodpon_kafka::keep);
    let tally = Tally {
        written: 6,
        parked: far,
        ..Tally::default()
    };
    assert_eq!(written.await.unwrap(), WriteResult::Done(tally));
    let event = match &records[0].content {
        LogContent::Event(event) => event,
        other => panic!("{other:?}"),
    };
    // An operator can give the place back, but cannot make a coupon of the event.
    let stays = scene.store.retry_parked(0, 0, event).await.unwrap();
    assert!(matches!(stays, Err(StaysParked::Because(_))), "{stays:?}");
    assert!(scene.store.discard_parked(0, 0).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_record_of_the_log_stops_the_issuer() {
    let scene = Scene::of_right_clocks().await;
    let now = scene.clock.now();
    let (lasting, discarded) = (scene.lasting().await, scene.discarded().await);
    let mut events = Vec::new();
    for template in [lasting, discarded] {
        // The broker appends the events some time later.
        let edge = SignedDuration::from_hours(1);
        for (number, at) in far_from(now, edge).into_iter().enumerate() {
            events.push(scene.accepted(template, &format!("far-{number}"), at));
        }
    }
    let far = events.len();
    events.push(scene.accepted(discarded, "gone", now));
    events.push(scene.accepted(lasting, "good", now));
    scene.append(0, &events).await;
    let issuer = scene.issuer();
    scene.settled().await;
    assert!(scene.store.is_holder(lasting, "good").await.unwrap());
    assert!(scene.store.is_holder(discarded, "gone").await.unwrap());
    assert_eq!(scene.parked_reasons().await.len(), far);
    assert_eq!(scene.issuer_problem().await, None);
    scene.stop_issuers();
    issuer.finished().await;
}

/// Random bytes for all threads but the issuer's, which panics when it needs some: for coupons of a discarded template.
#[derive(Default)]
struct NotForIssuers(FreshRandom);

impl Random for NotForIssuers {
    fn fill(&self, bytes: &mut [u8]) {
        let thread = std::thread::current();
        assert_ne!(thread.name(), Some("goodpon-issuer"), "none for issuers");
        self.0.fill(bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_at_which_the_issuer_panics_is_parked_alone() {
    let scene = Scene::on_time(Arc::new(NotForIssuers::default())).await;
    let now = scene.clock.now();
    let (lasting, discarded) = (scene.lasting().await, scene.discarded().await);
    let users = (0..20).map(|number| format!("user-{number}"));
    let mut events: Vec<_> = users
        .map(|user| scene.accepted(lasting, &user, now))
        .collect();
    for at in [0, 7, 22] {
        events.insert(at, scene.accepted(discarded, &format!("bad-{at}"), now));
    }
    scene.append(1, &events).await;
    let _issuer = scene.issuer();
    scene.settled().await;
    assert_eq!(
        scene
            .store
            .written_counts(&[lasting, discarded])
            .await
            .unwrap(),
        [20, 0]
    );
    let reasons = scene.parked_reasons().await;
    assert_eq!(reasons.len(), 3);
    assert!(
        reasons.iter().all(|reason| reason.contains("panicked")),
        "{reasons:?}"
    );
    assert_eq!(scene.issuer_problem().await, None);
    // The issuer still works.
    scene
        .append(1, &[scene.accepted(lasting, "after", now)])
        .await;
    scene.settled().await;
    assert!(scene.store.is_holder(lasting, "after").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_gets_smaller_batches() {
    let scene = Scene::of_right_clocks().await;
    let (template, now) = (scene.template(Limit::None).await, scene.clock.now());
    let users = (0..120).map(|number| format!("user-{number}"));
    let events: Vec<_> = users
        .map(|user| scene.accepted(template, &user, now))
        .collect();
    scene.append(0, &events).await;
    // All coupons together take 6 s, and a transaction may take 5 s.
    let slow = "CREATE TRIGGER slow BEFORE INSERT ON coupons FOR EACH ROW DO SLEEP(0.05)";
    scene.database.run(slow).await;
    let _issuer = scene.issuer();
    eventually("all are written", || async {
        scene.store.written_counts(&[template]).await.unwrap() == [120]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_stands_still_is_reported() {
    let scene = Scene::of_right_clocks().await;
    let set_progress = async |offset: i64| {
        let sql =
            format!("UPDATE issue_progress SET next_offset = {offset} WHERE partition_id = 1");
        scene.database.run(&sql).await;
    };
    assert_eq!(scene.issuer_problem().await, None);
    set_progress(1_000).await;
    let _issuer = scene.issuer();
    eventually("the log lacks records", || async {
        let problem = scene.issuer_problem().await;
        problem.is_some_and(|why| why.contains("partition 1 stands still: the log"))
    })
    .await;
    set_progress(0).await;
    eventually("it goes on", || async {
        scene.issuer_problem().await.is_none()
    })
    .await;
    // The database fails in a way against which waiting does not help.
    scene
        .database
        .run("RENAME TABLE coupon_histories TO elsewhere")
        .await;
    let template = scene.template(Limit::None).await;
    let event = scene.accepted(template, "u", scene.clock.now());
    scene.append(0, &[event]).await;
    eventually("coupons cannot be written", || async {
        let problem = scene.issuer_problem().await;
        problem.is_some_and(|why| why.contains("partition 0 stands still"))
    })
    .await;
    scene
        .database
        .run("RENAME TABLE elsewhere TO coupon_histories")
        .await;
    scene.settled().await;
    assert_eq!(scene.issuer_problem().await, None);
    assert!(scene.store.is_holder(template, "u").await.unwrap());
}

/// An issuer that is far behind writes entries with old times. A cursor from before them finds them (contract §2.2).
#[tokio::test(flavor = "multi_thread")]
async fn entries_that_come_late_are_found_from_an_older_cursor() {
    let scene = Scene::of_right_clocks().await;
    let (template, now) = (scene.template(Limit::None).await, scene.clock.now());
    let seconds = SignedDuration::from_secs;
    let write = async |partition: i32, offset: i64, user: &str, accepted_at: Timestamp| {
        let content = LogContent::Event(scene.accepted(template, user, accepted_at));
        let record = LogRecord {
            offset,
            appended_at: accepted_at,
            content,
        };
        let records = [record];
        let written = scene
            .store
            .write_issues(partition, &records, goodpon_kafka::keep);
        assert!(matches!(written.await, Ok(WriteResult::Done(_))));
    };
    let read = async |after: Option<HistoryPosition>| {
        let filter = HistoryFilter::default();
        let page = Histories::page(
            &scene.store,
            MERCHANT,
            &filter,
            Direction::Ascending,
            after,
            10,
        );
        page.await.unwrap()
    };
    write(0, 0, "first", now).await;
    let first = read(None).await;
    let cursor = |entry: &goodpon_domain::history::HistoryEntry| HistoryPosition {
        recorded_at: entry.recorded_at,
        id: entry.id,
    };
    let older = cursor(&first[0]);
    write(0, 1, "quick", now + seconds(60)).await;
    let quick = read(Some(older)).await;
    let newer = cursor(quick.last().unwrap());
    for (offset, user) in ["slow", "slower"].into_iter().enumerate() {
        let accepted_at = now + seconds(20 + i64::try_from(offset).unwrap());
        write(1, i64::try_from(offset).unwrap(), user, accepted_at).await;
    }
    assert!(read(Some(newer)).await.is_empty());
    let users: Vec<_> = read(Some(older))
        .await
        .into_iter()
        .map(|one| one.user_id)
        .collect();
    assert_eq!(users, ["slow", "slower", "quick"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_whose_clock_is_wrong_accepts_nothing() {
    let scene = Scene::of_right_clocks().await;
    let template = scene.template(Limit::IssueCount(1)).await;
    let right = scene.clock.now();
    scene.clock.set(right + SignedDuration::from_hours(13));
    let refused = scene.issue(template, "u").await.unwrap_err();
    assert!(refused.to_string().contains("clock"), "{refused}");
    scene.clock.set(right);
    assert_eq!(
        ran(scene.issue(template, "u").await.unwrap()),
        Ok(()),
        "the place is left"
    );
}
