//! Reads the records of the servers straight from them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use redis::aio::MultiplexedConnection;

use super::fleet::Fleet;
use super::servers::Kind;

/// The time after the last request within which everything must be settled.
const SETTLED_WITHIN: Duration = Duration::from_secs(45);

/// A coupon as it is written.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its user.
    pub user: String,
    /// The code of its state.
    pub status: i64,
}

/// Connects to Valkey, past the proxies.
///
/// # Panics
/// It does not answer.
pub async fn valkey(fleet: &Fleet) -> MultiplexedConnection {
    let url = fleet.servers.location(Kind::Valkey).url.clone();
    let url = url.replace("valkey://", "redis://");
    let client = redis::Client::open(url).expect("a URL");
    let connection = client.get_multiplexed_async_connection().await;
    connection.expect("Valkey answers")
}

/// Reads the coupons of a template.
///
/// # Panics
/// The database does not answer.
pub async fn rows(fleet: &Fleet, template: i64) -> Vec<Row> {
    let mut conn = fleet.database.get_conn().await.expect("the database");
    let sql = "SELECT user_id, status FROM coupons WHERE template_id = ?";
    let rows: Vec<(String, i64)> = conn.exec(sql, (template,)).await.expect("rows");
    let rows = rows.into_iter();
    rows.map(|(user, status)| Row { user, status }).collect()
}

/// Counts the entries of each redemption and each cancellation of a template, by order and code of the action.
///
/// # Panics
/// The database does not answer.
pub async fn entries(fleet: &Fleet, template: i64) -> BTreeMap<(String, i64), usize> {
    let mut conn = fleet.database.get_conn().await.expect("the database");
    let sql = "SELECT order_id, action, COUNT(*) FROM coupon_histories
               WHERE template_id = ? AND order_id IS NOT NULL GROUP BY order_id, action";
    let rows: Vec<(String, i64, usize)> = conn.exec(sql, (template,)).await.expect("entries");
    rows.into_iter()
        .map(|(order, action, count)| ((order, action), count))
        .collect()
}

/// The records of a gate.
#[derive(Debug)]
pub struct Gate {
    /// Its epoch in the database.
    pub epoch: i64,
    /// It is open, says the database.
    pub is_open: bool,
    /// Its fields in Valkey.
    pub fields: BTreeMap<String, String>,
    /// Reservations by three counts: in their set, by time, and by key.
    pub pending: [usize; 3],
    /// Users who have a place.
    pub users: usize,
}

impl Gate {
    /// Returns the number in one of its fields.
    #[must_use]
    pub fn number(&self, field: &str) -> i64 {
        let text = self.fields.get(field);
        text.and_then(|text| text.parse().ok()).unwrap_or(-1)
    }
}

/// Reads the gate of a template, if it was ever opened.
///
/// # Panics
/// A server does not answer.
pub async fn gate(fleet: &Fleet, template: i64) -> Option<Gate> {
    let mut conn = fleet.database.get_conn().await.expect("the database");
    let sql = "SELECT epoch, state FROM issue_gates WHERE template_id = ?";
    let found: Option<(i64, i64)> = conn.exec_first(sql, (template,)).await.expect("a gate");
    let (epoch, state) = found?;
    let name: Option<String> = conn
        .query_first("SELECT name FROM installation")
        .await
        .expect("the installation");
    let front = format!("goodpon:{{{}:{template}:0}}:", name.expect("its name"));
    let mut valkey = valkey(fleet).await;
    let mut pipe = redis::pipe();
    pipe.cmd("HGETALL").arg(format!("{front}g"));
    for (command, letter) in [("HLEN", 'p'), ("ZCARD", 'z'), ("HLEN", 'q'), ("SCARD", 'u')] {
        pipe.cmd(command).arg(format!("{front}{letter}:{epoch}"));
    }
    let found = pipe.query_async(&mut valkey).await;
    let (fields, p, z, q, users): (_, _, _, _, usize) = found.expect("Valkey answers");
    Some(Gate {
        epoch,
        is_open: state == 0,
        fields,
        pending: [p, z, q],
        // One member of the set is the mark of the epoch, not a user.
        users: users.saturating_sub(1),
    })
}

/// Waits until nothing is pending at these templates' gates, and the log is worked through.
///
/// # Errors
/// Something is not settled in time; the text names it.
pub async fn settled(fleet: &Fleet, templates: &[i64]) -> Result<(), String> {
    let deadline = Instant::now() + SETTLED_WITHIN;
    for template in templates {
        loop {
            let gate = gate(fleet, *template).await;
            let settled = gate.as_ref().is_none_or(|gate| {
                gate.is_open && !gate.fields.is_empty() && gate.pending == [0, 0, 0]
            });
            if settled {
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("template {template} does not settle: {gate:?}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let ends = ends(fleet).await;
    loop {
        let progress = progress(fleet).await;
        if progress == ends || progress.iter().zip(&ends).all(|(there, end)| there >= end) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!(
                "the issuers are at {progress:?} of the log's {ends:?}"
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Reads the offset up to which each partition is worked through.
///
/// # Panics
/// The database does not answer.
pub async fn progress(fleet: &Fleet) -> Vec<i64> {
    let mut conn = fleet.database.get_conn().await.expect("the database");
    let sql = "SELECT next_offset FROM issue_progress ORDER BY partition_id";
    conn.query(sql).await.expect("the progress")
}

/// Reads the end of each partition.
async fn ends(fleet: &Fleet) -> Vec<i64> {
    let brokers = fleet.servers.location(Kind::Kafka).url.clone();
    let partitions = i32::try_from(progress(fleet).await.len()).expect("a few");
    let asked = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("group.id", "torture")
            .create()
            .expect("a consumer");
        let end = |partition| {
            let ends = consumer.fetch_watermarks("torture", partition, Duration::from_secs(10));
            ends.expect("the log's ends").1
        };
        (0..partitions).map(end).collect()
    });
    asked.await.expect("no panic")
}
