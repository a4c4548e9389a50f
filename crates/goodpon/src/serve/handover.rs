//! The exchange of the program in place (SIGHUP): the file by which the process was started, a newer release perhaps, takes
//! over process id, settings and listening sockets. Connections that arrive meanwhile wait in the sockets.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};

use super::sockets::Kept;
use crate::failed::Failed;

/// The flag with which a program says whether it could serve, and ends.
const CHECK: &str = "--check";

/// The longest time for that.
const LONGEST_CHECK: Duration = Duration::from_secs(30);

/// The first of the handed sockets' numbers, by the protocol of systemd.
const FIRST_SOCKET: i32 = 3;

const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Asks the program whether it could serve in place of this one: with the same settings, on the same database.
///
/// # Errors
/// It could not, with its reason; or it does not say so in time.
pub(super) async fn check() -> Result<(), String> {
    let (program, arguments) = command_line();
    let mut command = tokio::process::Command::new(&program);
    command
        .args(arguments)
        .arg(CHECK)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    let shown = program.display();
    let output = match tokio::time::timeout(LONGEST_CHECK, command.output()).await {
        Ok(output) => output.map_err(|error| format!("{shown} cannot be run: {error}"))?,
        Err(_) => {
            return Err(format!(
                "{shown} {CHECK} does not end within {LONGEST_CHECK:?}"
            ));
        }
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim_end().lines().next_back().unwrap_or_default();
    Err(format!(
        "{shown} {CHECK} ends with {}: {last}",
        output.status
    ))
}

/// Executes the program in this process, with the sockets. Returns only if that fails.
pub(super) fn execute(kept: Kept) -> Failed {
    let (program, arguments) = command_line();
    let sockets = kept.into_sockets();
    let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDS", sockets.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"));
    let mappings = sockets.into_iter().zip(FIRST_SOCKET..);
    let mappings = mappings.map(|((_, socket), child_fd)| FdMapping {
        parent_fd: socket.into(),
        child_fd,
    });
    let error = match command.fd_mappings(mappings.collect()) {
        Ok(command) => command.exec(),
        Err(error) => return Failed::new(error),
    };
    Failed::new(format!("{} cannot be executed: {error}", program.display()))
}

/// The program as it was started, so that a newer file under that name is found, and its arguments.
fn command_line() -> (OsString, impl Iterator<Item = OsString>) {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_else(|| "goodpon".into());
    (program, words)
}
