//! Permissions of a data folder.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn the_lock_is_its_owners_and_leads_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(LOCK_FILE);
    drop(Lock::take(folder.path()).unwrap());
    assert_eq!(mode(&path), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    drop(Lock::take(folder.path()).unwrap());
    assert_eq!(mode(&path), 0o600, "one of an older version");
    fs::remove_file(&path).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    symlink(&elsewhere, &path).unwrap();
    let refused = Lock::take(folder.path()).err().unwrap().to_string();
    assert!(
        refused.contains("goodpon.lock in it is a symbolic link"),
        "{refused}"
    );
    assert!(!elsewhere.exists());
}

#[test]
fn a_folder_that_is_open_to_others_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let open = |mode| {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        caution(folder.path()).unwrap()
    };
    assert_eq!(open(0o700), None);
    for mode in [0o750, 0o701, 0o777] {
        assert!(open(mode).unwrap().contains("chmod 700"), "{mode:o}");
    }
}

#[test]
fn a_folder_of_another_user_is_warned_of() {
    // The system's own belongs to root.
    let found = caution(Path::new("/proc/1")).unwrap();
    let is_roots = rustix::process::geteuid().is_root();
    assert_eq!(
        found.is_some_and(|text| text.contains("belongs to user 0")),
        !is_roots
    );
}
