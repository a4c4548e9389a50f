//! Issuers, which come and go, over late, repeated, unreadable and foreign records of the log.

use std::time::Duration;

use goodpon_application::ports::Clock;
use goodpon_domain::{
    gate::{Epoch, IssueEvent, LogContent, LogRecord, Tally, Unreadable, WriteResult},
    id::{CouponId, TemplateId},
    template::Limit,
};
use goodpon_mysql::{Settled, StaysParked};
use jiff::{SignedDuration, Timestamp};

use super::{Scene, ran};

impl Scene {
    pub(super) fn event(&self, template: TemplateId, user: &str) -> IssueEvent {
        let now = self.clock.now();
        IssueEvent {
            coupon_id: CouponId::new(now, self.scaled.partner.random_u64()),
            template_id: template,
            epoch: Epoch(1),
            user_id: user.into(),
            accepted_at: now,
            keyed: None,
            valid_until: at(6),
        }
    }

    async fn write(&self, partition: i32, records: &[LogRecord]) -> WriteResult {
        let written = self
            .store
            .write_issues(partition, records, goodpon_kafka::keep);
        written.await.unwrap()
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + seconds)
}

fn record(offset: i64, appended_at: Timestamp, content: LogContent) -> LogRecord {
    LogRecord {
        offset,
        appended_at,
        content,
    }
}

