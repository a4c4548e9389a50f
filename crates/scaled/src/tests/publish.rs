//! Publishing: events that count, and conditions in which none is published.

use std::time::Duration;

use goodpon_application::ports::{Clock, Health, StoreError};
use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Epoch, GateId, IssueEvent, valid_until},
    id::{CouponId, TemplateId},
    template::Limit,
};
use goodpon_kafka::{Cluster, topic};
use goodpon_port_laws::eventually;
use goodpon_trace::{SpanId, TraceContext, TraceId};
use jiff::{SignedDuration, Timestamp};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::{BorrowedHeaders, Headers as _},
};
use tokio::time::Instant;

use super::{PARTITIONS, Scene, ran};
use crate::{TopicState, ports::IssueLog as _};

fn event(template: TemplateId, valid_until: Timestamp) -> IssueEvent {
    IssueEvent {
        coupon_id: CouponId::new(valid_until, 7),
        template_id: template,
        epoch: Epoch(1),
        user_id: "u".into(),
        accepted_at: valid_until,
        keyed: None,
        valid_until,
    }
}

fn may_have_happened(outcome: &Result<(), StoreError>) -> bool {
    let may_have_happened = |error: &StoreError| {
        matches!(
            error,
            StoreError::Unavailable {
                may_have_happened: true,
                ..
            }
        )
    };
    outcome.as_ref().is_err_and(may_have_happened)
}

/// Returns a header's value as text.
fn text(headers: &BorrowedHeaders, key: &str) -> Option<String> {
    let header = headers.iter().find(|header| header.key == key)?;
    Some(String::from_utf8(header.value?.to_vec()).unwrap())
}

