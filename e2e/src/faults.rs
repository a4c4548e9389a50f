//! Faults that are really provoked: a clock that runs ahead, a disk that cannot sync, a disk that is full.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::server::Options;

/// The preloaded shim of `faults/shim.c` and the folder with its switches.
pub struct Shim {
    folder: TempDir,
    library: PathBuf,
}

impl Shim {
    /// Compiles the shim with the C compiler.
    ///
    /// # Panics
    /// When there is no `cc` or it fails.
    #[must_use]
    pub fn build() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("goodpon-faults-")
            .tempdir()
            .expect("a temporary folder");
        let library = folder.path().join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/shim.c");
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .args([&library, &source])
            .output()
            .expect("the C compiler `cc`");
        assert!(
            output.status.success(),
            "cc: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self { folder, library }
    }

    /// Options of a server that runs under this shim.
    #[must_use]
    pub fn options(&self) -> Options {
        let text = |path: &Path| path.to_str().expect("a UTF-8 path").to_owned();
        Options::default()
            .env("LD_PRELOAD", &text(&self.library))
            .env("FAULTS_DIR", &text(self.folder.path()))
    }

    /// Lets every sync to disk fail with EIO, or succeed again.
    pub fn fsync_fails(&self, fails: bool) {
        let path = self.folder.path().join("fsync-fails");
        let done = if fails {
            std::fs::write(path, "")
        } else {
            std::fs::remove_file(path)
        };
        done.expect("the switch");
    }

    /// Sets the wall clock of the server so many seconds ahead of the machine's.
    pub fn clock_ahead(&self, seconds: i64) {
        // Renamed into place: a half-written offset would be a jump of its own.
        let (fresh, path) = (
            self.folder.path().join("clock-fresh"),
            self.folder.path().join("clock-offset"),
        );
        std::fs::write(&fresh, seconds.to_string()).expect("the switch");
        std::fs::rename(fresh, path).expect("the switch");
    }
}

/// Whether the suite runs as root, who needs no user namespace to mount.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id")
        .arg("-u")
        .output()
        .expect("the id program");
    id.stdout.trim_ascii() == b"0"
}

/// A data folder on a file system of its own that is small enough to be filled. Only the server sees it mounted.
pub struct SmallDisk {
    mount: TempDir,
}

impl SmallDisk {
    /// Prepares the mount point.
    #[must_use]
    pub fn prepare() -> Self {
        let mount = tempfile::Builder::new()
            .prefix("goodpon-disk-")
            .tempdir()
            .expect("a temporary folder");
        Self { mount }
    }

    /// Options of a server whose data folder lies on a disk of so many MiB.
    ///
    /// Without root the mount needs user namespaces that the system lets anybody make.
    #[must_use]
    pub fn options(&self, mebibytes: u32) -> Options {
        let flags = if is_root() { "-m" } else { "-rm" };
        let script = format!("mount -t tmpfs -o size={mebibytes}m tmpfs \"$0\" && exec \"$@\"");
        let mount = self.mount.path().to_str().expect("a UTF-8 path");
        Options::default()
            .wrapper(["unshare", flags, "sh", "-c", &script, mount])
            .data_dir(&self.mount.path().join("data"))
            .own_mounts()
    }

    /// The mount as the rest of the system reaches it: through the process that has it mounted.
    #[must_use]
    pub fn seen_from_outside(&self, pid: u32) -> PathBuf {
        let inside = self
            .mount
            .path()
            .strip_prefix("/")
            .expect("an absolute path");
        Path::new(&format!("/proc/{pid}/root")).join(inside)
    }
}