fn done(tally: Tally) -> WriteResult {
    WriteResult::Done(tally)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_written_once_and_only_in_its_turn() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::IssueCount(3)).await;
    let [a, b] = ["a", "b"].map(|user| scene.event(template, user));
    let batch = [
        record(0, at(1), LogContent::Event(a.clone())),
        record(1, at(2), LogContent::Tick),
        record(2, at(6), LogContent::Event(b.clone())),
        record(3, at(6), LogContent::Event(a.clone())),
    ];
    let tally = Tally {
        written: 2,
        duplicates: 1,
        ..Tally::default()
    };
    assert_eq!(scene.write(0, &batch).await, done(tally));
    for again in [&batch[..], &batch[2..]] {
        let written = scene.write(0, again).await;
        assert_eq!(
            written,
            WriteResult::Elsewhere { next_offset: 4 },
            "processed already"
        );
    }
    let ahead = [record(
        9,
        at(7),
        LogContent::Event(scene.event(template, "z")),
    )];
    assert_eq!(
        scene.write(0, &ahead).await,
        WriteResult::Elsewhere { next_offset: 4 }
    );
    // The same event in another partition, as after the number of partitions has grown.
    let copy = [record(0, at(3), LogContent::Event(b))];
    let duplicate = Tally {
        duplicates: 1,
        ..Tally::default()
    };
    assert_eq!(scene.write(1, &copy).await, done(duplicate));
    assert_eq!(scene.store.written_counts(&[template]).await.unwrap(), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_counts_up_to_its_last_moment() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let (last, late) = (scene.event(template, "last"), scene.event(template, "late"));
    let batch = [
        record(
            0,
            late.valid_until + SignedDuration::from_micros(1),
            LogContent::Event(late),
        ),
        record(1, last.valid_until, LogContent::Event(last)),
    ];
    let tally = Tally {
        written: 1,
        void: 1,
        ..Tally::default()
    };
    assert_eq!(scene.write(0, &batch).await, done(tally));
    assert!(!scene.store.is_holder(template, "late").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_written_are_parked_and_delay_no_others() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::IssueCount(2)).await;
    let gone = TemplateId(template.0 + 1_000);
    let unreadable = |until| {
        LogContent::Unreadable(Unreadable {
            reason: "version 9 is not known".into(),
            template_id: Some(template),
            user_id: Some("u".into()),
            valid_until: until,
            raw: vec![9, 9],
        })
    };
    let batch = [
        record(0, at(1), LogContent::Event(scene.event(gone, "a"))),
        record(1, at(7), unreadable(Some(at(6)))),
        record(2, at(5), unreadable(Some(at(6)))),
        record(3, at(5), unreadable(None)),
        record(4, at(5), LogContent::Event(scene.event(template, "b"))),
        record(5, at(5), LogContent::Event(scene.event(template, "c"))),
        record(6, at(5), LogContent::Event(scene.event(template, "d"))),
    ];
    let tally = Tally {
        written: 2,
        void: 1,
        parked: 4,
        over_limit: 1,
        duplicates: 0,
    };
    assert_eq!(scene.write(0, &batch).await, done(tally));
    let parked = scene.store.parked(100).await.unwrap();
    let offsets: Vec<_> = parked.iter().map(|one| one.offset).collect();
    assert_eq!(offsets, [0, 2, 3, 6]);
    for one in &parked[..1] {
        let raw = scene.store.parked_raw(0, one.offset).await.unwrap();
        let event = match goodpon_kafka::reread(&raw.unwrap(), scene.scaled.installation()) {
            goodpon_domain::gate::LogContent::Event(event) => event,
            other => panic!("{other:?}"),
        };
        let stays = scene
            .store
            .retry_parked(0, one.offset, &event)
            .await
            .unwrap();
        assert!(matches!(stays, Err(StaysParked::Because(_))), "{stays:?}");
    }
    assert!(scene.store.discard_parked(0, 0).await.unwrap());
    assert!(!scene.store.discard_parked(0, 0).await.unwrap(), "once");
    let event = scene.event(template, "b");
    let held = scene.store.retry_parked(0, 2, &event).await.unwrap();
    assert_eq!(held, Ok(Settled::Held));
    let again = scene.store.retry_parked(0, 2, &event).await.unwrap();
    assert_eq!(again, Err(StaysParked::NotFound));
    assert_eq!(scene.store.parked_raw(0, 2).await.unwrap(), None);
    let over = scene
        .store
        .retry_parked(0, 3, &scene.event(template, "e"))
        .await
        .unwrap();
    assert!(matches!(over, Err(StaysParked::Because(_))), "{over:?}");
    assert_eq!(scene.store.written_counts(&[template]).await.unwrap(), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_the_database_refuses_are_parked_alone() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::IssueCount(9)).await;
    let first = scene.event(template, "first");
    let of_another = |user: &str| IssueEvent {
        coupon_id: first.coupon_id,
        ..scene.event(template, user)
    };
    let (twin, late_twin) = (of_another("twin"), of_another("late twin"));
    let too_long = scene.event(template, &"x".repeat(300));
    let begun = [
        record(0, at(1), LogContent::Event(first.clone())),
        // In the same statement as the event whose coupon id it has.
        record(1, at(1), LogContent::Event(twin)),
    ];
    let tally = |written, parked| Tally {
        written,
        parked,
        ..Tally::default()
    };
    assert_eq!(scene.write(0, &begun).await, done(tally(1, 1)));
    let batch = [
        record(2, at(2), LogContent::Event(scene.event(template, "a"))),
        record(3, at(2), LogContent::Event(late_twin.clone())),
        record(4, at(2), LogContent::Event(too_long)),
        record(5, at(2), LogContent::Event(scene.event(template, "b"))),
    ];
    assert_eq!(scene.write(0, &batch).await, done(tally(2, 2)));
    assert_eq!(scene.store.written_counts(&[template]).await.unwrap(), [3]);
    let parked = scene.store.parked(100).await.unwrap();
    let parked: Vec<_> = parked
        .iter()
        .map(|one| (one.offset, one.user_id.as_deref()))
        .collect();
    assert_eq!(
        parked,
        [(1, Some("twin")), (3, Some("late twin")), (4, None)]
    );
    let stays = scene.store.retry_parked(0, 3, &late_twin).await.unwrap();
    assert!(matches!(stays, Err(StaysParked::Because(_))), "{stays:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_event_becomes_a_coupon() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let event = scene.event(template, "a");
    let unreadable = LogContent::Unreadable(Unreadable {
        reason: "version 9 is not known".into(),
        template_id: Some(template),
        user_id: Some("a".into()),
        valid_until: None,
        raw: vec![],
    });
    scene.write(0, &[record(0, at(1), unreadable)]).await;
    let settled = scene.store.retry_parked(0, 0, &event).await.unwrap();
    assert_eq!(settled, Ok(Settled::Written));
    assert!(scene.store.is_holder(template, "a").await.unwrap());
    assert!(scene.store.parked(1).await.unwrap().is_empty());
    scene.clock.advance(SignedDuration::from_secs(1));
    let differences = goodpon_application::ports::Audit::audit(&scene.scaled).await;
    assert!(differences.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_issuers_that_start_late_write_all_events() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let issues = (0..300).map(|number| {
        let scene = &scene;
        async move {
            let issued = scene.issue(template, &format!("user-{number}")).await;
            assert_eq!(ran(issued.unwrap()), Ok(()));
        }
    });
    futures::future::join_all(issues).await;
    assert_eq!(scene.store.written_counts(&[template]).await.unwrap(), [0]);
    let _both = [scene.issuer(), scene.issuer()];
    scene.settled().await;
    assert_eq!(
        scene.store.written_counts(&[template]).await.unwrap(),
        [300]
    );
    scene.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_does_not_go_by_kafkas_offsets() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    {
        let first = scene.issuer();
        assert_eq!(ran(scene.issue(template, "a").await.unwrap()), Ok(()));
        scene.settled().await;
        scene.stop_issuers();
        first.finished().await;
    }
    // After the restore of a backup, the log's events are written again.
    scene.rewind().await;
    let _second = scene.issuer();
    scene.settled().await;
    assert!(scene.store.is_holder(template, "a").await.unwrap());
    tokio::time::timeout(Duration::from_secs(1), scene.audited())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn installations_that_share_a_topic_each_write_their_own() {
    let one = Scene::new().await;
    let other = one.beside().await;
    let templates = [
        one.template(Limit::None).await,
        other.template(Limit::None).await,
    ];
    assert_eq!(templates[0], templates[1], "both must have the same id");
    let _both = [one.issuer(), other.issuer()];
    let issues = (0..100).map(|number| {
        let (scene, name) = [(&one, "one"), (&other, "other")][number % 2];
        async move {
            let issued = scene.issue(templates[0], &format!("{name}-{number}")).await;
            assert_eq!(ran(issued.unwrap()), Ok(()));
        }
    });
    futures::future::join_all(issues).await;
    for (scene, name) in [(&one, "one"), (&other, "other")] {
        let settled = tokio::time::timeout(Duration::from_secs(30), scene.settled());
        assert!(settled.await.is_ok(), "{name} does not read all of the log");
        let holders = scene.store.holders(templates[0], "", 1_000).await.unwrap();
        assert_eq!(holders.len(), 50);
        let foreign = holders.iter().find(|one| !one.user_id.starts_with(name));
        assert_eq!(foreign.map(|one| &one.user_id), None, "in {name}");
        assert!(scene.store.parked(1).await.unwrap().is_empty());
    }
    // The audit of neither reports anything of the other.
    one.audited().await;
    other.audited().await;
}
