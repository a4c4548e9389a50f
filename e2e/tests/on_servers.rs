//! The commands of the program `goodpon` that operators run on MySQL, Valkey and Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::backend::{Rooms, given};
use goodpon_e2e::program::goodpon;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;

/// Runs a command on this database and topic; returns its status and its output.
fn run(rooms: &Rooms, args: &[&str]) -> (Option<i32>, String) {
    let env = rooms.env().iter();
    let env: Vec<_> = env.map(|(name, value)| (&**name, &**value)).collect();
    let output = goodpon(args, &env);
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    (output.status.code(), printed)
}

fn topic(rooms: &Rooms) -> &str {
    let is_it = |(name, _): &&(String, String)| name == "GOODPON_KAFKA_TOPIC";
    &rooms.env().iter().find(is_it).unwrap().1
}

#[test]
fn verify_takes_no_server_that_is_away_for_a_difference() {
    let rooms = Rooms::make();
    let (code, printed) = run(&rooms, &["verify"]);
    assert_eq!(code, Some(0), "{printed}");
    for (flag, nobody) in [
        ("--valkey-url", "valkey://127.0.0.1:1"),
        ("--database-url", "mysql://u:p@127.0.0.1:1/d"),
    ] {
        let (code, printed) = run(&rooms, &["verify", flag, nobody]);
        assert_eq!(code, Some(2), "{printed}");
        let what = ["the gates cannot be", "the database cannot be"];
        assert!(what.iter().any(|what| printed.contains(what)), "{printed}");
        assert!(!printed.contains("expected") && !printed.contains("restore"));
    }
}

#[test]
fn verify_finds_differences_of_the_records_while_valkey_is_away() {
    let rooms = Rooms::make();
    rooms.execute(
        "INSERT INTO coupon_templates
         (id, merchant_id, name, description, discount_type, discount_value, issue_start_at, limit_type, status,
          issue_count, created_at)
         VALUES (7, 1, 'n', '', 0, 1000, 0, 0, 1, 5, 0)",
    );
    let expected = "template 7 issue_count: expected 0, found 5";
    let (code, printed) = run(&rooms, &["verify"]);
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains(expected) && printed.contains("restore a backup"));
    let away = ["verify", "--valkey-url", "valkey://127.0.0.1:1"];
    let (code, printed) = run(&rooms, &away);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains(expected) && printed.contains("Valkey at 127.0.0.1:1"));
    assert!(!printed.contains("restore"), "{printed}");
}

#[test]
fn migrate_prints_the_number_of_partitions() {
    let rooms = Rooms::make();
    let (code, printed) = run(&rooms, &["migrate", "--kafka-partitions", "1"]);
    assert_eq!(code, Some(0), "{printed}");
    let expected = "has 2 partitions (kafka-partitions is 1, but partitions cannot be taken away)";
    assert!(printed.contains(expected), "{printed}");
    let (_, printed) = run(&rooms, &["migrate", "--kafka-partitions", "3"]);
    assert!(printed.ends_with("has 3 partitions.\n"), "{printed}");
}

#[tokio::test]
async fn migrate_refuses_the_topic_that_partners_refuse() {
    let rooms = Rooms::make();
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", given("GOODPON_KAFKA_BROKERS"))
        .create()
        .unwrap();
    for (key, value, why) in [
        ("message.timestamp.type", "CreateTime", "LogAppendTime"),
        ("cleanup.policy", "compact", "it must be delete"),
    ] {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic(&rooms))).set(key, value);
        let changed = admin.alter_configs([&change], &AdminOptions::new()).await;
        changed.unwrap()[0].as_ref().unwrap();
        let (code, printed) = run(&rooms, &["migrate"]);
        assert_eq!(code, Some(1), "{printed}");
        assert!(
            printed.contains("cannot be used: ") && printed.contains(why),
            "{printed}"
        );
    }
}

#[test]
fn migrate_asks_for_the_same_consent_as_partners() {
    let (code, printed) = run(&Rooms::make(), &["migrate", "--kafka-accept-risks=false"]);
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("kafka-accept-risks"), "{printed}");
}

#[test]
fn parked_events_are_listed_retried_and_discarded() {
    let rooms = Rooms::make();
    for offset in [7, 8] {
        rooms.execute(&format!(
            "INSERT INTO parked_events
             (partition_id, log_offset, template_id, user_id, reason, raw, appended_at, parked_at)
             VALUES (1, {offset}, 3, 'u', 'version 9', REPEAT('x', 900000), 0, {offset})"
        ));
    }
    let (code, printed) = run(&rooms, &["parked", "list", "--json"]);
    assert_eq!(code, Some(0), "{printed}");
    let events: Vec<Value> = serde_json::from_str(&printed).unwrap();
    let places: Vec<_> = events.iter().map(|event| &event["event"]).collect();
    assert_eq!(places, ["1:7", "1:8"]);
    let (code, printed) = run(&rooms, &["parked", "retry", "--all"]);
    assert_eq!(code, Some(1), "{printed}");
    assert_eq!(printed.matches("stays parked: ").count(), 2, "{printed}");
    let (code, printed) = run(&rooms, &["parked", "discard", "1:7"]);
    assert_eq!((code, &*printed), (Some(0), "1:7 is discarded\n"));
    let (code, printed) = run(&rooms, &["parked", "retry", "1:7"]);
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("no event waits at 1:7"), "{printed}");
}

#[test]
fn a_mailbox_on_a_server_can_be_named_by_flags() {
    let rooms = Rooms::make();
    let flags: Vec<String> = ["DATABASE_URL", "VALKEY_URL", "KAFKA_BROKERS"]
        .into_iter()
        .flat_map(|name| {
            let variable = format!("GOODPON_{name}");
            let value = rooms.env().iter().find(|(name, _)| *name == variable);
            let flag = format!("--{}", name.to_lowercase().replace('_', "-"));
            [flag, value.unwrap().1.clone()]
        })
        .collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let output = goodpon(&[&["mailbox"], &flags[..]].concat(), &[]);
    assert_eq!(output.stdout, b"No mail.\n", "{output:?}");
}

#[test]
fn what_the_log_has_lost_is_skipped_where_an_operator_says_so() {
    let rooms = Rooms::make();
    rooms.execute("UPDATE issue_progress SET next_offset = 1000 WHERE partition_id = 1");
    let skipped = "Partition 1 goes on at 0 instead of 1000.";
    let (code, printed) = run(&rooms, &["migrate"]);
    assert!(code == Some(0) && !printed.contains("goes on"), "{printed}");
    let (code, printed) = run(&rooms, &["migrate", "--skip-lost"]);
    assert!(code == Some(0) && printed.contains(skipped), "{printed}");
    let (code, printed) = run(&rooms, &["migrate", "--skip-lost"]);
    assert!(code == Some(0) && !printed.contains("goes on"), "{printed}");
}
