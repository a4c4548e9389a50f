//! The settings of a scaled-out set.

use goodpon_kafka::Cluster;

use super::values::{bad_value, not_empty, read, whole, yes_or_no};
use super::{ConfigError, Resolved};

/// The servers of a scaled-out set.
pub struct Servers {
    /// The URL of MySQL or MariaDB.
    pub database_url: String,
    /// The most connections to it.
    pub database_connections: usize,
    /// The URL of Valkey.
    pub valkey_url: String,
    /// Kafka's brokers and topic.
    pub cluster: Cluster,
    /// The number of partitions that `migrate` creates.
    pub partitions: i32,
    /// The number of replicas of each.
    pub replication: i32,
    /// True to use a topic that may lose events that it acknowledged.
    pub accept_risks: bool,
}

/// Reads the settings of all three servers; `None` if none is given.
pub(super) fn servers(all: &Resolved) -> Result<Option<Servers>, ConfigError> {
    let names = ["database-url", "valkey-url", "kafka-brokers"];
    let mut missing = Vec::new();
    for name in names {
        if all.get(name)?.0.is_empty() {
            missing.push(name);
        }
    }
    if missing.len() == names.len() {
        return Ok(None);
    }
    if !missing.is_empty() {
        return Err(ConfigError(format!(
            "{} is missing: database-url, valkey-url and kafka-brokers go together",
            missing.join(", ")
        )));
    }
    let count = |name: &str, range: std::ops::RangeInclusive<u32>| {
        let count = read(all, name, |text| whole(text, range.clone()))?;
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    };
    let connections = read(all, "database-connections", |text| whole(text, 2..=10_000))?;
    Ok(Some(Servers {
        database_url: read(all, "database-url", not_empty)?,
        database_connections: connections as usize,
        valkey_url: read(all, "valkey-url", not_empty)?,
        cluster: cluster(all)?,
        partitions: count("kafka-partitions", 1..=1_000)?,
        replication: count("kafka-replication", 1..=100)?,
        accept_risks: read(all, "kafka-accept-risks", yes_or_no)?,
    }))
}

/// Reads a list of `HOST:PORT`. Its error does not show the value, which may have a password in it.
fn brokers(all: &Resolved) -> Result<String, ConfigError> {
    let (text, source) = all.get("kafka-brokers")?;
    let mut words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .peekable();
    let has_one = words.peek().is_some();
    match has_one && words.all(|word| !word.contains('@') && !word.contains("//")) {
        true => Ok(text.to_owned()),
        false => Err(bad_value(
            "",
            "kafka-brokers",
            source,
            &"must be HOST:PORT, with commas between several; user and password go into kafka-options",
        )),
    }
}

fn topic(text: &str) -> Result<String, &'static str> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
    match !text.is_empty() && text.len() <= 200 && text.chars().all(is_fine) {
        true => Ok(text.to_owned()),
        false => Err("must be up to 200 letters, digits, dots, underscores and hyphens"),
    }
}

/// Reads the settings of Kafka, and checks its properties with the client library.
fn cluster(all: &Resolved) -> Result<Cluster, ConfigError> {
    let cluster = Cluster {
        brokers: brokers(all)?,
        topic: read(all, "kafka-topic", topic)?,
        extra: read(all, "kafka-options", properties)?,
    };
    match cluster.unusable_property() {
        None => Ok(cluster),
        Some(key) => {
            let (_, source) = all.get("kafka-options")?;
            let why = format!("{key} is not a property of librdkafka, or its value is not allowed");
            Err(bad_value("", "kafka-options", source, &why))
        }
    }
}

