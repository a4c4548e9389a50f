//! The data folder and its lock.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::OpenError;

/// The database's name within the data folder.
pub const DATABASE_FILE: &str = "goodpon.db";

/// The lock's file within the data folder.
const LOCK_FILE: &str = "goodpon.lock";

/// The lock that a process holds while it works on a data folder; the system gives it back when the process ends.
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
            builder.recursive(true).mode(0o700);
            builder.create(folder).map_err(refuse)?;
        }
        if let Some(caution) = caution(folder).map_err(refuse)? {
            tracing::warn!("the data folder {} {caution}", folder.display());
        }
        let file = lock_file(folder).map_err(refuse)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
            Err(TryLockError::Error(reason)) => Err(refuse(reason)),
        }
    }
}

/// Opens the file that is locked, for its owner only. Refuses a link, which would make the file elsewhere.
fn lock_file(folder: &Path) -> io::Result<File> {
    let opened = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(folder.join(LOCK_FILE));
    let file = opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => {
            io::Error::other(format!("{LOCK_FILE} in it is a symbolic link: remove it"))
        }
        _ => error,
    })?;
    if file.metadata()?.mode() & 0o077 != 0 {
        // Older versions made it readable for everybody. A file of another user stays so.
        let _ = file.set_permissions(fs::Permissions::from_mode(0o600));
    }
    Ok(file)
}

/// The fault in the permissions of a folder's files, if there is one.
fn caution(folder: &Path) -> io::Result<Option<String>> {
    let found = fs::metadata(folder)?;
    let (owner, me) = (found.uid(), rustix::process::geteuid().as_raw());
    Ok(match (owner == me, found.mode() & 0o077) {
        (false, _) => Some(format!(
            "belongs to user {owner} and not to {me}, who runs this: its owner can replace what is in it"
        )),
        (true, 0) => None,
        (true, _) => Some("is open to others than its owner: chmod 700 it".into()),
    })
}

/// Opens the database's file, and makes it if it is missing. It holds password hashes and mails, so only its owner may
/// read it, even in a folder that is open to others. SQLite gives its log the same permissions.
///
/// To be closed after all connections: with any handle of a file the system gives back the process's locks on it.
pub(crate) fn database_file(folder: &Path) -> Result<File, OpenError> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join(DATABASE_FILE))
        .map_err(|reason| OpenError::Folder {
            folder: folder.to_owned(),
            reason,
        })
}

/// A folder's whole path: SQLite takes some names for commands, such as `file:…?mode=ro`, but none that begins with a
/// slash.
pub(crate) fn absolute(folder: &Path) -> Result<PathBuf, OpenError> {
    std::path::absolute(folder).map_err(|reason| OpenError::Folder {
        folder: folder.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests;
