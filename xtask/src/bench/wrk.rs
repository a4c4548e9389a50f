//! The load generator: `wrk` with the Lua scripts of this folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::Deserialize;

use crate::process::{self, Guarded};

/// Threads of the load. With two the floor is higher than with one, also on the two cores that the server shares.
pub const THREADS: u32 = 2;

const COMMON: &str = include_str!("scripts/common.lua");

/// The requests of a load, each kind by its script.
#[derive(Clone, Copy)]
pub enum Script {
    Issue,
    Paced,
    Template,
    List,
    Collect,
    Redeem,
}

impl Script {
    fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Issue => ("issue.lua", include_str!("scripts/issue.lua")),
            Self::Paced => (
                "paced.lua",
                concat!(
                    include_str!("scripts/issue.lua"),
                    include_str!("scripts/paced.lua")
                ),
            ),
            Self::Template => ("template.lua", include_str!("scripts/template.lua")),
            Self::List => ("list.lua", include_str!("scripts/list.lua")),
            Self::Collect => ("collect.lua", include_str!("scripts/collect.lua")),
            Self::Redeem => ("redeem.lua", include_str!("scripts/redeem.lua")),
        }
    }
}

/// The figures of one run. `refused` are answers of status 400 or more, `broken` requests without an answer.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Figures {
    pub requests: u64,
    pub duration_us: u64,
    pub refused: u64,
    pub broken: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    /// The CPU time of the measured servers meanwhile, in microseconds, where it was read.
    #[serde(default)]
    pub cpu_us: Option<u64>,
}

impl Figures {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 * 1e6 / self.duration_us.max(1) as f64
    }

    /// Reads the line of figures in a text.
    pub fn read_from(text: &str) -> Result<Self> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("FIGURES "))
            .with_context(|| format!("no line of figures in: {text}"))?;
        serde_json::from_str(line).context("figures of a run")
    }
}

/// The server that gets the load, and the merchant who sends it.
#[derive(Clone)]
pub struct Target {
    /// `ip:port` of the partner API.
    pub address: String,
    pub client_id: String,
    pub client_secret: String,
    /// The address of a second process, which gets the load of every other thread.
    pub second: Option<String>,
}

/// The load of one run.
pub struct Load<'a> {
    pub target: &'a Target,
    pub script: Script,
    pub arguments: Vec<String>,
    pub connections: u32,
    pub threads: u32,
    pub seconds: u64,
}

/// wrk, with its scripts laid out in the scratch folder.
pub struct Wrk {
    folder: PathBuf,
}

impl Wrk {
    /// Finds wrk, or installs it where that is one command, and writes the scripts.
    pub fn new(scratch: &Path) -> Result<Self> {
        if !installed() {
            install()?;
        }
        let folder = scratch.join("scripts");
        fs::create_dir_all(&folder)?;
        let scripts = [
            Script::Issue,
            Script::Paced,
            Script::Template,
            Script::List,
            Script::Collect,
            Script::Redeem,
        ];
        for (name, text) in scripts.map(Script::parts) {
            fs::write(folder.join(name), format!("{COMMON}\n{text}"))?;
        }
        Ok(Self { folder })
    }

    /// Runs the load for its time.
    pub fn run(&self, load: &Load<'_>) -> Result<Figures> {
        self.run_until(load, Duration::MAX, || Ok(false))
    }

    /// Runs the load until `enough` says so, asked every `pause`, or for its time.
    pub fn run_until(
        &self,
        load: &Load<'_>,
        pause: Duration,
        mut enough: impl FnMut() -> Result<bool>,
    ) -> Result<Figures> {
        let mut wrk = Guarded::spawn(&mut self.command(load))?;
        let deadline = Instant::now() + Duration::from_secs(load.seconds + 30);
        let mut ask_at = Instant::now().checked_add(pause);
        let mut is_enough = false;
        while wrk.child().try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("wrk does not end");
            }
            if !is_enough && ask_at.is_some_and(|at| Instant::now() >= at) {
                ask_at = Instant::now().checked_add(pause);
                if enough()? {
                    wrk.signal(Signal::INT);
                    is_enough = true;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut text = String::new();
        if let Some(mut stdout) = wrk.child().stdout.take() {
            std::io::Read::read_to_string(&mut stdout, &mut text)?;
        }
        Figures::read_from(&text)
    }

    fn command(&self, load: &Load<'_>) -> Command {
        let threads = load.threads.min(load.connections);
        let mut command = Command::new("wrk");
        command
            .arg(format!("-t{threads}"))
            .arg(format!("-c{}", load.connections))
            .arg(format!("-d{}s", load.seconds))
            .args(["--timeout", "10s", "-s"])
            .arg(self.folder.join(load.script.parts().0))
            .arg(format!("http://{}/", load.target.address))
            .args(["--", &load.target.client_id, &load.target.client_secret])
            .arg(threads.to_string())
            .args(&load.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(second) = &load.target.second {
            command.env("BENCH_SECOND_ADDRESS", second);
        }
        command
    }
}

fn installed() -> bool {
    // wrk has no option that prints its version with status 0.
    Command::new("wrk")
        .arg("-v")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

fn install() -> Result<()> {
    let debian = Path::new("/usr/bin/apt-get").exists();
    if !debian || !rustix::process::getuid().is_root() {
        bail!(
            "the load generator wrk is missing: install it (Debian, Ubuntu: apt-get install wrk; macOS: brew install wrk)"
        );
    }
    process::run(Command::new("apt-get").args(["update", "-qq"]))?;
    process::run(Command::new("apt-get").args(["install", "-y", "-qq", "wrk"]))
}
