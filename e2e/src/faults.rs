//! Provokes real faults: a clock that runs ahead, a disk that cannot sync, a power cut, a disk that is full.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::power::{self, Loss};
use crate::program::is_root;
use crate::server::{Options, Server};

/// The preloaded shim of `faults/shim.c` and `faults/disk.c`, and the folder with its switches.
pub struct Shim {
    folder: TempDir,
    library: PathBuf,
}

impl Shim {
    /// Compiles the shim with the C compiler.
    ///
    /// # Panics
    /// There is no `cc`, or it fails.
    #[must_use]
    pub fn build() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("goodpon-faults-")
            .tempdir()
            .expect("a temporary folder");
        let library = folder.path().join("shim.so");
        let source = |name| {
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("faults")
                .join(name)
        };
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .args([&library, &source("shim.c"), &source("disk.c")])
            .output()
            .expect("the C compiler `cc`");
        assert!(
            output.status.success(),
            "cc: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self { folder, library }
    }

    /// Returns options of a server that runs under this shim.
    #[must_use]
    pub fn options(&self) -> Options {
        let text = |path: &Path| path.to_str().expect("a UTF-8 path").to_owned();
        Options::default()
            .env("LD_PRELOAD", &text(&self.library))
            .env("FAULTS_DIR", &text(self.folder.path()))
            // Scaled out, the database's clock does not move along, and for a moment the two differ.
            .expect_log("set it right")
    }

    /// Returns options of a server whose data folder lies on a disk that is sure to keep synced bytes only.
    #[must_use]
    pub fn disk_options(&self) -> Options {
        let disk = self.disk();
        let text = disk.to_str().expect("a UTF-8 path");
        self.options().env("FAULTS_DISK", text).data_dir(&disk)
    }

    fn disk(&self) -> PathBuf {
        let folder = self.folder.path().canonicalize();
        folder.expect("the folder of the shim").join("data")
    }

    /// Ends the server and cuts the power of its disk: the bytes that were not synced are lost, or a part of them. Returns
    /// the number of bytes that were not synced, and the number of those that were lost.
    ///
    /// # Panics
    /// The disk cannot be written.
    pub fn cut_power(&self, server: &Server, loss: Loss) -> (u64, u64) {
        server.kill9();
        power::cut(self.folder.path(), &self.disk(), loss).expect("the disk")
    }

    /// Makes every sync to disk fail with EIO, or succeed again.
    pub fn fsync_fails(&self, fails: bool) {
        self.switch("fsync-fails", fails.then_some(""));
    }

    /// Makes the next sync of the file of that name fail with EIO, and no other one.
    pub fn next_fsync_fails(&self, file: &str) {
        self.switch("fsync-fails", Some(file));
    }

    /// Makes every sync wait, or go on.
    pub fn fsync_hangs(&self, hangs: bool) {
        self.switch("fsync-hangs", hangs.then_some(""));
    }

    /// Makes every write to the disk fail with an error number, or succeed again.
    pub fn writes_fail(&self, number: Option<i32>) {
        self.switch(
            "writes-fail",
            number.map(|number| number.to_string()).as_deref(),
        );
    }

    /// Switches a fault on, with the text that it reads, or off.
    fn switch(&self, name: &str, text: Option<&str>) {
        let (fresh, path) = (
            self.folder.path().join("fresh"),
            self.folder.path().join(name),
        );
        let done = match text {
            // Renamed into place: a half-written offset would be a jump of its own.
            Some(text) => std::fs::write(&fresh, text).and_then(|()| std::fs::rename(fresh, path)),
            None => std::fs::remove_file(path),
        };
        done.expect("the switch");
    }

    /// Sets the wall clock of the server `seconds` ahead of the machine's.
    pub fn clock_ahead(&self, seconds: i64) {
        self.switch("clock-offset", Some(&seconds.to_string()));
    }
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

    /// Returns options of a server whose data folder lies on a disk of `mebibytes` MiB.
    ///
    /// Without root the mount needs user namespaces that every user may make.
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

    /// Returns the path of the mount for the rest of the system: through the process that has it mounted.
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
