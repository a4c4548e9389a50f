//! `goodpon parked`: lists events that could not be written as coupons, and lets an operator settle them.

use std::fmt::Write;

use clap::{Args, Subcommand};
use goodpon_application::ports::StoreResult;
use goodpon_domain::gate::LogContent;
use goodpon_kafka::reread;
use goodpon_mysql::{Parked, Settled, StaysParked, Store};
use serde_json::json;

use crate::backends;
use crate::config::Settings;
use crate::failed::Failed;
use crate::maintenance::wait_for;

/// The most events that are listed, or settled with `--all`.
const MAX_EVENTS: usize = 10_000;

/// The action on parked events.
#[derive(Subcommand)]
pub enum Action {
    /// Print the events that are not settled, oldest first.
    List {
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Try again to write them as coupons.
    Retry(Which),
    /// Give them up: the template's next gate can issue their coupons to others.
    Discard(Which),
}

/// The parked events to act on.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// The event as `list` prints it: PARTITION:OFFSET.
    #[arg(value_parser = parse_position)]
    event: Option<(i32, i64)>,
    /// All events that are not settled.
    #[arg(long)]
    all: bool,
}

fn parse_position(text: &str) -> Result<(i32, i64), String> {
    let parts = text.split_once(':');
    let parsed =
        parts.and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    parsed.ok_or_else(|| "must be PARTITION:OFFSET, such as 3:1207".into())
}

/// Runs the action, and returns a text with its results.
///
/// # Errors
/// The database is embedded or does not answer, or an event stays parked.
pub fn run(settings: &Settings, action: &Action) -> Result<String, Failed> {
    let Some(servers) = &settings.servers else {
        return Err(Failed::new(
            "the embedded database parks no events: give database-url, valkey-url and kafka-brokers",
        ));
    };
    wait_for(async {
        let store = backends::records(servers, &settings.zone)?;
        store.check().await.map_err(Failed::new)?;
        match action {
            Action::List { json } => {
                let events = store.parked(MAX_EVENTS).await.map_err(Failed::new)?;
                Ok(match json {
                    true => as_json(&events)?,
                    false => for_people(&events),
                })
            }
            Action::Retry(which) => retry(&store, which).await,
            Action::Discard(which) => discard(&store, which).await,
        }
    })
}

async fn chosen(store: &Store, which: &Which) -> Result<Vec<Parked>, Failed> {
    let Some((partition, offset)) = which.event else {
        return store.parked(MAX_EVENTS).await.map_err(Failed::new);
    };
    let found = store.parked_at(partition, offset).await;
    match found.map_err(Failed::new)? {
        Some(event) => Ok(vec![event]),
        None => Err(Failed::new(format!(
            "no event waits at {partition}:{offset}"
        ))),
    }
}

async fn retry(store: &Store, which: &Which) -> Result<String, Failed> {
    let (mut text, mut stay) = (String::new(), 0);
    for parked in chosen(store, which).await? {
        let (partition, offset) = (parked.partition, parked.offset);
        let outcome = retry_one(store, partition, offset)
            .await
            .map_err(|error| Failed::new(error).with_output(text.clone()))?;
        let result = match outcome {
            Ok(Settled::Written) => "became a coupon".to_owned(),
            Ok(Settled::Held) => "its user has a coupon already".to_owned(),
            Ok(Settled::Discarded) => "is discarded".to_owned(),
            Err(StaysParked::NotFound) => "was settled meanwhile".to_owned(),
            Err(StaysParked::Because(why)) => {
                stay += 1;
                format!("stays parked: {why}")
            }
        };
        // Writing into a String does not fail.
        let _ = writeln!(text, "{partition}:{offset} {result}");
    }
    match stay {
        0 => Ok(text),
        count => Err(Failed::new(format!("{count} events stay parked")).with_output(text)),
    }
}

async fn retry_one(
    store: &Store,
    partition: i32,
    offset: i64,
) -> StoreResult<Result<Settled, StaysParked>> {
    let Some(raw) = store.parked_raw(partition, offset).await? else {
        return Ok(Err(StaysParked::NotFound));
    };
    match reread(&raw, &store.installation().await?) {
        LogContent::Event(event) => store.retry_parked(partition, offset, &event).await,
        LogContent::Tick => Ok(Err(StaysParked::Because("it is not an issue".into()))),
        LogContent::Foreign(_) => Ok(Err(StaysParked::Because(
            "it belongs to another installation".into(),
        ))),
        LogContent::Unreadable(unreadable) => Ok(Err(StaysParked::Because(unreadable.reason))),
    }
}

async fn discard(store: &Store, which: &Which) -> Result<String, Failed> {
    let mut text = String::new();
    for parked in chosen(store, which).await? {
        let (partition, offset) = (parked.partition, parked.offset);
        let done = store.discard_parked(partition, offset).await;
        let result = match done.map_err(|error| Failed::new(error).with_output(text.clone()))? {
            true => "is discarded",
            false => "was settled meanwhile",
        };
        // Writing into a String does not fail.
        let _ = writeln!(text, "{partition}:{offset} {result}");
    }
    Ok(text)
}

fn as_json(events: &[Parked]) -> Result<String, Failed> {
    let array: Vec<_> = events
        .iter()
        .map(|event| {
            json!({
                "event": format!("{}:{}", event.partition, event.offset),
                "couponTemplateId": event.template_id.map(|id| id.0),
                "userId": event.user_id,
                "reason": event.reason,
                "appendedAt": event.appended_at.to_string(),
                "parkedAt": event.parked_at.to_string(),
            })
        })
        .collect();
    let mut text = serde_json::to_string_pretty(&array).map_err(Failed::new)?;
    text.push('\n');
    Ok(text)
}

fn for_people(events: &[Parked]) -> String {
    if events.is_empty() {
        return "No event is parked.\n".into();
    }
    let mut text = String::new();
    for event in events {
        let template = event.template_id.map_or("?".into(), |id| id.to_string());
        let user = event.user_id.as_deref().unwrap_or("?");
        // Writing into a String does not fail.
        let _ = writeln!(
            text,
            "{}:{} template {template}, user {user:?}, appended {}: {}",
            event.partition, event.offset, event.appended_at, event.reason
        );
    }
    text
}
