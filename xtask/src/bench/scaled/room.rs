//! A database and a topic of a measured set's own, on the servers of `cargo xtask services`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::bench::server::Server;
use crate::{process, services};

/// Partitions of the topic, which is also the number of issuers that could write at a time.
const PARTITIONS: &str = "4";

/// The secret of tokens, which a dashboard in a process of its own must be given.
const JWT_SECRET: &str = "measured, and for nothing else: 32 bytes";

/// The servers, and the programs that work on them.
pub struct Servers {
    pub program: OsString,
    /// The program `bench_room` of goodpon.
    pub helper: PathBuf,
    /// The settings of goodpon that name the servers.
    pub settings: Vec<(&'static str, String)>,
}

impl Servers {
    /// Runs the helper to its end.
    fn help(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.helper);
        process::output_of(command.args(arguments).envs(self.settings.iter().cloned()))
    }
}

/// The database and the topic of a set. They are deleted when dropped, before which the set's processes should end.
pub struct Room<'a> {
    servers: &'a Servers,
    name: String,
    /// Holds logs and other files.
    folder: PathBuf,
    processes: u32,
}

/// The coupons that were written while the helper waited.
#[derive(Clone, Copy, Deserialize)]
pub struct Written {
    /// Coupons that there are.
    pub rows: u64,
    /// Coupons that came from the first that was seen to come on.
    pub came: u64,
    /// The time in which they came, in microseconds.
    pub came_us: u64,
}

impl<'a> Room<'a> {
    /// Makes a database and a topic, migrated. Deletes those of the same number that an earlier run left.
    pub fn make(servers: &'a Servers, number: u32, scratch: &Path) -> Result<Self> {
        let name = format!("goodpon_bench_{number}");
        servers.help(&["make", &name])?;
        let folder = scratch.join(&name);
        fs::create_dir_all(&folder)?;
        let room = Self {
            servers,
            name,
            folder,
            processes: 0,
        };
        process::output_of(room.goodpon("migrate").stdin(Stdio::null()))?;
        Ok(room)
    }

    /// Makes a command of goodpon with the settings for this database and topic.
    pub fn goodpon(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.servers.program);
        command.arg(subcommand);
        for (variable, value) in &self.servers.settings {
            match *variable {
                "GOODPON_DATABASE_URL" => {
                    let base = value.rsplit_once('/').map_or(&**value, |(base, _)| base);
                    command.env(variable, format!("{base}/{}", self.name))
                }
                _ => command.env(variable, value),
            };
        }
        command
            .env("GOODPON_KAFKA_TOPIC", &self.name)
            .env("GOODPON_KAFKA_PARTITIONS", PARTITIONS)
            .envs(services::FOR_ONE_BROKER)
            .env("GOODPON_JWT_SECRET", JWT_SECRET)
            .env("GOODPON_DATA_DIR", &self.folder);
        command
    }

    /// Starts a part of the set: `dashboard`, `partner` or `issuer`.
    pub fn start(&mut self, part: &str) -> Result<Server> {
        let mut command = self.goodpon(part);
        for listener in ["dashboard", "partner", "admin"] {
            command.args([format!("--{listener}-addr"), "127.0.0.1:0".to_owned()]);
        }
        for limit in [
            "partner-per-sec",
            "sign-up-per-min",
            "login-per-min",
            "verify-per-min",
        ] {
            command.args([format!("--rate-{limit}"), "0".to_owned()]);
        }
        self.processes += 1;
        let log = format!("{part}-{}.log", self.processes);
        Server::start(&mut command, &self.folder.join(log))
    }

    /// Waits until `count` coupons are written, at which the helper looks every 20 ms.
    pub fn written(&self, count: u64) -> Result<Written> {
        let output = self
            .servers
            .help(&["rows", &self.name, &count.to_string()])?;
        let line = output
            .lines()
            .find_map(|line| line.strip_prefix("WRITTEN "));
        serde_json::from_str(line.context("no line of what was written")?)
            .context("what was written")
    }

    /// Reads the coupons of a template, as lines `user coupon`.
    pub fn coupons(&self, template: i64) -> Result<Vec<String>> {
        let output = self
            .servers
            .help(&["coupons", &self.name, &template.to_string()])?;
        Ok(output.lines().map(str::to_owned).collect())
    }

    /// Returns the folder for files of the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.servers.help(&["clear", &self.name]) {
            eprintln!("{} is left on the servers: {error:#}", self.name);
        }
        // The whole scratch folder is deleted at the end in any case.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
