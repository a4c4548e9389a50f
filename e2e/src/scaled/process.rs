//! One process of a fleet, and the ways from it to the servers.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use super::proxy::{Callers, Link, Proxy};
use super::servers::{Kind, Servers};

/// Counts ports that were taken. Ports are below those that systems give to outgoing connections, so that a process can
/// listen at its port again.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

fn free_port() -> SocketAddr {
    // Runs at the same time begin at different ports.
    let base = u16::try_from(std::process::id() % 9_000).expect("a small number");
    loop {
        let port = 11_000 + (base + NEXT_PORT.fetch_add(1, Ordering::Relaxed)) % 9_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// The part of Goodpon that a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Serves merchants.
    Dashboard,
    /// Serves shops.
    Partner,
    /// Writes coupons.
    Issuer,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Dashboard => "dashboard",
            Self::Partner => "partner",
            Self::Issuer => "issuer",
        }
    }
}

/// A process, running or not. It comes back at the same addresses.
pub struct Process {
    /// Its name, such as `partner1`.
    pub name: String,
    /// The part that it is.
    pub role: Role,
    /// The address of its admin port.
    pub admin: SocketAddr,
    /// The address of its API, if it has one.
    pub api: SocketAddr,
    /// Its way to Kafka, which shares a proxy with those of others.
    pub kafka: Link,
    database: (Link, Proxy),
    valkey: (Link, Proxy),
    env: Vec<(String, String)>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// Prepares it; it does not run yet. `common` are the settings of all processes.
    pub async fn prepare(
        name: &str,
        role: Role,
        servers: &Servers,
        common: &[(String, String)],
        folder: &Path,
    ) -> Self {
        let way = async |kind| {
            let link = Link::default();
            let target = servers.location(kind).address;
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let proxy = Proxy::start(any, target, Callers::Any(link.clone())).await;
            (link, proxy)
        };
        let (database, valkey) = (way(Kind::Database).await, way(Kind::Valkey).await);
        let (admin, api) = (free_port(), free_port());
        let url = |env: &str, direct: SocketAddr, proxy: &Proxy| {
            let (_, value) = common.iter().find(|(name, _)| name == env).expect("a URL");
            let value = value.replace(&direct.to_string(), &proxy.address().to_string());
            (env.to_owned(), value)
        };
        let direct = |kind| servers.location(kind).address;
        let setting = |name: &str, value: String| (name.to_owned(), value);
        let mut env = common.to_vec();
        env.extend([
            url("GOODPON_DATABASE_URL", direct(Kind::Database), &database.1),
            url("GOODPON_VALKEY_URL", direct(Kind::Valkey), &valkey.1),
            setting(
                "GOODPON_KAFKA_BROKERS",
                servers.location(Kind::Kafka).front.to_string(),
            ),
            setting("GOODPON_KAFKA_OPTIONS", format!("client.id={name}")),
            setting("GOODPON_ADMIN_ADDR", admin.to_string()),
            setting("GOODPON_DASHBOARD_ADDR", api.to_string()),
            setting("GOODPON_PARTNER_ADDR", api.to_string()),
            setting("GOODPON_DATA_DIR", folder.join(name).display().to_string()),
        ]);
        Self {
            name: name.to_owned(),
            role,
            admin,
            api,
            kafka: Link::default(),
            database,
            valkey,
            env,
            log: folder.join(format!("{name}.log")),
            child: Mutex::default(),
        }
    }

    /// Returns its way to a server.
    #[must_use]
    pub fn link(&self, kind: Kind) -> &Link {
        match kind {
            Kind::Database => &self.database.0,
            Kind::Valkey => &self.valkey.0,
            Kind::Kafka => &self.kafka,
        }
    }

    /// Returns the path of its log.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts it, and does not wait until it is ready.
    pub fn start(&self) {
        let mut log = OpenOptions::new();
        let log = log.create(true).append(true).open(&self.log);
        let mut command = crate::program::command();
        command
            .arg(self.role.word())
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log file"));
        let child = command.spawn().expect("goodpon can be run");
        *self.child.lock().unwrap() = Some(child);
    }

    /// Kills it by SIGKILL; it is gone when this returns.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a running one a signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        if let Some(child) = self.child.lock().unwrap().as_ref() {
            let _ = Command::new("kill")
                .args([format!("-{signal}"), child.id().to_string()])
                .status();
        }
    }

    /// Waits for the end of a process that was asked to end.
    ///
    /// # Errors
    /// It did not end in time, or not in order.
    pub async fn ended(&self) -> Result<(), String> {
        let child = self.child.lock().unwrap().take();
        let Some(mut child) = child else {
            return Ok(());
        };
        let name = self.name.clone();
        let waited = tokio::task::spawn_blocking(move || child.wait()).await;
        match waited.expect("no panic").expect("its state") {
            status if status.success() => Ok(()),
            status => Err(format!(
                "{name} ended with {status} when it was asked to stop"
            )),
        }
    }

    /// Returns how it ended, if it ended without being asked to.
    #[must_use]
    pub fn is_lost(&self) -> Option<String> {
        let mut child = self.child.lock().unwrap();
        let status = child.as_mut()?.try_wait().expect("its state")?;
        Some(format!("{} has ended by itself with {status}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
