//! Secrets that the program generates and keeps in the data folder, readable by the owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use goodpon_application::ports::Random;

use crate::config;
use crate::failed::Failed;
use crate::random::hex;

/// The file within the data folder.
const JWT_FILE: &str = "jwt-secret";

/// Returns the key of access tokens: that of the file, or a new one. The caller holds the data folder's lock.
///
/// # Errors
/// The file cannot be read or written, or its key is too short or can be guessed.
pub fn jwt_secret(data_dir: &Path, random: &dyn Random) -> Result<Vec<u8>, Failed> {
    make_folder(data_dir)?;
    let path = data_dir.join(JWT_FILE);
    let shown = path.display();
    match fs::read_to_string(&path) {
        Ok(text) => {
            warn_if_readable_by_others(&path);
            config::jwt_secret(config::without_surroundings(&text)).map_err(|why| {
                Failed::new(format!(
                    "the secret in {shown} {why}; put the right one back, or delete the file to have a new one made, \
                     which ends all sessions"
                ))
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = hex::<32>(random);
            write_private(&path, format!("{secret}\n").as_bytes())
                .map_err(|error| Failed::new(format!("{shown} cannot be written: {error}")))?;
            tracing::info!(path = %shown, "secret for access tokens generated");
            Ok(secret.into_bytes())
        }
        Err(error) => Err(Failed::new(format!(
            "{shown} cannot be read: {error}; make it readable for this user"
        ))),
    }
}

/// Says that the data folder has a key of access tokens.
#[must_use]
pub fn has_jwt_secret(data_dir: &Path) -> bool {
    data_dir.join(JWT_FILE).exists()
}

/// Creates the data folder, for its owner only, if it is missing. With the scaled-out set nothing else creates it.
///
/// # Errors
/// The folder cannot be created.
pub fn make_folder(data_dir: &Path) -> Result<(), Failed> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir);
    made.map_err(|error| {
        Failed::new(format!(
            "the data folder {} cannot be made: {error}",
            data_dir.display()
        ))
    })
}

/// Writes a file with mode 0600 or replaces it. After a crash the file is either complete or unchanged.
///
/// # Errors
/// The file system's error.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    // A crash may have left one with other permissions.
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn warn_if_readable_by_others(path: &Path) {
    if let Ok(file) = fs::metadata(path)
        && file.permissions().mode() & 0o077 != 0
    {
        tracing::warn!(path = %path.display(), "other users can read this secret: chmod 600 it");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::random::SecureRandom;

    #[test]
    fn the_secret_is_made_once_and_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let first = jwt_secret(folder.path(), &SecureRandom).unwrap();
        assert!(first.len() >= 32);
        assert_eq!(jwt_secret(folder.path(), &SecureRandom).unwrap(), first);
        let file = fs::metadata(folder.path().join(JWT_FILE)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_short_secret_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JWT_FILE);
        fs::write(&path, "short\n").unwrap();
        let error = jwt_secret(folder.path(), &SecureRandom).unwrap_err();
        assert!(error.to_string().contains("at least 32 bytes"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "short\n");
    }

    #[test]
    fn a_temporary_file_that_a_crash_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("jwt-secret.new"), "half").unwrap();
        assert!(jwt_secret(folder.path(), &SecureRandom).is_ok());
    }
}
