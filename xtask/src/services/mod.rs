//! `cargo xtask services`: real MariaDB or MySQL, Valkey and Kafka for tests and development.
//!
//! Where a Docker daemon answers, they are containers; else plain processes, whose programs are installed where they
//! are missing. They run on ports of their own until `down`, and keep their data in the folder `services` of the
//! target folder: who wants to begin anew stops them and deletes it. A URL that the environment gives is used as it is.

mod docker;
mod kafka;
mod local;
mod mariadb;
mod valkey;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::test_run::target_folder;

/// What to do with the servers.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Starts what does not run yet, and waits until all are ready.
    Up {
        /// Prints the settings of goodpon for them, as `export` lines.
        #[arg(long)]
        env: bool,
    },
    /// Stops them. Their data stays.
    Down,
    /// Tells which of them run; fails unless all do.
    Status {
        /// Prints the settings of goodpon for them instead, as `export` lines.
        #[arg(long)]
        env: bool,
    },
}

/// A kind of server.
trait Server {
    /// Also its folder's name, and its service's in the Compose file.
    fn name(&self) -> &'static str;

    /// The setting of goodpon that tells where it is.
    fn variable(&self) -> &'static str;

    /// That setting's value.
    fn url(&self, port: u16) -> String;

    /// Sees to it that its programs are there.
    fn install(&self, folder: &Path) -> Result<()>;

    /// Writes its configuration, prepares its data where there is none, and tells how it is started. Its command line
    /// has the folder's path in it. `inner`: a second port, for itself.
    fn prepare(&self, folder: &Path, port: u16, inner: u16) -> Result<std::process::Command>;

    /// Whether it answers.
    fn is_ready(&self, port: u16) -> bool;

    /// What is to be done once it answers; may be done again.
    fn set_up(&self, _folder: &Path, _port: u16) -> Result<()> {
        Ok(())
    }
}

const SERVERS: [&dyn Server; 3] = [&mariadb::MariaDb, &valkey::Valkey, &kafka::Kafka];

/// A server's place: its folder, and the ports that it keeps from one start to the next.
struct Place {
    folder: PathBuf,
    port: u16,
    inner: u16,
}

/// The folder of all servers.
fn folder() -> Result<PathBuf> {
    Ok(target_folder()?.join("services"))
}

impl Place {
    /// The place of a server, which gets ports if it has none, or if others have taken them while it did not run.
    fn of(server: &dyn Server, runs: impl Fn(&Path) -> bool) -> Result<Self> {
        let folder = folder()?.join(server.name());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        if let Some(place) = Self::known(&folder)
            && (runs(&folder) || (is_free(place.port) && is_free(place.inner)))
        {
            return Ok(place);
        }
        let (one, other) = (free_port()?, free_port()?);
        let (port, inner) = (one.local_addr()?.port(), other.local_addr()?.port());
        fs::write(folder.join("ports"), format!("{port} {inner}"))?;
        Ok(Self {
            folder,
            port,
            inner,
        })
    }

    fn known(folder: &Path) -> Option<Self> {
        let ports = fs::read_to_string(folder.join("ports")).ok()?;
        let (port, inner) = ports.split_once(' ')?;
        Some(Self {
            folder: folder.to_owned(),
            port: port.parse().ok()?,
            inner: inner.parse().ok()?,
        })
    }
}

fn free_port() -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The servers that the environment does not give.
fn ours() -> impl Iterator<Item = &'static dyn Server> {
    let is_given = |server: &&dyn Server| std::env::var_os(server.variable()).is_some();
    SERVERS.into_iter().filter(move |server| !is_given(server))
}

/// Does what the options say.
pub fn run(options: &Options) -> Result<()> {
    match options.action {
        Action::Up { env } => {
            up()?;
            if env {
                print_settings()?;
            }
            Ok(())
        }
        Action::Down => {
            if docker::answers() {
                docker::down()?;
            }
            SERVERS
                .into_iter()
                .try_for_each(|server| local::stop(server.name()))
        }
        Action::Status { env: true } => print_settings(),
        Action::Status { env: false } => status(),
    }
}

/// Starts what does not run yet, waits until all are ready, and gives the settings of goodpon for them.
pub fn up_with_settings() -> Result<Vec<(&'static str, String)>> {
    up()?;
    let settings = SERVERS.into_iter().map(|server| {
        let value = setting(server)?;
        let value = value.with_context(|| format!("{} has no port", server.name()))?;
        Ok((server.variable(), value))
    });
    settings.collect()
}

/// Starts what does not run yet, and waits until all are ready.
fn up() -> Result<()> {
    let servers: Vec<_> = ours().collect();
    if docker::answers() {
        docker::up(&servers)
    } else {
        local::up(&servers)
    }
}

/// The value of a server's setting, if it is given or has a place already.
fn setting(server: &dyn Server) -> Result<Option<String>> {
    if let Ok(given) = std::env::var(server.variable()) {
        return Ok(Some(given));
    }
    let place = Place::known(&folder()?.join(server.name()));
    Ok(place.map(|place| server.url(place.port)))
}

fn print_settings() -> Result<()> {
    for server in SERVERS {
        let value = setting(server)?;
        let value = value.with_context(|| {
            format!(
                "{} has no port yet: run `cargo xtask services up`",
                server.name()
            )
        })?;
        println!(
            "export {}='{}'",
            server.variable(),
            value.replace('\'', r"'\''")
        );
    }
    Ok(())
}

fn status() -> Result<()> {
    let mut away = Vec::new();
    for server in SERVERS {
        let state = if let Ok(given) = std::env::var(server.variable()) {
            format!("given as {given}")
        } else {
            match Place::known(&folder()?.join(server.name())) {
                Some(place) if server.is_ready(place.port) => {
                    format!("ready at {}", server.url(place.port))
                }
                _ => {
                    away.push(server.name());
                    "does not run".to_owned()
                }
            }
        };
        println!("{:8} {state}", server.name());
    }
    match away.is_empty() {
        true => Ok(()),
        false => bail!(
            "{} to be started with `cargo xtask services up`",
            away.join(", ")
        ),
    }
}
