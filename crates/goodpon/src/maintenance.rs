//! Commands beside or without a running server: `verify`, `migrate`, `backup`, `restore`, `mailbox`.

use std::fmt::Write;
use std::path::Path;

use goodpon_application::ports::{Audit, Difference, MailState, Outbox, StoreResult, StoredMail};
use goodpon_kafka::topic;
use goodpon_scaled::{TopicState, look_at_topic};
use goodpon_sqlite::DATABASE_FILE;
use serde_json::{Value, json};

use crate::backends::{self, Place};
use crate::config::{Servers, Settings};
use crate::failed::Failed;

/// The exit code of `verify` where it could not look, or not at all of it.
pub const COULD_NOT_RUN: u8 = 2;

/// Mails that are shown at the most.
const SHOWN_MAILS: usize = 1000;

/// Recomputes all that is stored twice, and tells each difference.
///
/// # Errors
/// There are differences (exit code 1), or it could not run to its end (exit code 2).
pub fn verify(settings: &Settings) -> Result<String, Failed> {
    let looked = wait_for(look(settings));
    let Looked {
        place,
        mut differences,
        gates,
    } = looked.map_err(|failed| failed.with_code(COULD_NOT_RUN))?;
    let unasked = match gates {
        Ok(more) => {
            differences.extend(more);
            None
        }
        Err(error) => Some(error),
    };
    let mut found = String::new();
    for difference in &differences {
        // Writing into a String does not fail.
        let _ = writeln!(found, "{difference}");
    }
    if let Some(error) = unasked {
        let why = format!("the gates cannot be held against the coupons now: {error}");
        return Err(Failed::new(why).with_code(COULD_NOT_RUN).with_output(found));
    }
    match differences.len() {
        0 => Ok("No differences: every counter, limit and state is borne out by coupons and histories.\n".into()),
        count => Err(Failed::new(format!(
            "{count} differences in {place}; restore a backup or report them"
        ))
        .with_output(found)),
    }
}

/// What there is to tell of a store.
struct Looked {
    place: String,
    /// Of its records.
    differences: Vec<Difference>,
    /// Of the gates over them, unless these cannot be asked.
    gates: StoreResult<Vec<Difference>>,
}

/// Says that what is read here holds the log of an embedded database, if there is one to be held.
fn tell_that_log_is_held(data_dir: &Path) {
    let log = data_dir.join(format!("{DATABASE_FILE}-wal"));
    let bytes = log.metadata().map_or(0, |log| log.len());
    if bytes > 0 {
        let mebibytes = bytes.div_ceil(1 << 20);
        eprintln!(
            "goodpon: until this is done, the log of the database cannot be moved and grows with what is written; it has {mebibytes} MiB now"
        );
    }
}

async fn look(settings: &Settings) -> Result<Looked, Failed> {
    let place = Place::open(settings).await?;
    if matches!(place, Place::Folder(_)) {
        tell_that_log_is_held(&settings.data_dir);
    }
    let name = place.name(&settings.data_dir);
    let (differences, gates) = match (&place, &settings.servers) {
        (Place::Folder(store), _) => (store.audit().await, Ok(Vec::new())),
        (Place::Server(store), None) => (store.audit().await, Ok(Vec::new())),
        (Place::Server(store), Some(servers)) => {
            let scaled = backends::scaled(store, servers).await?;
            (store.audit().await, scaled.audit_gates().await)
        }
    };
    Ok(Looked {
        place: name,
        differences: differences.map_err(Failed::new)?,
        gates,
    })
}

/// Brings the database up to date, and makes the topic: what a scaled-out set needs before its first start, and after
/// an update. Any number may run at once. `skip_lost`: issuers go on with what the topic has, also where it has lost
/// what they were to go on with.
///
/// # Errors
/// A server does not answer or says no, or the topic was there and no partner would use it.
pub fn migrate(settings: &Settings, skip_lost: bool) -> Result<String, Failed> {
    let Some(servers) = &settings.servers else {
        return Err(Failed::new(
            "there is nothing to migrate: the embedded database is brought up to date by `goodpon serve`",
        ));
    };
    wait_for(async {
        let store = backends::records(servers, &settings.zone)?;
        store.migrate().await.map_err(Failed::new)?;
        let partitions = prepare_topic(servers).await?;
        // Partners use only what has progress, so this comes last.
        store
            .set_up_partitions(partitions)
            .await
            .map_err(Failed::new)?;
        let kept = match partitions > servers.partitions {
            true => format!(
                " (kafka-partitions is {}, but partitions cannot be taken away)",
                servers.partitions
            ),
            false => String::new(),
        };
        let skipped = match skip_lost {
            true => skip_what_is_lost(&store, servers).await?,
            false => String::new(),
        };
        Ok(format!(
            "The database is up to date, and the topic {} has {partitions} partitions{kept}.\n{skipped}",
            servers.cluster.topic
        ))
    })
}