/// The properties that Goodpon sets itself and that must not be given.
const OUR_PROPERTIES: [&str; 25] = [
    "acks",
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.offset.reset",
    "bootstrap.servers",
    "check.crcs",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.protocol",
    "heartbeat.interval.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.poll.interval.ms",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "request.required.acks",
    "session.timeout.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

fn properties(text: &str) -> Result<Vec<(String, String)>, String> {
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let mut found = Vec::new();
    for word in words {
        let (key, value) = word
            .split_once('=')
            .ok_or("must be properties such as security.protocol=SSL, with commas between them")?;
        let (key, value) = (key.trim(), value.trim());
        if OUR_PROPERTIES.contains(&key) {
            return Err(format!(
                "{key} has no effect, or would keep goodpon from working: goodpon sets it itself"
            ));
        }
        if found.iter().any(|(other, _)| other == key) {
            return Err(format!("{key} is given twice"));
        }
        if needs_tls(key, value) && !goodpon_kafka::HAS_TLS {
            return Err(format!(
                "{key} asks for TLS, which this build does not have for Kafka: build with `cargo build --release --features kafka-ssl` (needs OpenSSL's headers, such as Debian's libssl-dev)"
            ));
        }
        found.push((key.to_owned(), value.to_owned()));
    }
    Ok(found)
}

/// Returns whether librdkafka needs OpenSSL for a property: for TLS, and for the digests of SCRAM.
fn needs_tls(key: &str, value: &str) -> bool {
    let value = value.to_ascii_uppercase();
    match key {
        "security.protocol" => matches!(value.as_str(), "SSL" | "SASL_SSL"),
        "sasl.mechanism" | "sasl.mechanisms" => value.starts_with("SCRAM"),
        _ => key.starts_with("ssl."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::super::{Flags, Settings, resolve};

    fn with(name: &'static str, value: &str) -> Result<Settings, String> {
        let values = [
            ("database-url", "mysql://u:p@h/d"),
            ("valkey-url", "valkey://h"),
            ("kafka-brokers", "h:9092"),
        ];
        let values = values.map(|(name, value)| (name, value.to_owned()));
        let mut flags = Flags {
            values: values.into(),
            file: None,
        };
        flags.values.insert(name, value.to_owned());
        Settings::check(&resolve(&flags, []).unwrap()).map_err(|error| error.0)
    }

    #[test]
    fn brokers_are_hosts_and_ports_and_a_bad_list_is_not_shown() {
        for brokers in ["a", "a:9092, b:9093", "[::1]:9092"] {
            let servers = with("kafka-brokers", brokers).map(|all| all.servers.unwrap());
            assert_eq!(servers.unwrap().cluster.brokers, brokers);
        }
        for brokers in [
            ",",
            " ",
            "SASL://user:hunter2@h:9092",
            "a:9092,user:hunter2@h",
            "SASL://hunter2",
        ] {
            let error = with("kafka-brokers", brokers).err().expect(brokers);
            let start = "bad value for kafka-brokers (flag): must be HOST:PORT";
            assert!(error.starts_with(start), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_option_of_kafka_that_cannot_take_effect_is_refused() {
        for (options, word) in [
            ("no.such.property=hunter2", "no.such.property"),
            ("socket.timeout.ms=hunter2", "socket.timeout.ms"),
            ("acks=1", "acks has no effect"),
            ("transactional.id=x", "transactional.id has no effect"),
            ("client.id=a,client.id=hunter2", "client.id is given twice"),
            ("hunter2", "must be properties"),
        ] {
            let error = with("kafka-options", options).err().expect(options);
            assert!(error.starts_with("bad value for kafka-options"), "{error}");
            assert!(error.contains(word), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let fine = "client.id=shop, sasl.mechanism=PLAIN,security.protocol=sasl_plaintext";
        assert!(with("kafka-options", fine).is_ok());
    }

    #[test]
    fn a_build_without_tls_says_how_to_get_it() {
        for options in [
            "security.protocol=SSL",
            "security.protocol=sasl_ssl",
            "ssl.ca.location=/ca.pem",
            "sasl.mechanisms=SCRAM-SHA-512",
        ] {
            let given = with("kafka-options", options);
            if goodpon_kafka::HAS_TLS {
                continue;
            }
            let error = given.err().expect(options);
            assert!(error.contains("--features kafka-ssl"), "{error}");
        }
    }
}
