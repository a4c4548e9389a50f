//! Options of a server under test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use command_fds::{CommandFdExt, FdMapping};

use crate::backend::Rooms;
use crate::program::binary;

/// The options of a server that differ from the usual ones.
#[derive(Clone, Default)]
pub struct Options {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) wrapper: Vec<String>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) rate_limits: bool,
    pub(super) own_mounts: bool,
    pub(super) embedded: bool,
    pub(super) program: Option<PathBuf>,
    pub(super) rooms: Option<Arc<Rooms>>,
    pub(super) sockets: Option<Arc<HeldSockets>>,
    pub(super) expected: Vec<String>,
}

/// Listening sockets that outlive the server, as those of a socket unit of systemd do.
pub(super) struct HeldSockets(Vec<(&'static str, TcpListener)>);

impl HeldSockets {
    fn bind() -> Self {
        let bind = |name| {
            let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
            (name, socket)
        };
        Self(["dashboard", "partner", "admin"].map(bind).into())
    }

    /// Has a process inherit them, as systemd would.
    pub(super) fn hand_to(&self, command: &mut Command) {
        let names: Vec<_> = self.0.iter().map(|(name, _)| *name).collect();
        command
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"));
        let mappings = self
            .0
            .iter()
            .zip(3..)
            .map(|((_, socket), child_fd)| FdMapping {
                parent_fd: socket.try_clone().expect("a file handle").into(),
                child_fd,
            });
        command
            .fd_mappings(mappings.collect())
            .expect("different numbers");
    }
}

impl Options {
    /// Hands the server sockets that stay open while it is restarted.
    #[must_use]
    pub fn held_sockets(mut self) -> Self {
        self.sockets = Some(Arc::new(HeldSockets::bind()));
        self
    }

    /// Runs this program rather than the one under test.
    #[must_use]
    pub fn program(mut self, path: &Path) -> Self {
        self.program = Some(path.to_owned());
        self
    }

    /// Serves from this database and topic, which other servers may share: scaled out, on whatever set the suite runs.
    #[must_use]
    pub fn rooms(mut self, rooms: &Arc<Rooms>) -> Self {
        self.rooms = Some(Arc::clone(rooms));
        self
    }

    pub(super) fn binary(&self) -> PathBuf {
        self.program.clone().unwrap_or_else(binary)
    }

    /// Announces lines of the levels WARN and ERROR that hold these words: any other such line fails the test.
    #[must_use]
    pub fn expect_log(mut self, words: &str) -> Self {
        self.expected.push(words.to_owned());
        self
    }

    /// Serves from the embedded database, on whatever set the suite runs: for tests that need a data folder.
    #[must_use]
    pub fn embedded(mut self) -> Self {
        self.embedded = true;
        self
    }

    /// Appends arguments to `goodpon serve`.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable of the server.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts a command in front of the binary (`unshare -m …`); it must end in an `exec`, so that the pid stays.
    #[must_use]
    pub fn wrapper<S: Into<String>>(mut self, command: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = command.into_iter().map(Into::into).collect();
        self
    }

    /// Serves this folder rather than a fresh temporary one; it is left in place.
    #[must_use]
    pub fn data_dir(mut self, path: &Path) -> Self {
        self.data_dir = Some(path.to_owned());
        self
    }

    /// Notes that the server has a file system of its own, through which the command line must reach its folder.
    #[must_use]
    pub fn own_mounts(mut self) -> Self {
        self.own_mounts = true;
        self
    }

    /// Leaves the rate limits at their defaults; otherwise the harness switches them all off.
    #[must_use]
    pub fn with_rate_limits(mut self) -> Self {
        self.rate_limits = true;
        self
    }
}
