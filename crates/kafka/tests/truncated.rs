//! A log that has lost records, on a real broker: nothing is skipped unasked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use goodpon_domain::gate::PollResult;
use goodpon_kafka::{Consumer, topic};
use rdkafka::{Offset, TopicPartitionList, admin::AdminOptions};
use support::{LONG, Ledger, TestTopic, admin, batch, fill, next, offsets, records, wait_until};

/// Deletes the records before `offset`, as retention does.
async fn forget(topic: &TestTopic, partition: i32, offset: i64) {
    let before = Offset::Offset(offset);
    let list: TopicPartitionList =
        std::iter::once((topic.0.topic.clone(), partition, before)).collect();
    let done = admin(&topic.0)
        .delete_records(&list, &AdminOptions::new())
        .await;
    for element in done.unwrap().elements() {
        element.error().unwrap();
    }
}

fn starting_at(topic: &TestTopic, offset: i64) -> Consumer {
    Consumer::join(&topic.settings(), Box::new(move |_| Ok(offset))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_retention_took_is_reported_until_the_caller_decides() {
    let topic = TestTopic::new(1).await;
    let publisher = topic.publisher().await;
    fill(&publisher, 0, 10).await;
    forget(&topic, 0, 4).await;
    let mut consumer = starting_at(&topic, 3);
    let truncated = PollResult::Truncated {
        partition: 0,
        wanted: 3,
        first_there: 4,
        end: 10,
    };
    assert_eq!(next(&mut consumer), truncated);
    assert_eq!(consumer.poll(Duration::from_millis(300)), PollResult::Idle);
    assert_eq!(
        next(&mut consumer),
        truncated,
        "the caller has not decided yet"
    );
    consumer.seek(0, 4);
    assert_eq!(offsets(&records(&mut consumer, 6)), [4, 5, 6, 7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_beyond_the_end_stands_still_also_when_the_log_grows_past_it() {
    let topic = TestTopic::new(2).await;
    let publisher = topic.publisher().await;
    fill(&publisher, 0, 3).await;
    fill(&publisher, 1, 9).await;
    let mut consumer = starting_at(&topic, 5);
    let truncated = |end| PollResult::Truncated {
        partition: 0,
        wanted: 5,
        first_there: 0,
        end,
    };
    let mut seen = [next(&mut consumer), next(&mut consumer)];
    seen.sort_by_key(|polled| matches!(polled, PollResult::Batch { .. }));
    assert_eq!(seen[0], truncated(3));
    let PollResult::Batch { partition, records } = &seen[1] else {
        panic!("{seen:?}");
    };
    assert_eq!((*partition, offsets(records)), (1, vec![5, 6, 7, 8]));
    fill(&publisher, 0, 5).await;
    assert_eq!(next(&mut consumer), truncated(8));
    consumer.seek(0, 0);
    let (partition, records) = batch(&mut consumer);
    assert_eq!((partition, records[0].offset), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_at_the_end_waits_for_what_comes() {
    let topic = TestTopic::new(1).await;
    let publisher = topic.publisher().await;
    fill(&publisher, 0, 5).await;
    let mut consumer = starting_at(&topic, 5);
    assert_eq!(consumer.poll(Duration::from_secs(1)), PollResult::Idle);
    fill(&publisher, 0, 1).await;
    assert_eq!(offsets(&records(&mut consumer, 1)), [5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_lost_while_they_are_read_are_reported() {
    let topic = TestTopic::new(2).await;
    let publisher = topic.publisher().await;
    fill(&publisher, 0, 5).await;
    fill(&publisher, 1, 5).await;
    let mut consumer = topic.consumer();
    records(&mut consumer, 10);
    consumer.pause_all();
    assert_eq!(consumer.poll(Duration::from_millis(300)), PollResult::Idle);
    fill(&publisher, 0, 5).await;
    forget(&topic, 0, 8).await;
    consumer.resume_all();
    assert_eq!(
        next(&mut consumer),
        PollResult::Truncated {
            partition: 0,
            wanted: 5,
            first_there: 8,
            end: 10,
        }
    );
    fill(&publisher, 1, 1).await;
    let (partition, read) = batch(&mut consumer);
    assert_eq!(
        (partition, offsets(&read)),
        (1, vec![5]),
        "the other goes on"
    );
    consumer.seek(0, 8);
    assert_eq!(offsets(&records(&mut consumer, 2)), [8, 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_is_reported() {
    let mut topic = TestTopic::new(1).await;
    topic.0.extra = vec![("topic.metadata.refresh.interval.ms".into(), "200".into())];
    let publisher = topic.publisher().await;
    fill(&publisher, 0, 5).await;
    let ledger = Ledger::default();
    let mut consumer = ledger.consumer(&topic.settings());
    while ledger.total() < 5 {
        let (partition, records) = batch(&mut consumer);
        assert!(ledger.write(partition, records));
    }
    let name = topic.0.topic.as_str();
    let deleted = admin(&topic.0)
        .delete_topics(&[name], &AdminOptions::new())
        .await;
    deleted.unwrap()[0].clone().unwrap();
    wait_until("the end of the topic", || {
        assert_eq!(consumer.poll(Duration::from_millis(100)), PollResult::Idle);
        consumer.assigned() != [0]
    });
    topic::create(&topic.0, 1, 1).await.unwrap();
    publisher.wait_until_up(LONG).await.unwrap();
    fill(&publisher, 0, 2).await;
    assert_eq!(
        next(&mut consumer),
        PollResult::Truncated {
            partition: 0,
            wanted: 5,
            first_there: 0,
            end: 2,
        }
    );
}