/// Reads user and `traceparent` of the first `count` events of a topic, in the order of the users.
fn traced_users(cluster: &Cluster, count: usize) -> Vec<(String, Option<String>)> {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &cluster.brokers)
        .set("group.id", &cluster.topic)
        .create()
        .unwrap();
    let mut beginnings = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let added = beginnings.add_partition_offset(&cluster.topic, partition, Offset::Beginning);
        added.unwrap();
    }
    reader.assign(&beginnings).unwrap();
    let mut users = Vec::new();
    while users.len() < count {
        let record = reader.poll(Duration::from_secs(20));
        let record = record.expect("a further record").unwrap();
        // Ticks have no headers.
        if let Some(headers) = record.headers() {
            users.push((text(headers, "user").unwrap(), text(headers, "traceparent")));
        }
    }
    users.sort();
    users
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_of_a_sampled_request_names_its_trace() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let context = TraceContext {
        trace_id: TraceId::fresh(),
        parent: SpanId::fresh(),
        sampled: true,
    };
    let traced = goodpon_trace::scope(Some(context), scene.issue(template, "sampled"));
    let (traced, plain) = tokio::join!(traced, scene.issue(template, "unsampled"));
    assert_eq!(
        (ran(traced.unwrap()), ran(plain.unwrap())),
        (Ok(()), Ok(()))
    );
    let expected = [
        ("sampled".to_owned(), Some(context.to_string())),
        ("unsampled".to_owned(), None),
    ];
    assert_eq!(traced_users(&scene.cluster, 2), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_counts_only_if_the_log_appended_it_in_time() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    let asked = Instant::now();
    let read_at = scene
        .store
        .read_gate(template)
        .await
        .unwrap()
        .unwrap()
        .read_at;
    let fresh = event(template, valid_until(read_at));
    assert!(
        scene
            .scaled
            .partner
            .publishing
            .publish(&fresh, asked)
            .await
            .is_ok()
    );
    let late = event(template, read_at - SignedDuration::from_secs(1));
    let outcome = scene.scaled.partner.publishing.publish(&late, asked).await;
    assert!(may_have_happened(&outcome), "{outcome:?}");
    // By this process's own clock the time is over, whatever the other clocks say.
    let long_ago = asked.checked_sub(Duration::from_secs(7)).unwrap();
    let outcome = scene
        .scaled
        .partner
        .publishing
        .publish(&fresh, long_ago)
        .await;
    assert!(may_have_happened(&outcome), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unacknowledged_event_is_no_success() {
    let mut scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    assert_eq!(ran(scene.issue(template, "a").await.unwrap()), Ok(()));
    let nowhere = Cluster {
        brokers: "127.0.0.1:1".into(),
        ..scene.cluster.clone()
    };
    scene.publish_to(&nowhere).await;
    let asked = Instant::now();
    let read_at = scene
        .store
        .read_gate(template)
        .await
        .unwrap()
        .unwrap()
        .read_at;
    let event = event(template, valid_until(read_at));
    let outcome = scene.scaled.partner.publishing.publish(&event, asked).await;
    assert!(outcome.is_err(), "{outcome:?}");
    // A request for a place is refused at once, and no place is given. A certain answer is given all the same.
    let refused = scene.issue(template, "b").await;
    assert!(
        matches!(
            refused,
            Err(StoreError::Unavailable {
                may_have_happened: false,
                ..
            })
        ),
        "{refused:?}"
    );
    let again = scene.issue(template, "a").await.unwrap();
    assert!(ran(again).is_err(), "already issued");
    let now = scene.clock.now();
    let bound = scene
        .scaled
        .valkey
        .bound_within(Duration::from_secs(5))
        .await
        .unwrap();
    let look = bound.look(GateId::of(template), Epoch(1), Some("b"), None, now);
    let counts = look.await.unwrap().gate.unwrap();
    assert_eq!((counts.spent, counts.user), (1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_too_few_partitions_gets_no_events() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::None).await;
    assert_eq!(ran(scene.issue(template, "a").await.unwrap()), Ok(()));
    // The database has the progress of one more partition than the topic has.
    scene
        .store
        .set_up_partitions(super::PARTITIONS + 1)
        .await
        .unwrap();
    scene.read_progress().await;
    let found = scene.scaled.look_at_topic().await;
    assert!(
        matches!(&found, TopicState::Bad(why) if why.contains("partitions")),
        "{found:?}"
    );
    match scene.issue(template, "b").await {
        Err(StoreError::Unavailable {
            reason,
            may_have_happened: false,
        }) => assert!(reason.contains("partitions"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let health = Health::check(&scene.scaled).await;
    let kafka = health.iter().find(|one| one.name == "kafka").unwrap();
    assert!(
        kafka.problem.as_ref().unwrap().contains("partitions"),
        "{kafka:?}"
    );
    // An operator adds the partition.
    let cluster = &scene.cluster;
    topic::grow(cluster, super::PARTITIONS + 1).await.unwrap();
    eventually("the topic is good", || async {
        scene.scaled.look_at_topic().await == TopicState::Good
    })
    .await;
    // Producers learn of it a little later. A place that was given meanwhile is published then.
    let issued = scene.issued_in_the_end(template, "b").await;
    let has_one = Err(IssueRefusal::AlreadyIssued);
    assert!(issued == Ok(()) || issued == has_one, "{issued:?}");
}

/// Issuers do not read offsets again that were processed, so events that are appended there would not become coupons.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_made_anew_accepts_nothing() {
    let scene = Scene::new().await;
    let template = scene.template(Limit::IssueCount(5)).await;
    assert_eq!(ran(scene.issue(template, "a").await.unwrap()), Ok(()));
    let set_progress = async |offset: i64| {
        let sql = format!("UPDATE issue_progress SET next_offset = {offset}");
        scene.database.run(&sql).await;
    };
    set_progress(1_000).await;
    scene.read_progress().await;
    for _ in 0..2 {
        match scene.issue(template, "b").await {
            Err(StoreError::Unavailable { reason, .. }) => {
                assert!(reason.contains("made anew"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        // A further check finds the same.
        let found = scene.scaled.look_at_topic().await;
        assert!(matches!(found, TopicState::Bad(_)), "{found:?}");
    }
    assert!(scene.scaled.kafka.problem().is_some());
    set_progress(0).await;
    scene.read_progress().await;
    assert_eq!(scene.scaled.look_at_topic().await, TopicState::Good);
    let _issuer = scene.issuer();
    let refusal = scene.issued_in_the_end(template, "b").await;
    assert!(matches!(refusal, Ok(()) | Err(IssueRefusal::AlreadyIssued)));
    scene.audited().await;
}