/// Goes on with each partition where the topic has something to go on with. Tells where that is elsewhere.
async fn skip_what_is_lost(
    store: &goodpon_mysql::Store,
    servers: &Servers,
) -> Result<String, Failed> {
    let mut told = String::new();
    for (partition, next) in store.progress().await.map_err(Failed::new)? {
        let bounds = topic::bounds(&servers.cluster, partition).await;
        let (first, end) = bounds.map_err(Failed::new)?;
        let there = next.max(first).min(end);
        if there != next {
            let moved = store.skip_lost(partition, next, there).await;
            if moved.map_err(Failed::new)? {
                told += &format!("Partition {partition} goes on at {there} instead of {next}.\n");
            }
        }
    }
    Ok(told)
}

/// Makes the topic, or looks whether the one that is there will do, and lets it grow. Gives how many partitions it has.
async fn prepare_topic(servers: &Servers) -> Result<i32, Failed> {
    let cluster = &servers.cluster;
    let made = topic::create(cluster, servers.partitions, servers.replication).await;
    made.map_err(Failed::new)?;
    match look_at_topic(cluster, 1, servers.accept_risks).await {
        TopicState::Good => {}
        TopicState::Bad(why) | TopicState::Unknown(why) => return Err(Failed::new(why)),
    }
    let grown = topic::grow(cluster, servers.partitions).await;
    grown.map_err(Failed::new)
}

/// Copies the database to `file`, also while it is served.
///
/// # Errors
/// `file` is there already or cannot be written, or the copy is not sound.
pub fn backup(settings: &Settings, file: &Path) -> Result<String, Failed> {
    let data_dir = embedded(settings)?;
    let store = backends::open_read_only(data_dir)?;
    tell_that_log_is_held(data_dir);
    store.backup(file).map_err(Failed::new)?;
    Ok(format!("Backup written and checked: {}\n", file.display()))
}

/// Makes the database of a data folder that has none from a backup.
///
/// # Errors
/// The folder has a database already, or the backup is not sound.
pub fn restore(settings: &Settings, file: &Path) -> Result<String, Failed> {
    let data_dir = embedded(settings)?;
    goodpon_sqlite::restore(file, data_dir).map_err(Failed::new)?;
    Ok(format!(
        "Restored and checked: {}\nSessions of accounts that the backup has go on. Whoever signed up or set a password \
         after it was made must do so again and log in again: no older access token opens another account.\n",
        data_dir.display()
    ))
}

/// The mails to an address, or all, newest first.
///
/// # Errors
/// The data folder cannot be read.
pub fn mailbox(settings: &Settings, to: Option<&str>, as_json: bool) -> Result<String, Failed> {
    let mails = wait_for(async {
        let listed = match Place::open(settings).await? {
            Place::Folder(store) => store.mails(to, SHOWN_MAILS).await,
            Place::Server(store) => Outbox::list(&store, to, SHOWN_MAILS).await,
        };
        listed.map_err(Failed::new)
    })?;
    if !as_json {
        return Ok(for_people(&mails));
    }
    let array: Vec<Value> = mails.iter().map(mail_as_json).collect();
    let mut text = serde_json::to_string_pretty(&array).map_err(Failed::new)?;
    text.push('\n');
    Ok(text)
}

fn mail_as_json(mail: &StoredMail) -> Value {
    json!({
        "id": mail.id,
        "to": mail.to,
        "subject": mail.content.subject,
        "text": mail.content.text,
        "html": mail.content.html,
        "createdAt": mail.created_at.to_string(),
        "sentAt": mail.sent_at.map(|at| at.to_string()),
        "state": match mail.state() {
            MailState::Waiting => "waiting",
            MailState::Sent => "sent",
            MailState::GivenUp => "given_up",
        },
        "attempts": mail.attempts,
        "error": mail.error,
    })
}

fn for_people(mails: &[StoredMail]) -> String {
    if mails.is_empty() {
        return "No mail.\n".into();
    }
    let mut text = String::new();
    for mail in mails {
        let state = state_for_people(mail);
        // Writing into a String does not fail.
        let _ = writeln!(
            text,
            "=== {} to {}, written {}, {state}\n{}\n\n{}",
            mail.id, mail.to, mail.created_at, mail.content.subject, mail.content.text
        );
    }
    text
}

/// Such as `waiting, failed attempts: 3 (connection refused)`.
fn state_for_people(mail: &StoredMail) -> String {
    let mut text = match (mail.state(), mail.sent_at) {
        (MailState::Waiting, _) => "waiting".to_owned(),
        (MailState::GivenUp, _) => "given up".to_owned(),
        (MailState::Sent, at) => return format!("sent {}", at.unwrap_or_default()),
    };
    // Writing into a String does not fail.
    let _ = match mail.attempts {
        0 => Ok(()),
        count => write!(text, ", failed attempts: {count}"),
    };
    if let Some(error) = &mail.error {
        let _ = write!(text, " ({error})");
    }
    text
}

/// The data folder of an embedded database.
fn embedded(settings: &Settings) -> Result<&Path, Failed> {
    match &settings.servers {
        None => Ok(&settings.data_dir),
        Some(_) => Err(Failed::new(
            "the database is on a server (database-url): back it up and restore it with that server's own tools",
        )),
    }
}

/// Runs what a command does to its end.
///
/// # Errors
/// Those of the call.
pub fn wait_for<T>(call: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failed::new)?;
    runtime.block_on(call)
}
