//! Reading the log of a real broker, alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use goodpon_domain::gate::{LogContent, PollResult, Unreadable};
use goodpon_kafka::{Consumer, ConsumerSettings, Error, reread};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use support::{
    LONG, NOBODY, OWN, TestTopic, at, batch, event, fill, next_records, offsets, records,
    wait_until,
};

#[tokio::test(flavor = "multi_thread")]
async fn events_keep_their_order_in_each_partition() {
    let topic = TestTopic::new(3).await;
    let publisher = &topic.publisher().await;
    let sent = join_all((0..3).map(|partition| async move {
        // Sent in this order without waiting, so that the producer alone keeps the order.
        let events: Vec<_> = (0..667).map(event).collect();
        let sent = events
            .iter()
            .map(|event| publisher.publish(event, partition, LONG));
        for appended in join_all(sent).await {
            appended.unwrap();
        }
    }));
    sent.await;
    let mut consumer = topic.consumer();
    let mut read = BTreeMap::<i32, Vec<_>>::new();
    while read.values().map(Vec::len).sum::<usize>() < 3 * 667 {
        let (partition, records) = batch(&mut consumer);
        assert!(records.len() <= 500);
        read.entry(partition).or_default().extend(records);
    }
    assert_eq!(read.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    for records in read.into_values() {
        assert_eq!(offsets(&records), (0..667).collect::<Vec<_>>());
        assert!(records.is_sorted_by_key(|record| record.appended_at));
        let events = (0..667).map(|number| LogContent::Event(event(number)));
        assert!(records.into_iter().map(|record| record.content).eq(events));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_starts_where_the_caller_says_and_not_where_kafka_would() {
    let topic = TestTopic::new(3).await;
    let publisher = topic.publisher().await;
    for partition in 0..3 {
        fill(&publisher, partition, 10).await;
    }
    // All is committed to Kafka.
    let mut before = topic.consumer();
    records(&mut before, 30);
    for partition in 0..3 {
        before.commit(partition, 10);
    }
    drop(before);
    let start = Box::new(|partition: i32| Ok(i64::from(partition) * 4));
    let mut consumer = Consumer::join(&topic.settings(), start).unwrap();
    let mut read = records(&mut consumer, 10 + 6 + 2);
    read.sort_by_key(|read| read.partition);
    let expected: Vec<_> = (0..10).chain(4..10).chain(8..10).collect();
    assert_eq!(offsets(&read), expected);
    assert_eq!(consumer.assigned(), [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_know_the_start_is_asked_again() {
    let topic = TestTopic::new(2).await;
    let publisher = topic.publisher().await;
    fill(&publisher, 0, 3).await;
    fill(&publisher, 1, 3).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let start = Box::new(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0..4 => Err("the database is away".into()),
        _ => Ok(1),
    });
    let mut consumer = Consumer::join(&topic.settings(), start).unwrap();
    assert_eq!(records(&mut consumer, 4).len(), 4);
    assert_eq!(
        asked.load(Ordering::Relaxed),
        6,
        "four in vain, and one for each partition"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_can_be_read_again_and_left_out() {
    let topic = TestTopic::new(1).await;
    let publisher = topic.publisher().await;
    fill(&publisher, 0, 100).await;
    let mut settings = topic.settings();
    settings.max = 10;
    let mut consumer = Consumer::join(&settings, Box::new(|_| Ok(0))).unwrap();
    let ten = |consumer: &mut Consumer| offsets(&batch(consumer).1);
    assert_eq!(ten(&mut consumer), (0..10).collect::<Vec<_>>());
    assert_eq!(ten(&mut consumer), (10..20).collect::<Vec<_>>());
    consumer.seek(0, 5);
    assert_eq!(ten(&mut consumer), (5..15).collect::<Vec<_>>());
    consumer.seek(0, 95);
    assert_eq!(ten(&mut consumer), (95..100).collect::<Vec<_>>());
    assert_eq!(consumer.poll(Duration::from_millis(300)), PollResult::Idle);
    consumer.seek(0, 0);
    consumer.seek(0, 42);
    assert_eq!(ten(&mut consumer), (42..52).collect::<Vec<_>>());
    consumer.seek(7, 0);
    assert_eq!(
        ten(&mut consumer)[0],
        52,
        "another's partition is none of ours"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_gives_nothing_out_and_loses_nothing() {
    let topic = TestTopic::new(2).await;
    let publisher = topic.publisher().await;
    fill(&publisher, 0, 30).await;
    fill(&publisher, 1, 30).await;
    let mut settings = topic.settings();
    settings.max = 7;
    let mut consumer = Consumer::join(&settings, Box::new(|_| Ok(0))).unwrap();
    let mut read = records(&mut consumer, 7);
    for _ in 0..3 {
        consumer.pause_all();
        assert_eq!(consumer.poll(Duration::from_millis(300)), PollResult::Idle);
        fill(&publisher, 0, 5).await;
        assert_eq!(consumer.poll(Duration::from_millis(300)), PollResult::Idle);
        assert_eq!(consumer.assigned(), [0, 1]);
        consumer.resume_all();
        read.extend(next_records(&mut consumer));
    }
    while read.len() < 75 {
        read.extend(next_records(&mut consumer));
    }
    read.sort_by_key(|read| (read.partition, read.record.offset));
    assert_eq!(offsets(&read), (0..45).chain(0..30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_joins_paused_stays_paused() {
    let topic = TestTopic::new(1).await;
    fill(&topic.publisher().await, 0, 3).await;
    let mut consumer = topic.consumer();
    consumer.pause_all();
    wait_until("a partition", || {
        assert_eq!(consumer.poll(Duration::from_millis(100)), PollResult::Idle);
        !consumer.assigned().is_empty()
    });
    assert_eq!(consumer.poll(Duration::from_millis(300)), PollResult::Idle);
    consumer.resume_all();
    assert_eq!(offsets(&records(&mut consumer, 3)), [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_records_come_in_their_place_with_all_that_is_known_of_them() {
    let topic = TestTopic::new(1).await;
    let publisher = topic.publisher().await;
    fill(&publisher, 0, 1).await;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &topic.0.brokers)
        .create()
        .unwrap();
    let headers = [
        ("template", "42"),
        ("user", "회원-9"),
        ("valid-until", "1800000000000000"),
    ]
    .into_iter()
    .fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    });
    let of_tomorrow = FutureRecord::<(), _>::to(&topic.0.topic)
        .partition(0)
        .payload(&[3, 1, 0])
        .headers(headers);
    producer.send(of_tomorrow, LONG).await.unwrap();
    let empty = FutureRecord::<str, [u8]>::to(&topic.0.topic)
        .partition(0)
        .key("k");
    producer.send(empty, LONG).await.unwrap();
    publisher.tick(0, LONG).await.unwrap();

    let read = records(&mut topic.consumer(), 4);
    assert_eq!(offsets(&read), [0, 1, 2, 3]);
    assert_eq!(read[0].record.content, LogContent::Event(event(0)));
    let LogContent::Unreadable(Unreadable {
        reason,
        template_id: template,
        user_id: user,
        valid_until,
        raw,
    }) = &read[1].record.content
    else {
        panic!("{:?}", read[1]);
    };
    assert_eq!(reason, "format version 3 is not known");
    assert_eq!(*template, Some(event(0).template_id));
    assert_eq!(user.as_deref(), Some("회원-9"));
    assert_eq!(valid_until.unwrap().as_microsecond(), 1_800_000_000_000_000);
    assert_eq!(reread(raw, OWN), read[1].record.content);
    let LogContent::Unreadable(Unreadable {
        reason,
        user_id: user,
        ..
    }) = &read[2].record.content
    else {
        panic!("{:?}", read[2]);
    };
    assert_eq!((reason.as_str(), user), ("there is no body", &None));
    assert_eq!(read[3].record.content, LogContent::Tick);
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_what_no_batch_had_yet() {
    let topic = TestTopic::new(1).await;
    let publisher = topic.publisher().await;
    fill(&publisher, 0, 50).await;
    let mut settings = topic.settings();
    settings.max = 20;
    let mut consumer = Consumer::join(&settings, Box::new(|_| Ok(0))).unwrap();
    assert_eq!(records(&mut consumer, 20).len(), 20);
    consumer.pause_all();
    wait_until("the lag", || {
        assert_eq!(consumer.poll(Duration::from_millis(100)), PollResult::Idle);
        consumer.lag() == [(0, 30)]
    });
    consumer.resume_all();
    records(&mut consumer, 30);
    assert_eq!(consumer.lag(), [(0, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_partitions_are_found() {
    let mut topic = TestTopic::new(1).await;
    topic.0.extra = vec![("topic.metadata.refresh.interval.ms".into(), "200".into())];
    let publisher = topic.publisher().await;
    fill(&publisher, 0, 1).await;
    let mut consumer = topic.consumer();
    records(&mut consumer, 1);
    goodpon_kafka::topic::grow(&topic.0, 2).await.unwrap();
    wait_until("the new partition", || publisher.partitions() == Some(2));
    fill(&publisher, 1, 2).await;
    assert_eq!(batch(&mut consumer).0, 1);
}

#[test]
fn without_a_broker_it_is_idle_and_ends() {
    let settings = ConsumerSettings::new(at(NOBODY), OWN, "group");
    let mut consumer = Consumer::join(&settings, Box::new(|_| Ok(0))).unwrap();
    assert_eq!(consumer.poll(Duration::from_millis(300)), PollResult::Idle);
    assert!(consumer.assigned().is_empty() && consumer.lag().is_empty());
    let ended = std::thread::spawn(move || drop(consumer));
    ended.join().unwrap();
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let mut settings = ConsumerSettings::new(at(NOBODY), OWN, "group");
    settings.longest_pause = settings.session / 2;
    let failed = Consumer::join(&settings, Box::new(|_| Ok(0))).err();
    assert!(matches!(failed, Some(Error::Settings(_))), "{failed:?}");
    settings = ConsumerSettings::new(at(NOBODY), OWN, "group");
    settings.cluster.extra = vec![("group.instance.id".into(), "one".into())];
    let failed = Consumer::join(&settings, Box::new(|_| Ok(0))).err();
    assert_eq!(
        failed,
        Some(Error::Settings("group.instance.id is not supported".into()))
    );
}
