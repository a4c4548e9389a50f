//! Makes and checks topics on a real broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use futures::future::join_all;
use goodpon_kafka::{
    Error,
    topic::{self, Fault, Finding},
};
use support::{LONG, NOBODY, TestTopic, at, cluster};

/// Returns the risks that are fine because the tests have one broker only.
fn one_broker() -> Vec<Finding> {
    vec![
        Finding::Risk(Fault::Replication(1)),
        Finding::Risk(Fault::InSync("1".into())),
    ]
}

#[tokio::test]
async fn many_may_make_it_at_once_and_it_is_in_order() {
    let topic = TestTopic(cluster());
    let makers = (0..8).map(|_| topic::create(&topic.0, 3, 1));
    assert_eq!(join_all(makers).await, vec![Ok(()); 8]);
    assert_eq!(topic::check(&topic.0, 3).await, Ok(one_broker()));
}

#[tokio::test]
async fn a_missing_one_is_found() {
    let cluster = cluster();
    let missing = Finding::Fatal(Fault::Missing(cluster.topic.clone()));
    assert_eq!(topic::check(&cluster, 3).await, Ok(vec![missing.clone()]));
    assert_eq!(
        missing.to_string(),
        format!("the topic {} does not exist", cluster.topic)
    );
}

#[tokio::test]
async fn partitions_are_added_once_however_many_ask() {
    let topic = TestTopic::new(2).await;
    let too_few = Finding::Fatal(Fault::TooFewPartitions {
        there: 2,
        wanted: 5,
    });
    let findings = topic::check(&topic.0, 5).await.unwrap();
    assert_eq!(findings[0], too_few);
    let growers = (0..4).map(|_| topic::grow(&topic.0, 5));
    assert_eq!(join_all(growers).await, vec![Ok(5); 4]);
    assert_eq!(topic::check(&topic.0, 5).await, Ok(one_broker()));
    assert_eq!(topic::grow(&topic.0, 1).await, Ok(5), "none are taken away");
    assert_eq!(topic::check(&topic.0, 5).await, Ok(one_broker()));
}

#[tokio::test]
async fn every_fault_is_found() {
    let topic = TestTopic::with(&[
        ("message.timestamp.type", "CreateTime"),
        ("cleanup.policy", "compact,delete"),
        ("unclean.leader.election.enable", "true"),
        ("retention.ms", "3600000"),
        ("retention.bytes", "1000000"),
    ])
    .await;
    let findings = topic::check(&topic.0, 1).await.unwrap();
    let retention = |key, value: &str, wanted: &str| {
        Finding::Risk(Fault::Retention {
            key,
            value: value.into(),
            wanted: wanted.into(),
        })
    };
    assert_eq!(
        findings,
        [
            Finding::Risk(Fault::Replication(1)),
            Finding::Fatal(Fault::TimestampType("CreateTime".into())),
            Finding::Fatal(Fault::Compacted("compact,delete".into())),
            Finding::Risk(Fault::InSync("1".into())),
            Finding::Risk(Fault::UncleanElection),
            retention("retention.ms", "3600000", "604800000 or more"),
            retention("retention.bytes", "1000000", "-1"),
        ]
    );
    assert_eq!(
        findings[1].to_string(),
        "message.timestamp.type is CreateTime, it must be LogAppendTime"
    );
}

#[tokio::test]
async fn a_broker_that_is_away_is_one_clear_error() {
    let cluster = at(NOBODY);
    let failed = tokio::time::timeout(LONG, async {
        [
            topic::create(&cluster, 3, 1).await,
            topic::grow(&cluster, 3).await.map(drop),
        ]
    });
    for failed in failed.await.expect("it took too long") {
        let Err(Error::Unreachable { brokers, .. }) = &failed else {
            panic!("{failed:?}");
        };
        assert_eq!(brokers, NOBODY);
    }
    let failed = topic::check(&cluster, 3).await.unwrap_err().to_string();
    assert!(
        failed.starts_with("no Kafka broker answers at 127.0.0.1:1: "),
        "{failed}"
    );
}

#[tokio::test]
async fn a_broker_that_refuses_is_quoted() {
    let failed = topic::create(&cluster(), 1, 3).await;
    let Err(Error::Refused { what, reason }) = failed else {
        panic!("{failed:?}");
    };
    assert!(what.starts_with("make the topic test-"), "{what}");
    assert!(reason.contains("replication factor"), "{reason}");
}

#[tokio::test]
async fn a_wrong_property_is_named() {
    let mut cluster = cluster();
    cluster.extra = vec![("security.protocoll".into(), "SSL".into())];
    let Err(Error::Settings(failed)) = topic::check(&cluster, 1).await else {
        panic!("it was taken");
    };
    assert!(failed.contains("security.protocoll"), "{failed}");
}
