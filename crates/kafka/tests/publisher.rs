//! Appending to the log of a real broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod proxy;
mod support;

use std::time::Duration;

use futures::future::join_all;
use goodpon_domain::gate::{LogContent, LogRecord};
use goodpon_kafka::{Cluster, PublishError, Publisher, topic};
use goodpon_trace::{SpanId, TraceContext, TraceId};
use proxy::Proxy;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminOptions, AlterConfig, ResourceSpecifier},
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use support::{LONG, NOBODY, OWN, Read, TestTopic, admin, at, batch, cluster, event, records};

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_has_the_offset_and_time_of_the_record() {
    let topic = TestTopic::new(3).await;
    let publisher = &topic.publisher().await;
    let acknowledged = join_all((0..30).map(|number| async move {
        let (event, partition) = (event(number), i32::try_from(number % 3).unwrap());
        let appended = publisher.publish(&event, partition, LONG).await.unwrap();
        assert_eq!(appended.partition, partition);
        (appended, LogContent::Event(event))
    }));
    let mut acknowledged = acknowledged.await;
    acknowledged.push((publisher.tick(1, LONG).await.unwrap(), LogContent::Tick));
    let mut acknowledged: Vec<_> = acknowledged
        .into_iter()
        .map(|(appended, content)| Read {
            partition: appended.partition,
            record: LogRecord {
                offset: appended.offset,
                appended_at: appended.appended_at,
                content,
            },
        })
        .collect();
    let mut read = records(&mut topic.consumer(), acknowledged.len());
    acknowledged.sort_by_key(|read| (read.partition, read.record.offset));
    read.sort_by_key(|read| (read.partition, read.record.offset));
    assert_eq!(read, acknowledged);
    assert_eq!(publisher.is_up(), Ok(()));
}

/// Reads the headers `traceparent` of the first `count` records of partition 0.
fn traceparents(cluster: &Cluster, count: usize) -> Vec<Option<String>> {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &cluster.brokers)
        .set("group.id", &cluster.topic)
        .create()
        .unwrap();
    let mut from_the_beginning = TopicPartitionList::new();
    from_the_beginning
        .add_partition_offset(&cluster.topic, 0, Offset::Beginning)
        .unwrap();
    reader.assign(&from_the_beginning).unwrap();
    let read = |_| {
        let record = reader.poll(LONG).expect("a record").unwrap();
        let headers = record.headers().unwrap();
        let traceparent = headers.iter().find(|header| header.key == "traceparent");
        traceparent.map(|header| String::from_utf8(header.value.unwrap().to_vec()).unwrap())
    };
    (0..count).map(read).collect()
}

/// The issuer reads events with and without it alike.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_sampled_request_names_its_trace_in_a_header() {
    let topic = TestTopic::new(1).await;
    let publisher = topic.publisher().await;
    let context = TraceContext {
        trace_id: TraceId::fresh(),
        parent: SpanId::fresh(),
        sampled: true,
    };
    let events = [event(1), event(2)];
    let traced = publisher.publish(&events[0], 0, LONG);
    goodpon_trace::scope(Some(context), traced).await.unwrap();
    publisher.publish(&events[1], 0, LONG).await.unwrap();
    let expected = [Some(context.to_string()), None];
    assert_eq!(traceparents(&topic.0, 2), expected);
    let read = records(&mut topic.consumer(), 2);
    let contents = read.into_iter().map(|read| read.record.content);
    assert!(contents.eq(events.map(LogContent::Event)));
}

