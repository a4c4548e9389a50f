//! Measures awaited publishes a second, by 64 and by 256 tasks, on a topic of its own that is deleted at the end.
//! Properties of librdkafka may follow, such as `linger.ms=5`.
//!
//! `GOODPON_KAFKA_BROKERS=… cargo run --release -p goodpon-kafka --example publish_rate`
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use goodpon_domain::{
    gate::{Epoch, IssueEvent, KeyDigests},
    id::{CouponId, TemplateId},
};
use goodpon_kafka::{Cluster, PublishError, Publisher, partition_of, topic};
use jiff::Timestamp;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};

const PARTITIONS: i32 = 12;
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let brokers = std::env::var("GOODPON_KAFKA_BROKERS")
        .map_err(|_| "run `cargo xtask services up` and set GOODPON_KAFKA_BROKERS")?;
    let properties = std::env::args().skip(1).map(|pair| {
        let (key, value) = pair
            .split_once('=')
            .ok_or(format!("{pair} is no property=value"))?;
        Ok::<_, String>((key.to_owned(), value.to_owned()))
    });
    let cluster = Cluster {
        brokers,
        topic: format!("publish-rate-{}", std::process::id()),
        extra: properties.collect::<Result<_, _>>()?,
    };
    topic::create(&cluster, PARTITIONS, 1).await?;
    let measured = measure(&cluster).await;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &cluster.brokers)
        .create()?;
    admin
        .delete_topics(&[&cluster.topic], &AdminOptions::new())
        .await?;
    measured
}

async fn measure(cluster: &Cluster) -> Result<(), Box<dyn Error>> {
    let publisher = Arc::new(Publisher::start(cluster, "publish-rate")?);
    publisher.wait_until_up(DEADLINE).await?;
    for tasks in [1, 64, 256] {
        run(&publisher, tasks, WARM_UP).await?;
        let mut waits = run(&publisher, tasks, MEASURED).await?;
        waits.sort_unstable();
        let rate = waits.len() as f64 / MEASURED.as_secs_f64();
        let part = |share: usize| waits[(waits.len() - 1) * share / 1000];
        println!(
            "{tasks:>3} tasks: {rate:>7.0} publishes/s, p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}",
            part(500),
            part(990),
            part(999)
        );
    }
    Ok(())
}

/// Runs `tasks` tasks that each publish and wait, again and again; returns the time of each publish.
async fn run(
    publisher: &Arc<Publisher>,
    tasks: usize,
    time: Duration,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    let numbers = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + time;
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let (publisher, numbers) = (Arc::clone(publisher), Arc::clone(&numbers));
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while Instant::now() < end {
                    let event = event(numbers.fetch_add(1, Ordering::Relaxed));
                    let partition = partition_of(&event.user_id, PARTITIONS);
                    let started = Instant::now();
                    publisher.publish(&event, partition, DEADLINE).await?;
                    waits.push(started.elapsed());
                }
                Ok::<_, PublishError>(waits)
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in running {
        waits.extend(task.await??);
    }
    Ok(waits)
}

fn event(number: u64) -> IssueEvent {
    let at = Timestamp::UNIX_EPOCH;
    IssueEvent {
        coupon_id: CouponId::new(at, number),
        template_id: TemplateId(42),
        epoch: Epoch(3),
        user_id: format!("user-{number:012}"),
        accepted_at: at,
        keyed: Some(KeyDigests {
            key: [1; 16],
            body: [2; 16],
        }),
        valid_until: at + Duration::from_secs(6),
    }
}
