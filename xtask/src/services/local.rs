//! Servers as plain processes, which go on when xtask ends.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{Place, Server, folder};

/// A start takes no longer, also on a slow machine.
const START_LIMIT: Duration = Duration::from_secs(90);
/// Whoever has not stopped by then is killed.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Starts those that do not run, all at once, and waits for each.
pub fn up(servers: &[&dyn Server]) -> Result<()> {
    let mut places = Vec::new();
    for server in servers {
        let place = Place::of(*server, |folder| running(folder).is_some())?;
        let mut started = None;
        if running(&place.folder).is_none() {
            server.install(&place.folder)?;
            started = Some(start(*server, &place)?);
        }
        places.push((server, place, started));
    }
    for (server, place, started) in places {
        wait(*server, &place, started)?;
        server.set_up(&place.folder, place.port)?;
        eprintln!("{} is ready at {}", server.name(), server.url(place.port));
    }
    Ok(())
}

fn start(server: &dyn Server, place: &Place) -> Result<Child> {
    let mut command = server.prepare(&place.folder, place.port, place.inner)?;
    let log = File::create(place.folder.join("log"))?;
    // Of its own group: an interrupt in the terminal is not meant for it.
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} cannot be started", server.name()))?;
    fs::write(place.folder.join("pid"), child.id().to_string())?;
    Ok(child)
}

fn wait(server: &dyn Server, place: &Place, mut started: Option<Child>) -> Result<()> {
    let began = Instant::now();
    while !server.is_ready(place.port) {
        // A process that was started just now may have no command line yet.
        let ended = match &mut started {
            Some(child) => child.try_wait()?.is_some(),
            None => running(&place.folder).is_none(),
        };
        if ended || began.elapsed() > START_LIMIT {
            let log = place.folder.join("log");
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

/// Stops the server of that name, if it runs.
pub fn stop(name: &str) -> Result<()> {
    let folder = folder()?.join(name);
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

/// The process of the server in a folder. One that has got its number since then does not have the folder in its
/// command line.
fn running(folder: &Path) -> Option<Pid> {
    let pid = fs::read_to_string(folder.join("pid")).ok()?;
    let pid = Pid::from_raw(pid.trim().parse().ok()?)?;
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let is_ours = String::from_utf8_lossy(&line).contains(&*folder.to_string_lossy());
    (is_ours && test_kill_process(pid).is_ok()).then_some(pid)
}

/// Where a program is, if it is installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(system);
    folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Installs Debian packages, quietly; `wanted` is what they are for.
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

/// Runs a command to its end and tells what it said only if it fails.
pub fn quietly(command: &mut Command) -> Result<()> {
    crate::process::output_of(command.stdin(Stdio::null())).map(drop)
}