/// The partner gets the acknowledgement of the second sending, and the issuer reads the first: both must have the same
/// time.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_had_to_be_sent_twice_is_there_once_with_the_time_of_the_first() {
    let topic = TestTopic::new(1).await;
    let proxy = Proxy::before(&topic.0.brokers).await;
    let mut behind = topic.0.clone();
    behind.brokers.clone_from(&proxy.address);
    let publisher = Publisher::start(&behind, OWN).unwrap();
    publisher.wait_until_up(LONG).await.unwrap();
    publisher.publish(&event(0), 0, LONG).await.unwrap();
    let mut acknowledged = Vec::new();
    for number in 1..=3 {
        proxy.cut_next_acknowledgement();
        acknowledged.push(publisher.publish(&event(number), 0, LONG).await.unwrap());
        assert!(proxy.has_cut());
    }
    // Another producer's record follows at offset 4, if each event is there once.
    let last = topic
        .publisher()
        .await
        .publish(&event(9), 0, LONG)
        .await
        .unwrap();
    assert_eq!(last.offset, 4);
    let read = records(&mut topic.consumer(), 5);
    let positions: Vec<_> = read
        .iter()
        .map(|read| (read.record.offset, read.record.appended_at))
        .collect();
    let acknowledged: Vec<_> = acknowledged
        .iter()
        .map(|appended| (appended.offset, appended.appended_at))
        .collect();
    assert_eq!(positions[1..4], acknowledged);
}

