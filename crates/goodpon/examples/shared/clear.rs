//! Deletes what a measured installation leaves on shared servers.

use std::error::Error;

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    types::RDKafkaErrorCode,
};

/// The number of keys that one SCAN looks through.
const KEYS_PER_SCAN: usize = 10_000;

/// Deletes all keys of an installation.
pub async fn keys(
    valkey_url: &str,
    installation: &str,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let client = redis::Client::open(valkey_url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    for pattern in [
        format!("goodpon:{{{installation}:*"),
        format!("goodpon:{{{installation}}}:*"),
    ] {
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern);
            scan.arg("COUNT").arg(KEYS_PER_SCAN);
            let (next, found): (u64, Vec<Vec<u8>>) = scan.query_async(&mut connection).await?;
            if !found.is_empty() {
                let mut unlink = redis::cmd("UNLINK");
                unlink.arg(found);
                unlink.exec_async(&mut connection).await?;
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// Deletes a topic, if there is one.
pub async fn topic(brokers: &str, topic: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()?;
    let deleted = admin.delete_topics(&[topic], &AdminOptions::new()).await?;
    for outcome in deleted {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((topic, code)) => return Err(format!("cannot delete {topic}: {code}").into()),
        }
    }
    Ok(())
}
