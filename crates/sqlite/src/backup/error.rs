//! The reasons for which a backup is not written or not restored.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::OpenError;

/// The reason why a backup is not written or not restored. Displays as one line with a remedy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file exists under the backup's name.
    #[error("{0} exists already: choose another file name, or move that file away")]
    Exists(PathBuf),
    /// The name is not that of a file.
    #[error("{0}: give the name of a file")]
    Name(&'static str),
    /// The data folder is not empty.
    #[error(
        "the data folder {0} has a database already: restore into another --data-dir, or move that one away"
    )]
    HasDatabase(PathBuf),
    /// The data folder cannot be worked on.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// A file cannot be read or written.
    #[error(
        "{path} cannot be read or written ({reason}): check the path, its permissions and the free space"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// A file is no sound database of this program.
    #[error("{path} is no sound Goodpon backup ({reason}): use another one")]
    Unsound {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// Copying failed.
    #[error("{path} cannot be copied ({reason}): check the disk and its free space")]
    Copy {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        reason: rusqlite::Error,
    },
}

pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.to_owned();
    move |reason| BackupError::File {
        path: path.clone(),
        reason,
    }
}
