//! Several issuers in one group, on a real broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use goodpon_domain::gate::{LogContent, PollResult};
use goodpon_kafka::{Consumer, ConsumerSettings};
use support::{LONG, Ledger, TestTopic, batch, event, fill, offsets, wait_until};

/// An issuer on a thread of its own, until it is asked to leave.
struct Issuer {
    written: Arc<AtomicUsize>,
    leaves: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Issuer {
    fn start(ledger: &Ledger, settings: &ConsumerSettings) -> Self {
        let written = Arc::new(AtomicUsize::new(0));
        let leaves = Arc::new(AtomicBool::new(false));
        let (ledger, settings) = (ledger.clone(), settings.clone());
        let (count, is_over) = (Arc::clone(&written), Arc::clone(&leaves));
        let thread = thread::spawn(move || {
            let mut consumer = ledger.consumer(&settings);
            while !is_over.load(Ordering::Relaxed) {
                let polled = consumer.poll(Duration::from_millis(100));
                let PollResult::Batch { partition, records } = polled else {
                    assert_eq!(polled, PollResult::Idle);
                    continue;
                };
                let length = records.len();
                if ledger.write(partition, records) {
                    count.fetch_add(length, Ordering::Relaxed);
                    consumer.commit(partition, ledger.progress(partition));
                } else {
                    consumer.seek(partition, ledger.progress(partition));
                }
            }
        });
        Self {
            written,
            leaves,
            thread,
        }
    }

    fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    fn leave(self) -> usize {
        self.leaves.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.written.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_and_all_is_written_once() {
    let topic = TestTopic::new(3).await;
    let publisher = Arc::new(topic.publisher().await);
    let (ledger, settings) = (Ledger::default(), topic.settings());
    let dries_up = Arc::new(AtomicBool::new(false));
    let flow = (0..3).map(|partition| {
        let (publisher, dries_up) = (Arc::clone(&publisher), Arc::clone(&dries_up));
        tokio::spawn(async move {
            let mut count = 0;
            while !dries_up.load(Ordering::Relaxed) {
                publisher
                    .publish(&event(count), partition, LONG)
                    .await
                    .unwrap();
                count += 1;
            }
            count
        })
    });
    let flow: Vec<_> = flow.collect();

    let first = Issuer::start(&ledger, &settings);
    wait_until("the first", || first.written() > 100);
    let (second, third) = (
        Issuer::start(&ledger, &settings),
        Issuer::start(&ledger, &settings),
    );
    wait_until("the second", || second.written() > 100);
    wait_until("the third", || third.written() > 100);
    let gone = second.leave() + first.leave();
    let before = third.written();
    wait_until("what they left", || third.written() > before + 500);
    dries_up.store(true, Ordering::Relaxed);
    let mut counts = Vec::new();
    for partition in flow {
        counts.push(partition.await.unwrap());
    }
    let all = usize::try_from(counts.iter().sum::<u64>()).unwrap();
    wait_until("the rest", || ledger.total() == all);
    assert_eq!(gone + third.leave(), all);

    for (records, count) in ledger.records().into_values().zip(counts) {
        let places: Vec<_> = (0..i64::try_from(count).unwrap()).collect();
        assert_eq!(offsets(&records), places);
        let events = (0..count).map(|number| LogContent::Event(event(number)));
        assert!(records.into_iter().map(|record| record.content).eq(events));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_is_given_out_no_more() {
    let topic = TestTopic::new(2).await;
    let publisher = topic.publisher().await;
    for partition in 0..2 {
        fill(&publisher, partition, 400).await;
    }
    let mut settings = topic.settings();
    settings.max = 1;
    let ledger = Ledger::default();
    let mut first = ledger.consumer(&settings);
    while ledger.total() < 20 {
        if let PollResult::Batch { partition, records } = first.poll(LONG) {
            assert!(ledger.write(partition, records));
        }
    }
    // By now the first has all records of both waiting. They are polled in turn, so each batch has one owner at the time.
    let mut second = ledger.consumer(&settings);
    let mut owners = BTreeMap::new();
    while ledger.total() < 800 {
        for (name, consumer) in [("first", &mut first), ("second", &mut second)] {
            if let PollResult::Batch { partition, records } =
                consumer.poll(Duration::from_millis(5))
            {
                let owner = *owners.entry(partition).or_insert(name);
                if name != owner {
                    assert_eq!(name, "second", "the first goes on with what it has lost");
                    owners.insert(partition, name);
                }
                assert!(ledger.write(partition, records), "it was read twice");
            }
        }
    }
    assert_eq!(owners.values().filter(|name| **name == "second").count(), 1);
    assert_eq!((first.assigned().len(), second.assigned().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_poll_loses_its_partitions_and_the_records_that_wait() {
    let topic = TestTopic::new(2).await;
    let publisher = topic.publisher().await;
    for partition in 0..2 {
        fill(&publisher, partition, 200).await;
    }
    let mut settings = topic.settings();
    settings.session = Duration::from_secs(6);
    settings.longest_pause = Duration::from_secs(6);
    settings.max = 1;
    let ledger = Ledger::default();
    let mut zombie = ledger.consumer(&settings);
    while (0..2).any(|partition| ledger.progress(partition) < 10) {
        if let PollResult::Batch { partition, records } = zombie.poll(LONG) {
            assert!(ledger.write(partition, records));
        }
    }
    // It stands still from here on, until another has written all records.
    let before = ledger.total();
    let heir = Issuer::start(&ledger, &settings);
    wait_until("the heir", || ledger.total() == 400);
    assert_eq!(zombie.poll(Duration::from_secs(1)), PollResult::Idle);
    // It then gets its share back.
    wait_until("its share", || {
        assert!(!matches!(
            zombie.poll(Duration::from_millis(100)),
            PollResult::Batch { .. }
        ));
        zombie.assigned().len() == 1
    });
    assert_eq!(before + heir.leave(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paused_when_it_went_is_read_when_it_comes_back() {
    let topic = TestTopic::new(2).await;
    let publisher = topic.publisher().await;
    for partition in 0..2 {
        fill(&publisher, partition, 3).await;
    }
    let (ledger, settings) = (Ledger::default(), topic.settings());
    let mut stays = ledger.consumer(&settings);
    let read = |consumer: &mut Consumer, until| {
        while ledger.total() < until {
            let (partition, records) = batch(consumer);
            assert!(ledger.write(partition, records));
        }
    };
    read(&mut stays, 6);
    stays.pause_all();
    let mut guest = ledger.consumer(&settings);
    wait_until("the guest's share", || {
        guest.poll(Duration::from_millis(10));
        stays.poll(Duration::from_millis(10));
        (stays.assigned().len(), guest.assigned().len()) == (1, 1)
    });
    stays.resume_all();
    drop(guest);
    for partition in 0..2 {
        fill(&publisher, partition, 3).await;
    }
    read(&mut stays, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_cannot_start_does_not_hold_up_the_others() {
    let topic = TestTopic::new(2).await;
    let publisher = topic.publisher().await;
    for partition in 0..2 {
        fill(&publisher, partition, 3).await;
    }
    let settings = topic.settings();
    let away = Box::new(|_| Err("the database is away".into()));
    let mut first = Consumer::join(&settings, away).unwrap();
    wait_until("its share", || {
        assert_eq!(first.poll(Duration::from_millis(10)), PollResult::Idle);
        first.assigned().len() == 2
    });
    let mut second = topic.consumer();
    wait_until("the other's share", || {
        assert_eq!(first.poll(Duration::from_millis(10)), PollResult::Idle);
        matches!(
            second.poll(Duration::from_millis(10)),
            PollResult::Batch { .. }
        )
    });
    assert_eq!((first.assigned().len(), second.assigned().len()), (1, 1));
}
