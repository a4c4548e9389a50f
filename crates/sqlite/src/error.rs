//! What goes wrong: why a data folder cannot be worked on, and what an error of SQLite means to a caller.

use std::path::PathBuf;

use goodpon_application::ports::StoreError;
use rusqlite::ErrorCode;

/// Why a data folder cannot be worked on. Displays as one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the data folder {0} is in use by another goodpon process: stop that one, or choose another --data-dir"
    )]
    InUse(PathBuf),
    /// It cannot be made or written.
    #[error(
        "the data folder {folder} cannot be used ({reason}): make it writable for this user, or choose another --data-dir"
    )]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// There is no database in it.
    #[error("there is no Goodpon database in {0}: give the --data-dir that `goodpon serve` uses")]
    Missing(PathBuf),
    /// An older program wrote it, and it was not opened for writing since.
    #[error(
        "the database has schema version {found}, and this goodpon works on {known}: run `goodpon serve` once to update it"
    )]
    SchemaTooOld {
        /// What is there.
        found: usize,
        /// What this program works on.
        known: usize,
    },
    /// A newer program wrote it.
    #[error(
        "the database has schema version {found}, and this goodpon knows versions up to {known}: run the newer goodpon that wrote it"
    )]
    SchemaTooNew {
        /// What is there.
        found: usize,
        /// What this program knows.
        known: usize,
    },
    /// What is in the file was not made by a program of ours alone.
    #[error(
        "the database is not as goodpon makes it ({0}): restore a backup, or undo what was changed by hand"
    )]
    Strange(String),
    /// The file is no database of ours.
    #[error("the database file was not written by goodpon: choose another --data-dir")]
    NotOurs,
    /// What a process before wrote cannot be brought onto the disk.
    #[error("what the database's log holds cannot be synced ({0}): check the disk")]
    Sync(std::io::Error),
    /// A thread cannot be started.
    #[error("a thread cannot be started ({0}): check the limits of this user and the memory")]
    Thread(std::io::Error),
    /// SQLite says no.
    #[error("the database cannot be opened ({0}): check the disk, or restore a backup")]
    Database(#[from] rusqlite::Error),
}

/// Sorts an error of SQLite that came before anything was committed.
pub(crate) fn store_error(error: rusqlite::Error) -> StoreError {
    if is_outage(&error) {
        StoreError::Unavailable {
            reason: error.to_string(),
            may_have_happened: false,
        }
    } else {
        StoreError::Unexpected(error.to_string())
    }
}

/// Whether it is the machine's fault rather than ours.
pub(crate) fn is_outage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::OutOfMemory
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}
