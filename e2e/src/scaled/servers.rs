//! Servers of a run's own, which may be killed: a named set of `cargo xtask services`, driven by that program.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// MariaDB or MySQL.
    Database,
    /// Valkey.
    Valkey,
    /// Kafka.
    Kafka,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Database, Self::Valkey, Self::Kafka];

    fn name(self) -> &'static str {
        match self {
            Self::Database => "mariadb",
            Self::Valkey => "valkey",
            Self::Kafka => "kafka",
        }
    }
}

/// The data with which a server starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// Its own data.
    Kept,
    /// No data.
    Lost,
    /// The data of its last snapshot.
    FromSnapshot,
}

/// The addresses of a server.
#[derive(Debug, Clone)]
pub struct Location {
    /// The value of goodpon's setting for it.
    pub url: String,
    /// The address for clients.
    pub address: SocketAddr,
    /// The address for a proxy, if it gives clients an address for further connections.
    pub behind: SocketAddr,
    /// The address at which that proxy must listen.
    pub front: SocketAddr,
}

/// A set of servers. It is stopped, and its data deleted, when this is dropped.
#[derive(Debug)]
pub struct Servers {
    xtask: PathBuf,
    set: String,
    locations: BTreeMap<Kind, Location>,
    /// Locked as long as the set is used: other runs that want it wait.
    _lock: File,
}

impl Servers {
    /// Starts a set of that name, without data.
    ///
    /// # Panics
    /// A server does not start.
    pub async fn up(set: &str) -> Self {
        let xtask = std::env::var_os("GOODPON_XTASK").unwrap_or_else(|| {
            panic!("GOODPON_XTASK names no program: run `cargo xtask test` or `cargo xtask torture --backend scaled`")
        });
        let xtask = PathBuf::from(xtask);
        let mut servers = Self {
            _lock: lock(&target(&xtask).join(format!("services-{set}.lock"))).await,
            xtask,
            set: set.to_owned(),
            locations: BTreeMap::new(),
        };
        servers.run(&["down", "--lose-data"]).await;
        servers.run(&["up"]).await;
        let reply = servers.run(&["status", "--json"]).await;
        let reply: Value = serde_json::from_str(&reply).expect("a JSON object");
        servers.locations = Kind::ALL
            .map(|kind| (kind, location(&reply[kind.name()])))
            .into();
        servers
    }

    /// Returns the addresses of a server.
    #[must_use]
    pub fn location(&self, kind: Kind) -> &Location {
        &self.locations[&kind]
    }

    /// Returns the path of a server's log.
    #[must_use]
    pub fn log(&self, kind: Kind) -> PathBuf {
        let folder = target(&self.xtask).join(format!("services-{}", self.set));
        folder.join(kind.name()).join("log")
    }

    /// Kills a server by SIGKILL; it is gone when this returns.
    pub async fn kill(&self, kind: Kind) {
        self.run(&["kill", kind.name()]).await;
    }

    /// Starts a server, and waits until it answers.
    pub async fn start(&self, kind: Kind, data: Data) {
        let mut words = vec!["start", kind.name()];
        match data {
            Data::Kept => {}
            Data::Lost => words.push("--lose-data"),
            Data::FromSnapshot => words.push("--from-snapshot"),
        }
        self.run(&words).await;
    }

    /// Copies the data of a server.
    pub async fn snapshot(&self, kind: Kind) {
        self.run(&["snapshot", kind.name()]).await;
    }

    async fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new(&self.xtask);
        command
            .args(["services", "--set", &self.set])
            .args(words)
            .stdin(Stdio::null());
        let output = output_of(command).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "xtask services {words:?}: {errors}"
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// Returns the target folder that the program was built in.
fn target(xtask: &Path) -> &Path {
    xtask.ancestors().nth(2).expect("a target folder")
}

/// Waits until no other process holds the lock of the file, and takes it.
async fn lock(path: &Path) -> File {
    let file = File::create(path).expect("a lock file");
    let wait = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
    wait.await.expect("no panic").expect("a lock")
}

/// Runs a command to its end, while others go on.
///
/// # Panics
/// It cannot be run.
pub async fn output_of(mut command: Command) -> Output {
    let ran = tokio::task::spawn_blocking(move || command.output());
    ran.await
        .expect("no panic")
        .expect("a program that can be run")
}

impl Drop for Servers {
    fn drop(&mut self) {
        let words = ["services", "--set", &self.set, "down", "--lose-data"];
        let mut command = Command::new(&self.xtask);
        let _ = command.args(words).stdin(Stdio::null()).output();
    }
}

fn location(status: &Value) -> Location {
    let address = |field: &str| {
        let port = status[field].as_u64().and_then(|port| port.try_into().ok());
        SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("a port")))
    };
    Location {
        url: status["url"].as_str().expect("a URL").to_owned(),
        address: address("port"),
        behind: address("behind"),
        front: address("front"),
    }
}
