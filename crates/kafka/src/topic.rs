//! Makes the topic so that its log stamps records with its own time and loses nothing that it acknowledged, and checks
//! it for that.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rdkafka::{
    admin::{
        AdminClient, AdminOptions, ConfigResource, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication, TopicResult,
    },
    error::{KafkaError, KafkaResult},
    metadata::Metadata,
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};

use crate::{
    Error,
    client::{Cluster, Quiet, create as create_client, reason},
};

/// The time within which a broker must be found, and must answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The interval at which brokers are asked for a new topic.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The log is kept far longer than any outage lasts.
const RETENTION_MILLIS: i64 = 14 * DAY_MILLIS;
const LEAST_RETENTION_MILLIS: i64 = 7 * DAY_MILLIS;
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// A fault of the topic, with its weight.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// Coupons cannot be issued over this topic.
    #[error(transparent)]
    Fatal(Fault),
    /// Something acknowledged may be lost; fine where nothing is at stake, as in development.
    #[error(transparent)]
    Risk(Fault),
}

/// One fault of the topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not exist.
    #[error("the topic {0} does not exist")]
    Missing(String),
    /// The database expects more partitions.
    #[error("the topic has {there} partitions, {wanted} are wanted")]
    TooFewPartitions {
        /// The partitions that it has.
        there: i32,
        /// The partitions that it should have.
        wanted: i32,
    },
    /// Its records have the times of their senders.
    #[error("message.timestamp.type is {0}, it must be LogAppendTime")]
    TimestampType(String),
    /// It forgets older records of the same key.
    #[error("cleanup.policy is {0}, it must be delete")]
    Compacted(String),
    /// A single broker's loss takes acknowledged events along.
    #[error("a partition has {0} replica, there should be 3")]
    Replication(usize),
    /// An event counts as acknowledged that only one broker has.
    #[error("min.insync.replicas is {0}, it should be 2")]
    InSync(String),
    /// A broker that lags behind may become a partition's leader.
    #[error("unclean.leader.election.enable is on, it should be off")]
    UncleanElection,
    /// Events may be forgotten before an issuer that was away reads them.
    #[error("{key} is {value}, it should be {wanted}")]
    Retention {
        /// The property.
        key: &'static str,
        /// Its value.
        value: String,
        /// The value that would do.
        wanted: String,
    },
}

/// Makes the topic if it does not exist. May be run again, and by many at once; an existing topic stays as it is, for
/// [`check`] to look at.
pub async fn create(cluster: &Cluster, partitions: i32, replication: i32) -> Result<(), Error> {
    let admin = Admin::connect(cluster).await?;
    let in_sync = if replication >= 3 { "2" } else { "1" };
    let retention = RETENTION_MILLIS.to_string();
    let topic = NewTopic::new(
        &cluster.topic,
        partitions,
        TopicReplication::Fixed(replication),
    )
    .set("message.timestamp.type", "LogAppendTime")
    .set("min.insync.replicas", in_sync)
    .set("unclean.leader.election.enable", "false")
    .set("cleanup.policy", "delete")
    .set("retention.ms", &retention)
    .set("retention.bytes", "-1");
    let what = format!("make the topic {}", cluster.topic);
    let made = admin.client.create_topics([&topic], &options()).await;
    match only(made) {
        Ok(()) | Err(Refusal::Code(RDKafkaErrorCode::TopicAlreadyExists)) => {}
        Err(refusal) => return Err(refusal.into_error(&what)),
    }
    admin.wait_for(1, &what).await?;
    Ok(())
}

