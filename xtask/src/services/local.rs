//! Runs servers as plain processes, which go on when xtask ends.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::location::{self, Location, Set};
use super::server::{Data, Server};

/// The longest time of a start, also on a slow machine.
const START_LIMIT: Duration = Duration::from_secs(90);
/// The time after which a server that has not stopped is killed.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Starts the servers that do not run, all at once, and waits for each.
pub fn up(set: &Set, servers: &[&dyn Server]) -> Result<()> {
    let mut locations = Vec::new();
    for server in servers {
        let location = Location::of(set, server.name(), |folder| running(folder).is_some())?;
        let mut started = None;
        if running(&location.folder).is_none() {
            let programs = location::programs(server.name())?;
            server.install(&programs)?;
            started = Some(start(*server, &location, &programs)?);
        }
        locations.push((server, location, started));
    }
    for (server, location, started) in locations {
        wait(*server, &location, started)?;
        server.set_up(&location)?;
        eprintln!(
            "{} is ready at {}",
            server.name(),
            server.url(location.port)
        );
    }
    Ok(())
}

/// Starts a server that was up before, with such data.
pub fn start_with(set: &Set, server: &dyn Server, data: Data) -> Result<()> {
    let location = known(set, server)?;
    if running(&location.folder).is_some() {
        bail!("{} runs", server.name());
    }
    if data != Data::Kept && location.data().exists() {
        fs::remove_dir_all(location.data())?;
    }
    if data == Data::FromSnapshot {
        copy(&location.folder.join("snapshot"), &location.data())?;
    }
    let started = start(server, &location, &location::programs(server.name())?)?;
    wait(server, &location, Some(started))?;
    server.set_up(&location)
}

/// Kills a server, and waits until it is gone.
pub fn kill(set: &Set, server: &dyn Server) -> Result<()> {
    let location = known(set, server)?;
    while let Some(pid) = running(&location.folder) {
        // It may have ended between the two.
        let _ = kill_process(pid, Signal::KILL);
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Copies the data of a server, whether or not it runs.
pub fn snapshot(set: &Set, server: &dyn Server) -> Result<()> {
    let location = known(set, server)?;
    let snapshot = location.folder.join("snapshot");
    if snapshot.exists() {
        fs::remove_dir_all(&snapshot)?;
    }
    copy(&location.data(), &snapshot)
}

/// Deletes the data of a server that does not run.
pub fn remove_data(set: &Set, server: &dyn Server) -> Result<()> {
    let Some(location) = Location::known(set, server.name())? else {
        return Ok(());
    };
    for folder in [location.data(), location.folder.join("snapshot")] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

fn known(set: &Set, server: &dyn Server) -> Result<Location> {
    let location = Location::known(set, server.name())?;
    location.with_context(|| format!("{} was never up", server.name()))
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(drop)?,
        }
    }
    Ok(())
}

fn start(server: &dyn Server, location: &Location, programs: &Path) -> Result<Child> {
    let mut command = server.prepare(location, programs)?;
    let mut log = OpenOptions::new();
    let log = log
        .create(true)
        .append(true)
        .open(location.folder.join("log"))?;
    // In a group of its own, so that an interrupt in the terminal does not reach it.
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} cannot be started", server.name()))?;
    fs::write(location.folder.join("pid"), child.id().to_string())?;
    Ok(child)
}

fn wait(server: &dyn Server, location: &Location, mut started: Option<Child>) -> Result<()> {
    let began = Instant::now();
    while !server.is_ready(location.port) {
        // A process that was started just now may have no command line yet.
        let ended = match &mut started {
            Some(child) => child.try_wait()?.is_some(),
            None => running(&location.folder).is_none(),
        };
        if ended || began.elapsed() > START_LIMIT {
            let log = location.folder.join("log");
            let text = fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(10)..].join("\n");
            let what = if ended { "ended" } else { "is not ready" };
            bail!(
                "{} {what}; {} says at last:\n{last}",
                server.name(),
                log.display()
            );
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Stops a server, if it runs.
pub fn stop(set: &Set, server: &dyn Server) -> Result<()> {
    let (folder, name) = (set.folder(server.name())?, server.name());
    let Some(pid) = running(&folder) else {
        return Ok(());
    };
    let began = Instant::now();
    kill_process(pid, Signal::TERM).with_context(|| format!("{name} cannot be stopped"))?;
    while running(&folder).is_some() {
        if began.elapsed() > STOP_LIMIT {
            eprintln!("{name} does not stop and is killed");
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    fs::remove_file(folder.join("pid"))?;
    eprintln!("{name} is stopped");
    Ok(())
}

/// Finds the process of the server in a folder. Another process that got its number since does not have the folder in
/// its command line.
fn running(folder: &Path) -> Option<Pid> {
    let pid = fs::read_to_string(folder.join("pid")).ok()?;
    let pid = Pid::from_raw(pid.trim().parse().ok()?)?;
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let is_ours = String::from_utf8_lossy(&line).contains(&*folder.to_string_lossy());
    (is_ours && test_kill_process(pid).is_ok()).then_some(pid)
}

/// Finds a program, if it is installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(system);
    folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Installs Debian packages, quietly. `wanted` is the name of the program that they bring.
pub fn install_packages(packages: &[&str], wanted: &str) -> Result<()> {
    eprintln!("installing {} ...", packages.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments);
        quietly(&mut command)
    };
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    // The list of packages may be fresh enough.
    apt(&install)
        .or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
        .with_context(|| {
            format!(
                "{wanted} is not installed, and cannot be: install {} yourself, or give the URL of a server that runs (CONTRIBUTING.md)",
                packages.join(" ")
            )
        })
}

/// Runs a command to its end and shows its output only if it fails.
pub fn quietly(command: &mut Command) -> Result<()> {
    crate::process::output_of(command.stdin(Stdio::null())).map(drop)
}
