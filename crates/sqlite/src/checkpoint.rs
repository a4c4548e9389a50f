//! Moves the write-ahead log into the database, beside the writer.
//!
//! A thread of its own copies the bulk with passive checkpoints, which hinder nobody, and waits until it is on the
//! disk. Each leaves what was written meanwhile, less every time; the writer copies the last of it between two groups,
//! after which it begins the log anew from its start.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use rusqlite::Connection;

use crate::{OpenError, writer};

/// From that many pages on the log is moved (64 MiB of 4 KiB pages).
const LOG_PAGES: i64 = 16_384;
/// With no more left than that it is the writer's turn.
const LAST_STEP_PAGES: i64 = 256;
/// With more left than that the writer would hold its queue up for too long.
const MOST_STEP_PAGES: i64 = 2_048;
const PASSES: usize = 5;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The checkpoint thread. Dropping it ends the thread.
pub(crate) struct Checkpointer {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(crate) fn start(
        path: &Path,
        file: Arc<File>,
        writer: writer::Handle,
    ) -> Result<Self, OpenError> {
        let connection = writer::connect(path)?;
        let (stop, stopped) = bounded::<()>(0);
        let thread = std::thread::Builder::new()
            .name("goodpon-checkpoint".into())
            .spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK_EVERY) {
                    match log_pages(&connection, "NOOP") {
                        Ok((log, _)) if log >= LOG_PAGES => move_bulk(&connection, &file, &writer),
                        Ok(_) => {}
                        Err(error) => tracing::warn!(%error, "the log's length cannot be read"),
                    }
                }
            })
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn move_bulk(connection: &Connection, file: &File, writer: &writer::Handle) {
    let mut left = i64::MAX;
    for _ in 0..PASSES {
        match log_pages(connection, "PASSIVE") {
            Ok((log, moved)) => left = log - moved,
            // A full or failing disk: the log keeps all, and the next look tries again.
            Err(error) => return tracing::warn!(%error, "checkpoint failed"),
        }
        // SQLite does that with the last step only, and the writer would have to wait for all of it.
        if let Err(error) = file.sync_data() {
            return tracing::warn!(%error, "checkpoint failed");
        }
        if left <= LAST_STEP_PAGES {
            break;
        }
    }
    if left <= MOST_STEP_PAGES {
        writer.finish_checkpoint();
    }
}

/// The writer's part, between two groups.
pub(crate) fn finish(connection: &Connection) {
    if let Err(error) = log_pages(connection, "PASSIVE") {
        tracing::warn!(%error, "checkpoint failed");
    }
}

/// The writer's last act: moves the whole log and empties it, unless another process still reads from it.
pub(crate) fn close(connection: &Connection) {
    let emptied = connection
        .busy_timeout(Duration::ZERO)
        .and_then(|()| log_pages(connection, "TRUNCATE"));
    if let Err(error) = emptied {
        tracing::warn!(%error, "the log could not be moved; the next start does it");
    }
}

/// Runs a checkpoint of that mode: pages in the log, and pages of those that are moved.
fn log_pages(connection: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok((row.get(1)?, row.get(2)?))
    })
}
