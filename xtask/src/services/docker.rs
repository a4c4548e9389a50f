//! Servers as containers, by the Compose file beside this one.

use std::process::{Command, Stdio};

use anyhow::Result;

use super::{Place, SERVERS, Server};
use crate::process;

/// Whether there is a daemon and Compose.
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

/// The Compose command, with the port of each server in its environment.
fn compose() -> Result<Command> {
    let mut command = Command::new("docker");
    command
        .args(["compose", "--project-name", "goodpon-services", "--file"])
        .arg(process::root().join("xtask/src/services/compose.yaml"));
    for server in SERVERS {
        // A port that somebody holds is most likely the container's own.
        let place = Place::of(server, |_| true)?;
        command.env(
            format!("{}_PORT", server.name().to_uppercase()),
            place.port.to_string(),
        );
    }
    Ok(command)
}

pub fn up(servers: &[&dyn Server]) -> Result<()> {
    let names = servers.iter().map(|server| server.name());
    match servers.is_empty() {
        true => Ok(()),
        false => process::run(compose()?.args(["up", "--detach", "--wait"]).args(names)),
    }
}

pub fn down() -> Result<()> {
    process::run(compose()?.arg("down"))
}
