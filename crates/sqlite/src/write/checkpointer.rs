//! Moves the write-ahead log into the database, beside the writer.
//!
//! A thread of its own copies the bulk with passive checkpoints, which hinder no read or write, and syncs it. Each leaves what was written meanwhile, less every time; the writer copies the last of it between two groups,
//! after which it begins the log anew from its start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use goodpon_supervise::{Supervisor, Task, Thread};
use metrics::Gauge;
use rusqlite::Connection;

use crate::{
    error::OpenError,
    write::{checkpoint::log_pages, connection::connect, disk::Disk, writer::Handle},
};

/// Pages of the log from which on it is moved (64 MiB of 4 KiB pages).
const LOG_PAGES: i64 = 16_384;
/// Pages that are few enough to be left to the writer without a further pass.
const LAST_STEP_PAGES: i64 = 256;
/// Above this number of pages the writer is not asked: its last step would stall its queue.
const MOST_STEP_PAGES: i64 = 2_048;
/// The size of the log from which on a warning is logged, and again whenever it has doubled.
const LOUD_BYTES: u64 = 1 << 30;
/// Passive checkpoints before the writer's step.
const PASSES: usize = 5;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The checkpoint thread. Dropping it ends the thread.
pub(crate) struct Checkpointer {
    stop: Option<Sender<()>>,
    thread: Option<Thread>,
}

impl Checkpointer {
    pub(crate) fn start(
        path: &Path,
        disk: Arc<Disk>,
        writer: Handle,
        supervisor: &Supervisor,
    ) -> Result<Self, OpenError> {
        let (stop, stopped) = bounded::<()>(0);
        let (path, mut size) = (path.to_owned(), LogSize::of(path));
        // Nothing but the log's size depends on it.
        let task = Task::restart("checkpoint").ends_by_itself();
        let thread = supervisor.spawn_thread(task, move |report| {
            let connection = connect(&path).map_err(|error| error.to_string())?;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK_EVERY) {
                size.look();
                match log_pages(&connection, "NOOP") {
                    Ok((log, _)) if log >= LOG_PAGES => move_bulk(&connection, &disk, &writer),
                    Ok(_) => {}
                    Err(error) => {
                        report.trouble(&error);
                        tracing::warn!(%error, "the log's length cannot be read");
                        continue;
                    }
                }
                report.ran();
            }
            Ok(())
        });
        let thread = thread.map_err(OpenError::Thread)?;
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
            thread.join();
        }
    }
}

/// Watches how large the log is.
struct LogSize {
    log: PathBuf,
    gauge: Gauge,
    /// The size of the next warning, in bytes.
    next_warning: u64,
}

impl LogSize {
    fn of(database: &Path) -> Self {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        Self {
            log: log.into(),
            gauge: metrics::gauge!("goodpon_database_wal_bytes"),
            next_warning: LOUD_BYTES,
        }
    }

    fn look(&mut self) {
        // One that is missing has just been emptied.
        let bytes = self.log.metadata().map_or(0, |log| log.len());
        self.gauge.set(bytes as f64);
        if self.is_worth_warning(bytes) {
            let mebibytes = bytes >> 20;
            tracing::warn!(
                mebibytes,
                "the database's log grows: something reads an old state of the database, such as `goodpon backup`, `goodpon verify` or a tool that copies it"
            );
        }
    }

    /// True if a size is worth a warning: the first beyond the bound, and each that is twice the one before.
    fn is_worth_warning(&mut self, bytes: u64) -> bool {
        if bytes < LOUD_BYTES {
            self.next_warning = LOUD_BYTES;
            return false;
        }
        let is_worth_warning = bytes >= self.next_warning;
        if is_worth_warning {
            self.next_warning = bytes.saturating_mul(2);
        }
        is_worth_warning
    }
}

fn move_bulk(connection: &Connection, disk: &Disk, writer: &Handle) {
    let mut left = i64::MAX;
    for _ in 0..PASSES {
        match log_pages(connection, "PASSIVE") {
            Ok((log, moved)) => left = log - moved,
            Err(error) if disk.ends_with(&error) => return,
            // A full disk: the log keeps all, and the next look tries again.
            Err(error) => return tracing::warn!(%error, "checkpoint failed"),
        }
        // SQLite does that with the last step only, and the writer would have to wait for all of it. The pages count as
        // moved already: if this fails, they would not be moved again.
        if !disk.sync_database() {
            return;
        }
        if left <= LAST_STEP_PAGES {
            break;
        }
    }
    if left <= MOST_STEP_PAGES {
        writer.finish_checkpoint();
    }
}

#[cfg(test)]
mod tests;
