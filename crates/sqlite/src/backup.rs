//! Backups: a copy of the database in one file, checked before it gets its name.

mod checksum;
mod error;

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
    ffi,
};

use self::error::at;
use crate::{
    folder::{self, DATABASE_FILE},
    guard,
    schema::Schema,
};

pub use self::error::BackupError;

/// Writes the database of a data folder as of now into `file`, also while it is served. Blocks until the file is checked
/// and on the disk, and its checksum beside it (`FILE.sha256`, for `sha256sum -c`). Refuses to overwrite.
pub(crate) fn write(data_dir: &Path, file: &Path) -> Result<(), BackupError> {
    check_name(file)?;
    let sum_file = checksum::beside(file);
    refuse_existing(&sum_file, &[""])?;
    copy_checked(&data_dir.join(DATABASE_FILE), file)?;
    checksum::write(file, &sum_file).map_err(at(&sum_file))?;
    sync(parent(file))
}

/// Puts a backup into a data folder that has no database yet. Blocks until it is checked, also against a checksum beside
/// it, and on the disk.
pub fn restore(file: &Path, data_dir: &Path) -> Result<(), BackupError> {
    check_name(file)?;
    if !file.is_file() {
        return Err(BackupError::File {
            path: file.to_owned(),
            reason: io::ErrorKind::NotFound.into(),
        });
    }
    checksum::compare(file)?;
    check(file)?;
    let _lock = folder::Lock::take(data_dir)?;
    let target = data_dir.join(DATABASE_FILE);
    copy_checked(file, &target).map_err(|error| match error {
        BackupError::Exists(_) => BackupError::HasDatabase(data_dir.to_owned()),
        other => other,
    })
}

/// Takes names literally: those of SQLite (`file:…?mode=ro`, `:memory:`) and of shells (`-`) have no special meaning.
fn check_name(file: &Path) -> Result<(), BackupError> {
    match file.as_os_str().as_bytes() {
        b"-" => Err(BackupError::Name(
            "a backup is neither written to stdout nor read from stdin (a file of that name is ./-)",
        )),
        [.., b'/'] | b"" | b"." | b".." => Err(BackupError::Name("that is the name of a folder")),
        _ => Ok(()),
    }
}

/// Copies a database to a new file that appears under its name only when it is whole.
fn copy_checked(source: &Path, target: &Path) -> Result<(), BackupError> {
    refuse_existing(target, &DATABASE_SUFFIXES)?;
    let partial = partial_name(target);
    let copied = copy(source, &partial)
        .and_then(|()| check(&partial))
        .and_then(|()| sync(&partial))
        .and_then(|()| refuse_existing(target, &DATABASE_SUFFIXES))
        .and_then(|()| fs::rename(&partial, target).map_err(at(target)));
    if copied.is_err() {
        // The rest of it is of no use. An error of its removal adds nothing to the one that is returned.
        let _ = fs::remove_file(&partial);
        return copied;
    }
    sync(parent(target))
}

/// Suffixes of a database, and of the files that SQLite would take for parts of it.
const DATABASE_SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Refuses a name if a file exists under it and one of these suffixes.
fn refuse_existing(target: &Path, suffixes: &[&str]) -> Result<(), BackupError> {
    for suffix in suffixes {
        let mut path = target.as_os_str().to_owned();
        path.push(suffix);
        match fs::symlink_metadata(&path) {
            Ok(_) => return Err(BackupError::Exists(path.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(target)(error)),
        }
    }
    Ok(())
}

/// A name beside the target, so that renaming it is one step; with the process's id, so that two processes do not meet.
fn partial_name(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    target.with_file_name(name)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Copies page by page, in one read transaction: one moment of the store, whatever is written meanwhile.
fn copy(source: &Path, partial: &Path) -> Result<(), BackupError> {
    create_private(partial).map_err(at(partial))?;
    let run = || {
        let from = open(source, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .or_else(|_| open(source, OpenFlags::SQLITE_OPEN_READ_ONLY))?;
        let mut to = open(partial, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        match Backup::new(&from, &mut to)?.step(-1)? {
            StepResult::Done => {}
            // SQLite has waited for the lock already.
            _ => {
                return Err(rusqlite::Error::SqliteFailure(
                    ffi::Error::new(ffi::SQLITE_BUSY),
                    None,
                ));
            }
        }
        // One file that can be opened from a read-only place, without a log beside it.
        to.pragma_update(None, "journal_mode", "delete")
    };
    run().map_err(|reason| BackupError::Copy {
        path: source.to_owned(),
        reason,
    })
}

/// Makes a file readable for its owner only: it holds password hashes.
fn create_private(path: &Path) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map(drop)
}

fn open(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    // SQLite takes some names for commands, but none that begins with a slash.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    guard::distrust(&connection)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

/// Checks that a file is an undamaged database of this program, of a version that it knows.
fn check(path: &Path) -> Result<(), BackupError> {
    let unsound = |reason: String| BackupError::Unsound {
        path: path.to_owned(),
        reason,
    };
    let run = || {
        let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        let ours = connection.table_exists(None, "coupon_templates")?;
        let schema = Schema::read(&connection);
        let strange = match (&schema, ours) {
            (Ok(schema), true) => guard::strange(&connection, schema.version)?,
            _ => None,
        };
        Ok((verdict, ours, schema, strange))
    };
    let (verdict, ours, schema, strange) =
        run().map_err(|error: rusqlite::Error| unsound(error.to_string()))?;
    if verdict != "ok" {
        return Err(unsound(verdict.replace('\n', " ")));
    }
    match (schema, strange) {
        (Ok(schema), None) if ours && schema.version > 0 => {
            schema.refuse_too_new().map_err(BackupError::Folder)
        }
        (Ok(_), Some(what)) => Err(unsound(what)),
        (Ok(_) | Err(_), _) => Err(unsound("another program wrote it".into())),
    }
}

/// Syncs a file's content, or a folder's names, to the disk.
fn sync(path: &Path) -> Result<(), BackupError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(at(path))
}