#[tokio::test]
async fn settings_that_the_protocol_rests_on_cannot_be_overridden() {
    let mut topic = TestTopic::new(1).await;
    topic.0.extra = [
        ("acks", "0"),
        ("enable.idempotence", "false"),
        ("message.timeout.ms", "1"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec();
    let appended = topic.publisher().await.publish(&event(1), 0, LONG).await;
    assert_eq!(appended.map(|appended| appended.offset), Ok(0));
}

#[tokio::test]
async fn a_partition_that_is_not_there_is_refused_before_anything_is_sent() {
    let topic = TestTopic::new(2).await;
    let publisher = topic.publisher().await;
    assert_eq!(publisher.partitions(), Some(2));
    for partition in [2, -1, i32::MAX] {
        let refused = publisher.publish(&event(1), partition, LONG).await;
        assert!(
            matches!(refused, Err(PublishError::NotSent(_))),
            "{partition}: {refused:?}"
        );
    }
    assert!(publisher.publish(&event(1), 1, LONG).await.is_ok());
}

#[tokio::test]
async fn a_log_that_gives_no_append_time_is_never_used() {
    let topic = TestTopic::with(&[("message.timestamp.type", "CreateTime")]).await;
    let publisher = topic.publisher().await;
    assert_eq!(
        publisher.publish(&event(1), 0, LONG).await,
        Err(PublishError::Open("no log-append time".into()))
    );
    let problem = publisher.is_up().unwrap_err();
    assert!(problem.contains("must be LogAppendTime"), "{problem}");
    let read = batch(&mut topic.consumer()).1.remove(0);
    assert!(
        matches!(read.content, LogContent::Unreadable { .. }),
        "{read:?}"
    );
    assert_eq!(read.appended_at, jiff::Timestamp::UNIX_EPOCH);

    let right = AlterConfig::new(ResourceSpecifier::Topic(&topic.0.topic))
        .set("message.timestamp.type", "LogAppendTime");
    let altered = admin(&topic.0)
        .alter_configs([&right], &AdminOptions::new())
        .await;
    assert!(altered.unwrap()[0].is_ok());
    let gets_up = async {
        while publisher.is_up().is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, gets_up)
        .await
        .expect("it stays down");
}

#[tokio::test]
async fn without_a_broker_a_publish_ends_at_its_deadline() {
    let publisher = Publisher::start(&at(NOBODY), OWN).unwrap();
    let deadline = Duration::from_millis(300);
    let event = event(1);
    let open = publisher.publish(&event, 0, deadline);
    let open = tokio::time::timeout(LONG, open)
        .await
        .expect("it took too long");
    assert_eq!(
        open,
        Err(PublishError::Open(
            "no acknowledgement within 300 ms".into()
        ))
    );
}

#[tokio::test]
async fn without_a_broker_a_publish_ends_by_itself_before_its_event_is_void() {
    let publisher = Publisher::start(&at(NOBODY), OWN).unwrap();
    let open = publisher.publish(&event(1), 0, LONG).await;
    let Err(PublishError::Open(reason)) = open else {
        panic!("{open:?}");
    };
    assert!(reason.contains("timed out"), "{reason}");
}

#[tokio::test]
async fn without_a_broker_the_publisher_is_not_up_and_gives_the_reason() {
    let publisher = Publisher::start(&at(NOBODY), OWN).unwrap();
    assert_eq!(publisher.is_up(), Err("Kafka was not asked yet".into()));
    let problem = publisher
        .wait_until_up(Duration::from_secs(5))
        .await
        .unwrap_err();
    assert!(
        problem.starts_with("no Kafka broker answers at 127.0.0.1:1: "),
        "{problem}"
    );
    assert!(problem.contains("refused"), "{problem}");
    assert_eq!(publisher.partitions(), None);
}

#[tokio::test]
async fn a_topic_that_comes_late_is_waited_for() {
    let topic = TestTopic(cluster());
    let publisher = Publisher::start(&topic.0, OWN).unwrap();
    let problem = publisher
        .wait_until_up(Duration::from_secs(3))
        .await
        .unwrap_err();
    assert_eq!(
        problem,
        format!("the topic {} does not exist", topic.0.topic)
    );
    topic::create(&topic.0, 1, 1).await.unwrap();
    publisher.wait_until_up(LONG).await.unwrap();
    publisher.publish(&event(1), 0, LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_run_again_takes_over_and_ends_with_the_publisher() {
    let topic = TestTopic(cluster());
    let publisher = Publisher::start(&topic.0, OWN).unwrap();
    let run = || {
        let watch = publisher.watch();
        let (checks, checked) = tokio::sync::watch::channel(0);
        let thread = tokio::task::spawn_blocking(move || {
            watch.run(|| checks.send_modify(|count| *count += 1));
        });
        (thread, checked)
    };
    let (first, mut checked) = run();
    let first_check = tokio::time::timeout(LONG, checked.wait_for(|count| *count > 0)).await;
    assert!(first_check.expect("no check").is_ok());
    let (second, _) = run();
    let ended = tokio::time::timeout(LONG, first).await;
    ended.expect("the first goes on").unwrap();
    topic::create(&topic.0, 1, 1).await.unwrap();
    publisher.wait_until_up(LONG).await.unwrap();
    drop(publisher);
    let ended = tokio::time::timeout(LONG, second).await;
    ended.expect("the second goes on").unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let mut cluster = at(NOBODY);
    cluster.extra = vec![("queue.buffering.max.messages".into(), "1".into())];
    let publisher = Publisher::start(&cluster, OWN).unwrap();
    let (first, second) = (event(1), event(2));
    let (_, refused) = tokio::join!(
        publisher.publish(&first, 0, Duration::from_millis(100)),
        publisher.publish(&second, 0, LONG),
    );
    let Err(PublishError::NotSent(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("Queue full"), "{reason}");
}

/// A mock broker gives the error that ends an idempotent producer for good; no real broker can be made to.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_ended_for_good_is_made_anew() {
    let broker = MockCluster::new(1).unwrap();
    let cluster = at(&broker.bootstrap_servers());
    broker.create_topic(&cluster.topic, 1, 1).unwrap();
    broker.request_errors(
        RDKafkaApiKey::InitProducerId,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED],
    );
    let publisher = Publisher::start(&cluster, OWN).unwrap();
    let first = publisher.publish(&event(1), 0, LONG).await;
    assert!(first.is_err(), "{first:?}");
    let goes_again = async {
        while publisher.publish(&event(2), 0, LONG).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, goes_again)
        .await
        .expect("it stays dead");
}

#[tokio::test]
async fn an_event_of_another_installation_is_foreign_even_if_it_cannot_be_read() {
    for (kind, is_readable) in [("LogAppendTime", true), ("CreateTime", false)] {
        let topic = TestTopic::with(&[("message.timestamp.type", kind)]).await;
        let other = Publisher::start(&topic.0, "other").unwrap();
        other.wait_until_up(LONG).await.unwrap();
        let appended = other.publish(&event(1), 0, LONG).await;
        assert_eq!(appended.is_ok(), is_readable, "{appended:?}");
        let read = batch(&mut topic.consumer()).1.remove(0);
        assert_eq!(read.content, LogContent::Foreign("other".into()));
        if let Ok(appended) = appended {
            assert_eq!(read.appended_at, appended.appended_at);
        }
    }
}