/// Gives the topic more partitions, and returns their number then. Takes none away, and changes nothing if the topic has
/// `partitions` or more.
pub async fn grow(cluster: &Cluster, partitions: i32) -> Result<i32, Error> {
    let admin = Admin::connect(cluster).await?;
    let what = format!("give the topic {} {partitions} partitions", cluster.topic);
    let there = admin.partitions().await?.len();
    let wanted = usize::try_from(partitions).unwrap_or(0);
    if there < wanted {
        let grown = NewPartitions::new(&cluster.topic, wanted);
        let grown = admin.client.create_partitions([&grown], &options()).await;
        match only(grown) {
            // Another process may have been quicker, which the wait below shows.
            Ok(()) | Err(Refusal::Code(RDKafkaErrorCode::InvalidPartitions)) => {}
            Err(refusal) => return Err(refusal.into_error(&what)),
        }
    }
    admin.wait_for(wanted, &what).await
}

/// Looks at the topic and returns all its faults; it needs at least `wanted` partitions.
pub async fn check(cluster: &Cluster, wanted: i32) -> Result<Vec<Finding>, Error> {
    let admin = Admin::connect(cluster).await?;
    let replicas = admin.partitions().await?;
    if replicas.is_empty() {
        return Ok(vec![Finding::Fatal(Fault::Missing(cluster.topic.clone()))]);
    }
    let what = format!("describe the topic {}", cluster.topic);
    let resource = ResourceSpecifier::Topic(&cluster.topic);
    let described = admin.client.describe_configs([&resource], &options()).await;
    let config = described
        .map_err(Refusal::Library)
        .and_then(|mut results| results.pop().ok_or(Refusal::NoAnswer))
        .and_then(|result| result.map_err(Refusal::Code))
        .map_err(|refusal| refusal.into_error(&what))?;

    let mut findings = Vec::new();
    let there = i32::try_from(replicas.len()).unwrap_or(i32::MAX);
    if there < wanted {
        findings.push(Finding::Fatal(Fault::TooFewPartitions { there, wanted }));
    }
    if let Some(least) = replicas.into_iter().min().filter(|count| *count < 2) {
        findings.push(Finding::Risk(Fault::Replication(least)));
    }
    findings.extend(faults_of(&config));
    Ok(findings)
}

/// Asks for the offsets of a partition of a topic: its first, and the one behind its last.
///
/// # Errors
/// No broker answers in time, or there is no such partition.
pub async fn bounds(cluster: &Cluster, partition: i32) -> Result<(i64, i64), Error> {
    let admin = Admin::connect(cluster).await?;
    let topic = cluster.topic.clone();
    let asked = move || {
        let client = admin.client.inner();
        client.fetch_watermarks(&topic, partition, PATIENCE)
    };
    tokio::task::spawn_blocking(asked)
        .await
        .map_err(|error| cluster.unreachable(error))?
        .map_err(|error| cluster.unreachable(reason(&error)))
}

/// Asks for the offset behind the last record of each of these partitions.
///
/// # Errors
/// No broker answers in time, or there is no such partition.
pub async fn ends(
    cluster: &Cluster,
    partitions: impl IntoIterator<Item = i32> + Send + 'static,
) -> Result<BTreeMap<i32, i64>, Error> {
    let admin = Admin::connect(cluster).await?;
    let topic = cluster.topic.clone();
    let asked = move || {
        let client = admin.client.inner();
        let end = |partition| {
            let (_, end) = client.fetch_watermarks(&topic, partition, PATIENCE)?;
            Ok((partition, end))
        };
        let ends: KafkaResult<BTreeMap<i32, i64>> = partitions.into_iter().map(end).collect();
        ends
    };
    tokio::task::spawn_blocking(asked)
        .await
        .map_err(|error| cluster.unreachable(error))?
        .map_err(|error| cluster.unreachable(reason(&error)))
}

