//! Steps of a checkpoint: at the start, by the writer between two groups, and at its end.

use std::time::Duration;

use rusqlite::Connection;

use crate::{error::OpenError, write::disk::Disk};

/// Copies the last pages, by the writer between two groups.
pub(crate) fn finish(connection: &Connection, disk: &Disk) {
    if let Err(error) = log_pages(connection, "PASSIVE")
        && !disk.ends_with(&error)
    {
        tracing::warn!(%error, "checkpoint failed");
    }
}

/// Moves the log that a crash left, before anything is answered from it: only synced pages may be. Writes that the earlier
/// process did not sync are in the system's memory, perhaps after a sync that failed; copying them into the database's file
/// stores them.
pub(crate) fn recover(connection: &Connection, disk: &Disk) -> Result<(), OpenError> {
    disk.sync_log().map_err(OpenError::Sync)?;
    let (log, moved) = log_pages(connection, "PASSIVE")?;
    // All of it and synced by SQLite, unless another process still reads an older state.
    if moved < log && !disk.sync_database() {
        return Err(OpenError::Sync(std::io::ErrorKind::Other.into()));
    }
    Ok(())
}

/// The writer's last act: moves the whole log and empties it, unless another process still reads from it.
pub(crate) fn close(connection: &Connection, disk: &Disk) {
    let emptied = connection
        .busy_timeout(Duration::ZERO)
        .and_then(|()| log_pages(connection, "TRUNCATE"));
    if let Err(error) = emptied
        && !disk.ends_with(&error)
    {
        tracing::warn!(%error, "the log could not be moved; the next start does it");
    }
}

/// Runs a checkpoint of this mode. Returns the pages in the log, and the pages of these that are moved.
pub(crate) fn log_pages(connection: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok((row.get(1)?, row.get(2)?))
    })
}
