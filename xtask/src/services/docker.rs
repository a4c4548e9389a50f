//! Runs servers as containers, by the Compose file beside this one.

use std::process::{Command, Stdio};

use anyhow::Result;

use super::location::{Location, Set};
use super::server::{Data, Server};
use crate::process;

/// The services of the Compose file, each named after its server.
const SERVICES: [&str; 3] = ["mariadb", "valkey", "kafka"];

/// Says that there is a daemon and Compose.
pub fn answers() -> bool {
    let works = |arguments: &[&str]| {
        let mut command = Command::new("docker");
        let status = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    works(&["info"]) && works(&["compose", "version"])
}

/// Makes a Compose command, with the ports of each server in its environment.
fn compose(set: &Set) -> Result<Command> {
    let mut command = Command::new("docker");
    command
        .args([
            "compose",
            "--project-name",
            &format!("goodpon-{}", set.title()),
        ])
        .arg("--file")
        .arg(process::root().join("xtask/src/services/compose.yaml"));
    for server in SERVICES {
        // A port that is in use is most likely the container's own.
        let location = Location::of(set, server, |_| true)?;
        let ports = [
            ("PORT", location.port),
            ("BEHIND_PORT", location.behind),
            ("FRONT_PORT", location.front),
        ];
        for (which, port) in ports {
            let name = format!("{}_{which}", server.to_uppercase());
            command.env(name, port.to_string());
        }
    }
    Ok(command)
}

pub fn up(set: &Set, servers: &[&dyn Server]) -> Result<()> {
    let names = servers.iter().map(|server| server.name());
    match servers.is_empty() {
        true => Ok(()),
        false => process::run(compose(set)?.args(["up", "--detach", "--wait"]).args(names)),
    }
}

pub fn down(set: &Set, lose_data: bool) -> Result<()> {
    let mut command = compose(set)?;
    command.arg("down");
    if lose_data {
        command.arg("--volumes");
    }
    process::run(&mut command)
}

pub fn kill(set: &Set, server: &dyn Server) -> Result<()> {
    process::run(compose(set)?.args(["kill", server.name()]))
}

/// Starts a server that was up before, with such data.
pub fn start(set: &Set, server: &dyn Server, data: Data) -> Result<()> {
    let name = server.name();
    if data != Data::Kept {
        process::run(compose(set)?.args(["rm", "--force", "--stop", "--volumes", name]))?;
        process::run(compose(set)?.args(["create", name]))?;
    }
    if data == Data::FromSnapshot {
        let from = format!(
            "{}/.",
            set.folder(server.name())?.join("snapshot").display()
        );
        let to = format!("{name}:{}", server.data_in_container());
        process::run(compose(set)?.args(["cp", "--archive", &from, &to]))?;
    }
    process::run(compose(set)?.args(["up", "--detach", "--wait", name]))
}

/// Copies the data of a server, whether or not it runs.
pub fn snapshot(set: &Set, server: &dyn Server) -> Result<()> {
    let folder = set.folder(server.name())?.join("snapshot");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let from = format!("{}:{}/.", server.name(), server.data_in_container());
    process::run(compose(set)?.args(["cp", "--archive", &from]).arg(folder))
}
