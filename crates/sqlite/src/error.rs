//! Errors: reasons why a data folder cannot be opened, and the meaning of SQLite's errors to a caller.

use std::path::PathBuf;

use goodpon_application::ports::StoreError;
use rusqlite::ErrorCode;

/// The reason why a data folder cannot be opened. Displays as one line with a remedy.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the folder's lock.
    #[error(
        "the data folder {0} is in use by another goodpon process: stop that one, or choose another --data-dir"
    )]
    InUse(PathBuf),
    /// The folder or a file of it cannot be made or written.
    #[error(
        "the data folder {folder} cannot be used ({reason}): make it writable for this user, or choose another --data-dir"
    )]
    Folder {
        /// The path.
        folder: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
    /// There is no database in the folder.
    #[error("there is no Goodpon database in {0}: give the --data-dir that `goodpon serve` uses")]
    Missing(PathBuf),
    /// An older program wrote it, and it was not opened for writing since.
    #[error(
        "the database has schema version {found}, and this goodpon works on {known}: run `goodpon serve` once to update it"
    )]
    SchemaTooOld {
        /// The version that was found.
        found: usize,
        /// The version that this program works on.
        known: usize,
    },
    /// A newer program wrote it.
    #[error(
        "the database has schema version {found}, and this goodpon knows versions up to {known}: run the newer goodpon that wrote it"
    )]
    SchemaTooNew {
        /// The version that was found.
        found: usize,
        /// The newest version that this program knows.
        known: usize,
    },
    /// The file has schema objects that no version of this program makes.
    #[error(
        "the database is not as goodpon makes it ({0}): restore a backup, or undo what was changed by hand"
    )]
    Strange(String),
    /// The file is no database of this program.
    #[error("the database file was not written by goodpon: choose another --data-dir")]
    NotOurs,
    /// The writes of an earlier process cannot be synced to the disk.
    #[error("what the database's log holds cannot be synced ({0}): check the disk")]
    Sync(std::io::Error),
    /// A thread cannot be started.
    #[error("a thread cannot be started ({0}): check the limits of this user and the memory")]
    Thread(std::io::Error),
    /// SQLite returned an error.
    #[error("the database cannot be opened ({0}): check the disk, or restore a backup")]
    Database(#[from] rusqlite::Error),
}

/// Maps an error of SQLite before the commit to an error of the port.
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

/// True if the machine causes the error, rather than this program.
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
