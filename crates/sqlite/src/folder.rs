//! The data folder and its lock.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use crate::OpenError;

/// Held for as long as a process works on a data folder; the system gives it back when the process ends.
pub(crate) struct Lock(#[allow(dead_code, reason = "held, not read")] File);

impl Lock {
    /// Makes the folder where it is missing, for its owner only, and takes its lock.
    pub(crate) fn take(folder: &Path) -> Result<Self, OpenError> {
        let refuse = |reason| OpenError::Folder {
            folder: folder.to_owned(),
            reason,
        };
        if !folder.is_dir() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(folder).map_err(refuse)?;
        }
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("goodpon.lock"))
            .map_err(refuse)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
            Err(TryLockError::Error(reason)) => Err(refuse(reason)),
        }
    }
}

/// Opens the database's file, which is made where it is missing. It holds password hashes and mails: nobody else is
/// to read it, also where the folder is open to others. SQLite gives its log the same permissions.
///
/// To be closed after all connections: with any handle of a file the system gives back the process's locks on it.
pub(crate) fn database_file(folder: &Path) -> Result<File, OpenError> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(folder.join(crate::DATABASE_FILE))
        .map_err(|reason| OpenError::Folder {
            folder: folder.to_owned(),
            reason,
        })
}
