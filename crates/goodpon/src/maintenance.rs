//! Commands that need no running server: `verify`, `migrate`, `backup`, `restore`, `mailbox`.

use std::fmt::Write;
use std::path::Path;

use goodpon_application::ports::{Audit, Difference, MailState, Mails, StoreResult, StoredMail};
use goodpon_kafka::topic;
use goodpon_scaled::{TopicState, look_at_topic};
use goodpon_sqlite::DATABASE_FILE;
use serde_json::{Value, json};

use crate::backends::{self, OfflineStore};
use crate::config::{Servers, Settings};
use crate::failed::Failed;
use crate::secrets;

/// The exit code of `verify` if it could not check everything.
pub const COULD_NOT_RUN: u8 = 2;

/// The most mails that are printed.
const MAX_MAILS: usize = 1000;

/// Recomputes every counter, limit and state, and returns a text that lists the differences.
///
/// # Errors
/// There are differences (exit code 1), or not everything could be checked (exit code 2).
pub fn verify(settings: &Settings) -> Result<String, Failed> {
    let audited = wait_for(audit(settings));
    let Audited {
        store,
        mut differences,
        gates,
    } = audited.map_err(|failed| failed.with_code(COULD_NOT_RUN))?;
    let gates_error = match gates {
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
    if let Some(error) = gates_error {
        let why = format!("the gates cannot be compared with the coupons now: {error}");
        return Err(Failed::new(why).with_code(COULD_NOT_RUN).with_output(found));
    }
    match differences.len() {
        0 => Ok(
            "No differences: every counter, limit and state follows from coupons and histories.\n"
                .into(),
        ),
        count => Err(Failed::new(format!(
            "{count} differences in {store}; restore a backup or report them"
        ))
        .with_output(found)),
    }
}

/// The result of an audit.
struct Audited {
    /// The name of the store, for people.
    store: String,
    /// The differences in its records.
    differences: Vec<Difference>,
    /// The differences between gates and records, or why the gates could not be read.
    gates: StoreResult<Vec<Difference>>,
}

/// Prints a warning that a long read keeps the log of an embedded database from being moved, if there is a log.
fn warn_that_log_grows(data_dir: &Path) {
    let log = data_dir.join(format!("{DATABASE_FILE}-wal"));
    let bytes = log.metadata().map_or(0, |log| log.len());
    if bytes > 0 {
        let mebibytes = bytes.div_ceil(1 << 20);
        eprintln!(
            "goodpon: until this is done, the log of the database cannot be moved and grows with every write; it has {mebibytes} MiB now"
        );
    }
}

async fn audit(settings: &Settings) -> Result<Audited, Failed> {
    let place = OfflineStore::open(settings).await?;
    if matches!(place, OfflineStore::Folder(_)) {
        warn_that_log_grows(&settings.data_dir);
    }
    let name = place.name(&settings.data_dir);
    let (differences, gates) = match (&place, &settings.servers) {
        (OfflineStore::Folder(store), _) => (store.audit().await, Ok(Vec::new())),
        (OfflineStore::Server(store), None) => (store.audit().await, Ok(Vec::new())),
        (OfflineStore::Server(store), Some(servers)) => {
            let scaled = backends::scaled(store, servers).await?;
            (store.audit().await, scaled.audit_gates().await)
        }
    };
    Ok(Audited {
        store: name,
        differences: differences.map_err(Failed::new)?,
        gates,
    })
}

/// Migrates the database and creates the topic, as a scaled-out set needs before its first start and after an update. Any
/// number may run at once. With `skip_lost`, issuers continue with what the topic has, even if it has lost records that
/// they had not read.
///
/// # Errors
/// A server does not answer or refuses, or the topic exists with settings that partners refuse.
pub fn migrate(settings: &Settings, skip_lost: bool) -> Result<String, Failed> {
    let Some(servers) = &settings.servers else {
        return Err(Failed::new(
            "there is nothing to migrate: `goodpon serve` migrates the embedded database",
        ));
    };
    wait_for(async {
        let store = backends::records(servers, &settings.zone)?;
        store.migrate().await.map_err(Failed::new)?;
        let partitions = prepare_topic(servers).await?;
        // Last, because partners use only partitions that have a progress row.
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

/// Moves the progress of each partition to an offset that the topic has. Returns a text that lists the moved ones.
async fn skip_what_is_lost(
    store: &goodpon_mysql::Store,
    servers: &Servers,
) -> Result<String, Failed> {
    let mut text = String::new();
    for (partition, next) in store.progress().await.map_err(Failed::new)? {
        let bounds = topic::bounds(&servers.cluster, partition).await;
        let (first, end) = bounds.map_err(Failed::new)?;
        let available = next.max(first).min(end);
        if available != next {
            let moved = store.skip_lost(partition, next, available).await;
            if moved.map_err(Failed::new)? {
                text +=
                    &format!("Partition {partition} goes on at {available} instead of {next}.\n");
            }
        }
    }
    Ok(text)
}

/// Creates the topic, or checks the existing one and grows it. Returns the number of its partitions.
async fn prepare_topic(servers: &Servers) -> Result<i32, Failed> {
    let cluster = &servers.cluster;
    let created = topic::create(cluster, servers.partitions, servers.replication).await;
    created.map_err(Failed::new)?;
    match look_at_topic(cluster, 1, servers.accept_risks).await {
        TopicState::Good => {}
        TopicState::Bad(why) | TopicState::Unknown(why) => return Err(Failed::new(why)),
    }
    let grown = topic::grow(cluster, servers.partitions).await;
    grown.map_err(Failed::new)
}

/// Copies the database to `file` and checks the copy; a server may be running.
///
/// # Errors
/// `file` exists already or cannot be written, or the copy is damaged.
pub fn backup(settings: &Settings, file: &Path) -> Result<String, Failed> {
    let data_dir = embedded(settings)?;
    let store = backends::open_read_only(data_dir)?;
    warn_that_log_grows(data_dir);
    store.backup(file).map_err(Failed::new)?;
    Ok(format!("Backup written and checked: {}\n", file.display()))
}

/// Restores a backup into a data folder that has no database.
///
/// # Errors
/// The folder has a database already, or the backup is damaged.
pub fn restore(settings: &Settings, file: &Path) -> Result<String, Failed> {
    let data_dir = embedded(settings)?;
    goodpon_sqlite::restore(file, data_dir).map_err(Failed::new)?;
    let sessions = match (&settings.jwt_secret, secrets::has_jwt_secret(data_dir)) {
        (None, false) => format!(
            "The folder has no jwt-secret, and a backup has none: the next start makes a new one, and everybody must log in \
             again. If sessions shall go on, copy the file jwt-secret of the old data folder to {} before that.",
            data_dir.display()
        ),
        _ => "Sessions of accounts that the backup has go on.".to_owned(),
    };
    Ok(format!(
        "Restored and checked: {}\n{sessions} Everybody who signed up or set a password after the backup was made must do so again \
         and log in again: no older access token opens another account.\n",
        data_dir.display()
    ))
}

/// Returns the mails to an address, or all, newest first, as a text or as JSON.
///
/// # Errors
/// The store cannot be read.
pub fn mailbox(settings: &Settings, to: Option<&str>, as_json: bool) -> Result<String, Failed> {
    let mails = wait_for(async {
        let listed = match OfflineStore::open(settings).await? {
            OfflineStore::Folder(store) => store.mails(to, MAX_MAILS).await,
            OfflineStore::Server(store) => Mails::list(&store, to, MAX_MAILS).await,
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

/// Returns a mail's state, such as `waiting, failed attempts: 3 (connection refused)`.
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

/// Returns the data folder of an embedded database.
fn embedded(settings: &Settings) -> Result<&Path, Failed> {
    match &settings.servers {
        None => Ok(&settings.data_dir),
        Some(_) => Err(Failed::new(
            "the database is on a server (database-url): back it up and restore it with that server's own tools",
        )),
    }
}

/// Runs a command's future on a runtime of its own, and waits for its end.
///
/// # Errors
/// The future's own, or the runtime could not be started.
pub fn wait_for<T>(call: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failed::new)?;
    runtime.block_on(call)
}
