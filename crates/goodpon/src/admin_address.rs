//! The address of the admin port, where `goodpon healthcheck` finds it if the settings do not lead there: given by a flag,
//! or a port that the system chose.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::{self, Flags, ListenAddr};
use crate::secrets::{make_folder, write_private};

/// The file within the data folder: the address by the settings without flags, and in the next line the real one.
const FILE: &str = "admin-addr";

/// The note of a serving process in its data folder. It is deleted when dropped.
pub struct Note(PathBuf);

impl Note {
    /// Writes down that the admin port is at `real`, unless the settings of the environment lead there. Where several
    /// processes share a folder, a note counts only for those whose settings are the same.
    pub fn write(data_dir: &Path, real: SocketAddr) -> Option<Self> {
        Self::write_beside(data_dir, &without_flags()?, real)
    }

    fn write_beside(data_dir: &Path, by_settings: &ListenAddr, real: SocketAddr) -> Option<Self> {
        let path = data_dir.join(FILE);
        if by_settings.resolve().is_ok_and(|address| address == real) {
            // One that a crash left would lead astray.
            if read(&path).is_some_and(|(of, _)| of == by_settings.as_str()) {
                let _ = fs::remove_file(&path);
            }
            return None;
        }
        // A part of a scaled-out set may have no place for one: then the health check must be given the address.
        make_folder(data_dir).ok()?;
        let text = format!("{}\n{real}\n", by_settings.as_str());
        match write_private(&path, text.as_bytes()) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the address for `goodpon healthcheck` cannot be noted");
                None
            }
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Returns the noted address of the server whose settings lead to `by_settings`.
pub fn find(data_dir: &Path, by_settings: &ListenAddr) -> Option<ListenAddr> {
    let (of, real) = read(&data_dir.join(FILE))?;
    (of == by_settings.as_str()).then_some(real)
}

fn read(path: &Path) -> Option<(String, ListenAddr)> {
    let text = fs::read_to_string(path).ok()?;
    let (by_settings, real) = text.trim_end().split_once('\n')?;
    Some((by_settings.to_owned(), real.parse().ok()?))
}

/// Returns the address that the settings name without the flags of this process.
fn without_flags() -> Option<ListenAddr> {
    let all = config::resolve(&Flags::default(), std::env::vars_os()).ok()?;
    let (text, _) = all.get("admin-addr").ok()?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn address(text: &str) -> ListenAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_the_settings_do_not_name_is_found_while_the_server_runs() {
        let folder = tempfile::tempdir().unwrap();
        let by_settings = address("127.0.0.1:9090");
        let real = "127.0.0.1:4711".parse().unwrap();
        let note = Note::write_beside(folder.path(), &by_settings, real);
        let found = find(folder.path(), &by_settings).unwrap();
        assert_eq!(found.as_str(), "127.0.0.1:4711");
        assert!(find(folder.path(), &address("127.0.0.1:1")).is_none());
        drop(note);
        assert!(find(folder.path(), &by_settings).is_none());
    }

    #[test]
    fn the_address_of_the_settings_needs_no_note_and_ends_an_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let by_settings = address("127.0.0.1:9090");
        std::mem::forget(Note::write_beside(
            folder.path(),
            &by_settings,
            "127.0.0.1:4711".parse().unwrap(),
        ));
        let real = "127.0.0.1:9090".parse().unwrap();
        assert!(Note::write_beside(folder.path(), &by_settings, real).is_none());
        assert!(find(folder.path(), &by_settings).is_none());
    }
}
