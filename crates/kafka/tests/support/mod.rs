//! A topic of its own for each test, on the broker that `GOODPON_KAFKA_BROKERS` names.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    borrow::Borrow,
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use goodpon_domain::{
    gate::{Appended, Epoch, IssueEvent, KeyDigests, LogRecord, PollResult},
    id::{CouponId, TemplateId},
};
use goodpon_kafka::{Cluster, Consumer, ConsumerSettings, Publisher, topic};
use jiff::Timestamp;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};

/// The longest time that anything here may take.
pub const LONG: Duration = Duration::from_secs(20);
/// An address without a listener.
pub const NOBODY: &str = "127.0.0.1:1";
/// The installation that writes and reads.
pub const OWN: &str = "0123456789abcdef";

/// Asks again until the answer is yes.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + 2 * LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} does not come");
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn brokers() -> String {
    std::env::var("GOODPON_KAFKA_BROKERS").expect(
        "run `cargo xtask services up` and set GOODPON_KAFKA_BROKERS, or run `cargo xtask test`",
    )
}

/// Makes a name that no other test has.
pub fn name() -> String {
    format!(
        "test-{:016x}",
        RandomState::new().hash_one(std::process::id())
    )
}

pub fn cluster() -> Cluster {
    at(&brokers())
}

pub fn at(brokers: &str) -> Cluster {
    Cluster {
        brokers: brokers.to_owned(),
        topic: name(),
        extra: vec![],
    }
}

pub fn admin(cluster: &Cluster) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", &cluster.brokers)
        .create()
        .unwrap()
}

/// A topic that is deleted when the test is over, however it ends.
pub struct TestTopic(pub Cluster);

impl TestTopic {
    pub async fn new(partitions: i32) -> Self {
        let topic = Self(cluster());
        topic::create(&topic.0, partitions, 1).await.unwrap();
        topic
    }

    /// Makes a topic with one partition and these properties.
    pub async fn with(properties: &[(&str, &str)]) -> Self {
        let topic = Self(cluster());
        let mut new = NewTopic::new(&topic.0.topic, 1, TopicReplication::Fixed(1));
        new.config.extend(properties);
        let made = admin(&topic.0)
            .create_topics([&new], &AdminOptions::new())
            .await;
        made.unwrap()[0].clone().unwrap();
        topic::create(&topic.0, 1, 1).await.unwrap();
        topic
    }

    pub async fn publisher(&self) -> Publisher {
        let publisher = Publisher::start(&self.0, OWN).unwrap();
        publisher.wait_until_up(LONG).await.unwrap();
        publisher
    }

    pub fn settings(&self) -> ConsumerSettings {
        ConsumerSettings::new(self.0.clone(), OWN, self.0.topic.clone())
    }

    /// Joins a consumer that begins at the first record.
    pub fn consumer(&self) -> Consumer {
        Consumer::join(&self.settings(), Box::new(|_| Ok(0))).unwrap()
    }
}

impl Drop for TestTopic {
    fn drop(&mut self) {
        let cluster = self.0.clone();
        let delete = async move {
            let topics = [cluster.topic.as_str()];
            let _ = admin(&cluster)
                .delete_topics(&topics, &AdminOptions::new())
                .await;
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let _ = std::thread::spawn(move || runtime.map(|runtime| runtime.block_on(delete))).join();
    }
}

pub fn event(number: u64) -> IssueEvent {
    let at = Timestamp::from_microsecond(1_800_000_000_000_001).unwrap();
    IssueEvent {
        coupon_id: CouponId::new(at, number),
        template_id: TemplateId(42),
        epoch: Epoch(3),
        user_id: format!("회원-{number}"),
        accepted_at: at,
        keyed: number.is_multiple_of(2).then_some(KeyDigests {
            key: [1; 16],
            body: [2; 16],
        }),
        valid_until: at + Duration::from_secs(6),
    }
}

/// Appends `count` events to a partition, one after the other.
pub async fn fill(publisher: &Publisher, partition: i32, count: u64) -> Vec<Appended> {
    let mut places = Vec::new();
    for number in 0..count {
        let appended = publisher.publish(&event(number), partition, LONG).await;
        places.push(appended.unwrap());
    }
    places
}

/// Polls until there is an outcome.
pub fn next(consumer: &mut Consumer) -> PollResult {
    match consumer.poll(LONG) {
        PollResult::Idle => panic!("nothing came"),
        polled => polled,
    }
}

/// Polls until the next batch.
pub fn batch(consumer: &mut Consumer) -> (i32, Vec<LogRecord>) {
    match next(consumer) {
        PollResult::Batch { partition, records } => (partition, records),
        polled => panic!("{polled:?}"),
    }
}

/// A record with its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub partition: i32,
    pub record: LogRecord,
}

/// Polls until the next batch, each record of it with its partition.
pub fn next_records(consumer: &mut Consumer) -> Vec<Read> {
    let (partition, records) = batch(consumer);
    records
        .into_iter()
        .map(|record| Read { partition, record })
        .collect()
}

/// Polls until `count` records are there.
pub fn records(consumer: &mut Consumer, count: usize) -> Vec<Read> {
    let mut all = Vec::new();
    while all.len() < count {
        let (partition, records) = batch(consumer);
        all.extend(records.into_iter().map(|record| Read { partition, record }));
    }
    assert_eq!(all.len(), count);
    all
}

impl Borrow<LogRecord> for Read {
    fn borrow(&self) -> &LogRecord {
        &self.record
    }
}

pub fn offsets(records: &[impl Borrow<LogRecord>]) -> Vec<i64> {
    records
        .iter()
        .map(|record| record.borrow().offset)
        .collect()
}

/// Stands in for the database: the progress of each partition, and its records.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<i32, Vec<LogRecord>>>>);

impl Ledger {
    pub fn progress(&self, partition: i32) -> i64 {
        let records = self.0.lock().unwrap();
        records
            .get(&partition)
            .map_or(0, |records| records.len().try_into().unwrap())
    }

    pub fn total(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }

    /// Takes a batch that begins at the partition's progress; returns false for another.
    pub fn write(&self, partition: i32, batch: Vec<LogRecord>) -> bool {
        let mut all = self.0.lock().unwrap();
        let records = all.entry(partition).or_default();
        let begins = batch[0].offset == i64::try_from(records.len()).unwrap();
        if begins {
            records.extend(batch);
        }
        begins
    }

    pub fn records(&self) -> BTreeMap<i32, Vec<LogRecord>> {
        self.0.lock().unwrap().clone()
    }

    /// Joins a consumer that begins at the ledger's progress.
    pub fn consumer(&self, settings: &ConsumerSettings) -> Consumer {
        let ledger = self.clone();
        let start = Box::new(move |partition| Ok(ledger.progress(partition)));
        Consumer::join(settings, start).unwrap()
    }
}
