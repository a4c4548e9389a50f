//! Secrets that this machine generates for itself and keeps in the data folder, readable by the owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use goodpon_application::ports::Random;

use crate::config;
use crate::failed::Failed;
use crate::random::hex;

/// Within the data folder.
const JWT_FILE: &str = "jwt-secret";

/// The key of access tokens: the one that is there, or a new one. The caller holds the data folder's lock.
///
/// # Errors
/// The file cannot be read or written, or holds too little.
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

/// Makes the data folder where it is missing, for its owner only: with a database on a server nobody else has made it.
///
/// # Errors
/// What the file system says.
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

/// Writes a file of mode 0600, whole or not at all, also across a crash; replaces one that is there.
///
/// # Errors
/// What the file system says.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    // One that a crash left behind may have been given other permissions.
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
        tracing::warn!(path = %path.display(), "others than the owner can read this secret: chmod 600 it");
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
    fn what_a_crash_left_behind_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("jwt-secret.new"), "half").unwrap();
        assert!(jwt_secret(folder.path(), &SecureRandom).is_ok());
    }
}