/// Finds the faults of the topic's properties.
fn faults_of(config: &ConfigResource) -> Vec<Finding> {
    let value = |key| {
        let entry = config.get(key);
        entry
            .and_then(|entry| entry.value.clone())
            .unwrap_or_default()
    };
    let number = |key| value(key).parse::<i64>().unwrap_or(0);
    let mut findings = Vec::new();
    let timestamp_type = value("message.timestamp.type");
    if timestamp_type != "LogAppendTime" {
        findings.push(Finding::Fatal(Fault::TimestampType(timestamp_type)));
    }
    let cleanup = value("cleanup.policy");
    if cleanup.contains("compact") {
        findings.push(Finding::Fatal(Fault::Compacted(cleanup)));
    }
    if number("min.insync.replicas") < 2 {
        findings.push(Finding::Risk(Fault::InSync(value("min.insync.replicas"))));
    }
    if value("unclean.leader.election.enable") == "true" {
        findings.push(Finding::Risk(Fault::UncleanElection));
    }
    if (0..LEAST_RETENTION_MILLIS).contains(&number("retention.ms")) {
        findings.push(Finding::Risk(Fault::Retention {
            key: "retention.ms",
            value: value("retention.ms"),
            wanted: format!("{LEAST_RETENTION_MILLIS} or more"),
        }));
    }
    if number("retention.bytes") >= 0 {
        findings.push(Finding::Risk(Fault::Retention {
            key: "retention.bytes",
            value: value("retention.bytes"),
            wanted: "-1".into(),
        }));
    }
    findings
}

/// A client for such chores, which has reached a broker.
struct Admin {
    client: Arc<AdminClient<Quiet>>,
    cluster: Cluster,
}

impl Admin {
    async fn connect(cluster: &Cluster) -> Result<Self, Error> {
        let client = create_client(&cluster.config(&[], &[]), Quiet)?;
        let admin = Self {
            client: Arc::new(client),
            cluster: cluster.clone(),
        };
        admin.metadata().await?;
        Ok(admin)
    }

    /// Asks the cluster for the topic's metadata.
    async fn metadata(&self) -> Result<Metadata, Error> {
        let (client, topic) = (Arc::clone(&self.client), self.cluster.topic.clone());
        let asked = move || client.inner().fetch_metadata(Some(&topic), PATIENCE);
        tokio::task::spawn_blocking(asked)
            .await
            .map_err(|error| self.cluster.unreachable(error))?
            .map_err(|error| self.cluster.unreachable(reason(&error)))
    }

    /// Counts the replicas of each partition; returns none if there is no topic.
    async fn partitions(&self) -> Result<Vec<usize>, Error> {
        let metadata = self.metadata().await?;
        let topic = metadata.topics().first();
        if let Some(error) = topic.and_then(rdkafka::metadata::MetadataTopic::error)
            && error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        {
            return Err(Error::Refused {
                what: format!("tell of the topic {}", self.cluster.topic),
                reason: RDKafkaErrorCode::from(error).to_string(),
            });
        }
        let partitions = topic.map(|topic| topic.partitions()).unwrap_or_default();
        Ok(partitions
            .iter()
            .map(|partition| partition.replicas().len())
            .collect())
    }

    /// Waits until the brokers list `partitions` partitions or more: they learn of changes one after the other. Returns the
    /// number of partitions.
    async fn wait_for(&self, partitions: usize, what: &str) -> Result<i32, Error> {
        let wait = async {
            loop {
                let there = self.partitions().await?.len();
                if there >= partitions {
                    return Ok(i32::try_from(there).unwrap_or(i32::MAX));
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| Err(Refusal::NoAnswer.into_error(what)))
    }
}

/// The reason for which a broker refused a request.
enum Refusal {
    Code(RDKafkaErrorCode),
    Library(KafkaError),
    NoAnswer,
}

impl Refusal {
    fn into_error(self, what: &str) -> Error {
        Error::Refused {
            what: what.to_owned(),
            reason: match self {
                Self::Code(code) => code.to_string(),
                Self::Library(error) => reason(&error),
                Self::NoAnswer => format!("it took longer than {} s", PATIENCE.as_secs()),
            },
        }
    }
}

/// Returns the result of a request for one topic.
fn only(results: KafkaResult<Vec<TopicResult>>) -> Result<(), Refusal> {
    let result = results.map_err(Refusal::Library)?.pop();
    match result.ok_or(Refusal::NoAnswer)? {
        Ok(_) => Ok(()),
        Err((_, code)) => Err(Refusal::Code(code)),
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}
