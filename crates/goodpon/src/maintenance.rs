//! Commands beside or without a running server: `verify`, `migrate`, `backup`, `restore`, `mailbox`.

use std::fmt::Write;
use std::path::Path;

use goodpon_application::mail::{MailState, StoredMail};
use goodpon_application::ports::{Health, Outbox};
use goodpon_kafka::topic;
use serde_json::{Value, json};

use crate::backends::Place;
use crate::config::Settings;
use crate::failed::Failed;
use crate::wiring;

/// The exit code of `verify` where it could not even look.
pub const COULD_NOT_RUN: u8 = 2;

/// Mails that are shown at the most.
const SHOWN_MAILS: usize = 1000;

/// Recomputes all that is stored twice, and tells each difference.
///
/// # Errors
/// There are differences (exit code 1), or it could not run (exit code 2).
pub fn verify(settings: &Settings) -> Result<String, Failed> {
    let looked = wait_for(async {
        let place = Place::open(settings).await?;
        let differences = match (&place, &settings.servers) {
            (Place::Folder(store), _) => store.audit().await,
            (Place::Server(store), None) => store.audit().await,
            (Place::Server(store), Some(servers)) => {
                let scaled = wiring::scaled(store, servers).await?;
                scaled.audit().await
            }
        };
        let name = place.name(&settings.data_dir);
        Ok::<_, Failed>((differences.map_err(Failed::new)?, name))
    });
    let (differences, name) = looked.map_err(|failed| failed.with_code(COULD_NOT_RUN))?;
    if differences.is_empty() {
        return Ok("No differences: every counter, limit and state is borne out by coupons and histories.\n".into());
    }
    let mut found = String::new();
    for difference in &differences {
        // Writing into a String does not fail.
        let _ = writeln!(found, "{difference}");
    }
    let count = differences.len();
    let summary = format!("{count} differences in {name}; restore a backup or report them");
    Err(Failed::new(summary).with_output(found))
}

/// Brings the database up to date, and makes the topic: what a scaled-out set needs before its first start, and after
/// an update. Any number may run at once.
///
/// # Errors
/// A server does not answer or says no.
pub fn migrate(settings: &Settings) -> Result<String, Failed> {
    let Some(servers) = &settings.servers else {
        return Err(Failed::new(
            "there is nothing to migrate: the embedded database is brought up to date by `goodpon serve`",
        ));
    };
    wait_for(async {
        let store = wiring::records(servers, &settings.zone)?;
        store.migrate().await.map_err(Failed::new)?;
        let cluster = &servers.cluster;
        let made = topic::create(cluster, servers.partitions, servers.replication).await;
        made.map_err(Failed::new)?;
        topic::grow(cluster, servers.partitions)
            .await
            .map_err(Failed::new)?;
        // Partners use only what has progress, so this comes last.
        store
            .set_up_partitions(servers.partitions)
            .await
            .map_err(Failed::new)?;
        Ok(format!(
            "The database is up to date, and the topic {} has {} partitions.\n",
            cluster.topic, servers.partitions
        ))
    })
}

/// Copies the database to `file`, also while it is served.
///
/// # Errors
/// `file` is there already or cannot be written, or the copy is not sound.
pub fn backup(settings: &Settings, file: &Path) -> Result<String, Failed> {
    let data_dir = embedded(settings)?;
    let store = wiring::open_read_only(data_dir)?;
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
    Ok(format!("Restored and checked: {}\n", data_dir.display()))
}

/// The mails to an address, or all, newest first.
///
/// # Errors
/// The data folder cannot be read.
pub fn mailbox(settings: &Settings, to: Option<&str>, as_json: bool) -> Result<String, Failed> {
    let mails = wait_for(async {
        let listed = match Place::open(settings).await? {
            Place::Folder(store) => store.list(to, SHOWN_MAILS).await,
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
