//! `cargo xtask services`: real MariaDB or MySQL, Valkey and Kafka for tests and development.
//!
//! Where a Docker daemon answers, they are containers; else plain processes, whose programs are installed where they
//! are missing. They run on ports of their own until `down`, and keep their data in the folder `services` of the
//! target folder; to begin anew, stop them and delete it. A URL that the environment gives is used as it is. With
//! `--set NAME` they are others, of a folder `services-NAME`, which tests may kill and whose data they may delete.

mod docker;
mod kafka;
mod local;
mod location;
mod mariadb;
mod server;
mod valkey;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use location::{Location, Set};
use server::{Data, Server};

/// An order for the servers.
#[derive(Args)]
pub struct Options {
    /// Servers of that name, apart from the usual ones: for tests that break them.
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Starts the servers that do not run yet, and waits until all are ready.
    Up {
        /// Prints the settings of goodpon for them, as `export` lines.
        #[arg(long)]
        env: bool,
    },
    /// Stops them. Their data stays.
    Down {
        /// Deletes the data of a named set.
        #[arg(long)]
        lose_data: bool,
    },
    /// Prints which of them run; fails unless all do.
    Status {
        /// Prints the settings of goodpon for them instead, as `export` lines.
        #[arg(long, conflicts_with = "json")]
        env: bool,
        /// Prints their addresses instead, and that of a proxy before Kafka, as a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Kills a server of a named set (SIGKILL).
    Kill {
        /// mariadb, valkey or kafka.
        server: String,
    },
    /// Starts a server of a named set, and waits until it is ready.
    Start {
        /// mariadb, valkey or kafka.
        server: String,
        /// Starts it without data.
        #[arg(long)]
        lose_data: bool,
        /// Starts it with the data of the last `snapshot`.
        #[arg(long, conflicts_with = "lose_data")]
        from_snapshot: bool,
    },
    /// Copies the data of a server of a named set, as it is at this moment.
    Snapshot {
        /// mariadb, valkey or kafka.
        server: String,
    },
}

/// Further settings that goodpon needs on these servers, for they have one broker only.
pub const FOR_ONE_BROKER: [(&str, &str); 2] = [
    ("GOODPON_KAFKA_REPLICATION", "1"),
    ("GOODPON_KAFKA_ACCEPT_RISKS", "true"),
];

const SERVERS: [&dyn Server; 3] = [&mariadb::MariaDb, &valkey::Valkey, &kafka::Kafka];

/// Returns the servers that the environment does not give.
fn ours(set: &Set) -> Vec<&'static dyn Server> {
    let all = SERVERS.into_iter();
    all.filter(|server| set.given(server.variable()).is_none())
        .collect()
}

/// Carries out the order.
pub fn run(options: &Options) -> Result<()> {
    let set = Set::named(options.set.as_deref())?;
    match &options.action {
        Action::Up { env } => {
            up(&set)?;
            match env {
                true => print_settings(&set),
                false => Ok(()),
            }
        }
        Action::Down { lose_data } => down(&set, *lose_data),
        Action::Status { env: true, .. } => print_settings(&set),
        Action::Status { json: true, .. } => print_locations(&set),
        Action::Status { .. } => status(&set),
        Action::Kill { server } => {
            let server = breakable(&set, server)?;
            match docker::answers() {
                true => docker::kill(&set, server),
                false => local::kill(&set, server),
            }
        }
        Action::Start {
            server,
            lose_data,
            from_snapshot,
        } => {
            let server = breakable(&set, server)?;
            let data = match (lose_data, from_snapshot) {
                (true, _) => Data::Lost,
                (_, true) => Data::FromSnapshot,
                _ => Data::Kept,
            };
            match docker::answers() {
                true => docker::start(&set, server, data),
                false => local::start_with(&set, server, data),
            }
        }
        Action::Snapshot { server } => {
            let server = breakable(&set, server)?;
            match docker::answers() {
                true => docker::snapshot(&set, server),
                false => local::snapshot(&set, server),
            }
        }
    }
}

/// Finds a server that may be broken, by its name.
fn breakable(set: &Set, name: &str) -> Result<&'static dyn Server> {
    if set.is_shared() {
        bail!("only servers of a named set may be broken: give --set NAME");
    }
    let found = SERVERS.into_iter().find(|server| server.name() == name);
    found.with_context(|| format!("{name} is none of mariadb, valkey and kafka"))
}

/// Starts the servers that do not run yet, waits until all are ready, and returns the settings of goodpon for them.
pub fn up_with_settings() -> Result<Vec<(&'static str, String)>> {
    let set = Set::default();
    up(&set)?;
    let settings = SERVERS.into_iter().map(|server| {
        let value = setting(&set, server)?;
        let value = value.with_context(|| format!("{} has no port", server.name()))?;
        Ok((server.variable(), value))
    });
    settings.collect()
}

/// Starts the servers that do not run yet, and waits until all are ready.
fn up(set: &Set) -> Result<()> {
    let servers = ours(set);
    match docker::answers() {
        true => docker::up(set, &servers),
        false => local::up(set, &servers),
    }
}

fn down(set: &Set, lose_data: bool) -> Result<()> {
    if lose_data && set.is_shared() {
        bail!("only the data of a named set is deleted: give --set NAME");
    }
    if docker::answers() {
        docker::down(set, lose_data)?;
    }
    for server in SERVERS {
        local::stop(set, server)?;
        if lose_data {
            local::remove_data(set, server)?;
        }
    }
    Ok(())
}

/// Returns the value of a server's setting, if the environment gives it or the server has ports already.
fn setting(set: &Set, server: &dyn Server) -> Result<Option<String>> {
    if let Some(given) = set.given(server.variable()) {
        return Ok(Some(given));
    }
    let location = Location::known(set, server.name())?;
    Ok(location.map(|location| server.url(location.port)))
}

fn print_settings(set: &Set) -> Result<()> {
    for server in SERVERS {
        let value = setting(set, server)?;
        let value = value.with_context(|| {
            format!(
                "{} has no port yet: run `cargo xtask services up`",
                server.name()
            )
        })?;
        print_export(server.variable(), &value);
    }
    for (variable, value) in FOR_ONE_BROKER {
        // A setting that the environment gives already stays as it is.
        if std::env::var_os(variable).is_none() {
            print_export(variable, value);
        }
    }
    Ok(())
}

fn print_export(variable: &str, value: &str) {
    println!("export {variable}='{}'", value.replace('\'', r"'\''"));
}

fn print_locations(set: &Set) -> Result<()> {
    let mut locations = serde_json::Map::new();
    for server in SERVERS {
        let location = Location::known(set, server.name())?.context("a server without ports")?;
        let value = json!({
            "url": server.url(location.port),
            "port": location.port,
            "behind": location.behind,
            "front": location.front,
        });
        locations.insert(server.name().into(), value);
    }
    println!("{}", serde_json::Value::Object(locations));
    Ok(())
}

fn status(set: &Set) -> Result<()> {
    let mut away = Vec::new();
    for server in SERVERS {
        let state = if let Some(given) = set.given(server.variable()) {
            format!("given as {given}")
        } else {
            match Location::known(set, server.name())? {
                Some(location) if server.is_ready(location.port) => {
                    format!("ready at {}", server.url(location.port))
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
