//! The disk under the data folder, and the end of the process when it fails.
//!
//! After a failed sync nothing may rest on earlier writes: the system reports the failure once, and from then on takes the
//! pages for written, even if they are not. A later sync succeeds nevertheless. So the process ends at
//! once, and the next start recovers from the log, which is synced before anything is answered. Writing on would begin
//! the log anew over pages that were never stored.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{ErrorCode, ffi};

use crate::folder::DATABASE_FILE;

/// Says why and ends the process, without another write. Returns in tests only.
pub(crate) type EndProcess = Arc<dyn Fn(&str) + Send + Sync>;

/// The two copies of its head with which SQLite's index of the log begins.
const INDEX_HEADS_BYTES: usize = 2 * 48;
/// The contents of the file that tests for room.
const PROBE_BYTES: [u8; 4096] = [0; 4096];

/// The disk under a data folder.
pub(crate) struct Disk {
    folder: PathBuf,
    database: File,
    end: EndProcess,
    has_failed: AtomicBool,
}

impl Disk {
    /// `database` is the database's file, opened for writing.
    pub(crate) fn new(folder: &Path, database: File, end: EndProcess) -> Self {
        Self {
            folder: folder.to_owned(),
            database,
            end,
            has_failed: AtomicBool::new(false),
        }
    }

    /// Syncs the database's file. Returns `false` if that fails; then the process ends.
    pub(crate) fn sync_database(&self) -> bool {
        let synced = self.database.sync_data();
        if let Err(error) = &synced {
            self.fail(&format!("a sync of {DATABASE_FILE} failed ({error})"));
        }
        synced.is_ok()
    }

    /// Syncs the log, if there is one: writes that an earlier process did not sync would be read, and answered from,
    /// nevertheless.
    pub(crate) fn sync_log(&self) -> io::Result<()> {
        let path = self.folder.join(format!("{DATABASE_FILE}-wal"));
        match File::options().write(true).open(path) {
            Ok(log) => log.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes SQLite read the log anew even if another process has kept its shared index open: that index states how much of
    /// the log is moved, and knows nothing of pages that never reached the disk. Without its head, the next connection
    /// makes it anew from the log. To be called while this process has no connection.
    pub(crate) fn forget_shared_index(&self) -> io::Result<()> {
        let path = self.folder.join(format!("{DATABASE_FILE}-shm"));
        match File::options().write(true).open(path) {
            Ok(mut shared) => shared.write_all(&[0; INDEX_HEADS_BYTES]),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the process if `error` means that the disk failed; a disk that is only full does not.
    pub(crate) fn ends_with(&self, error: &rusqlite::Error) -> bool {
        let has_failed = match error.sqlite_error() {
            Some(error) => match error.extended_code {
                ffi::SQLITE_IOERR_FSYNC
                | ffi::SQLITE_IOERR_DIR_FSYNC
                | ffi::SQLITE_IOERR_TRUNCATE => true,
                // A disk that has room and takes no write is broken or read-only.
                ffi::SQLITE_IOERR_WRITE => !self.lacks_room(),
                // The file was moved away: a new process would make a new one.
                ffi::SQLITE_READONLY_DBMOVED => false,
                _ => error.code == ErrorCode::ReadOnly,
            },
            None => false,
        };
        if has_failed {
            self.fail(&format!("the database cannot be written ({error})"));
        }
        has_failed
    }

    /// True once the disk failed: the process ends, and nothing may be written any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    fn fail(&self, why: &str) {
        self.has_failed.store(true, Ordering::Relaxed);
        (self.end)(&format!(
            "{why}: check the disk; the next start recovers all that was answered"
        ));
    }

    /// True if the folder has no room: by a quota, say, which SQLite does not distinguish from a broken disk.
    fn lacks_room(&self) -> bool {
        let path = self.folder.join("goodpon.probe");
        let probed = File::create(&path)
            .and_then(|mut file| file.write_all(&PROBE_BYTES).and_then(|()| file.sync_all()));
        // The rest of it is empty, or the disk takes no removal either.
        let _ = fs::remove_file(&path);
        probed.is_err_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        })
    }
}
