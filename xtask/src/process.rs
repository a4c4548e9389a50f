//! Runs commands, and ends the children that must not outlive xtask.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, Once, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Returns the root folder of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Returns a command of the cargo that runs xtask, at the root of the workspace.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Runs a command to its end, its output on ours; a status other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command to its end and returns its stdout; a status other than 0 is an error.
pub fn output_of(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}: {}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).context("output is not UTF-8")
}

/// Runs `cargo metadata` with further arguments and returns its JSON.
pub fn metadata(arguments: &[&str]) -> Result<Value> {
    let text = output_of(
        cargo()
            .args(["metadata", "--format-version=1"])
            .args(arguments),
    )?;
    serde_json::from_str(&text).context("cargo metadata gave no JSON")
}

fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns the folder into which cargo builds.
pub fn target_folder() -> Result<PathBuf> {
    let metadata = metadata(&["--no-deps"])?;
    let folder = metadata["target_directory"].as_str();
    Ok(PathBuf::from(
        folder.context("cargo metadata names no target directory")?,
    ))
}

/// A child that is killed when dropped, and when xtask is interrupted.
pub struct Guarded(Child);

static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

impl Guarded {
    /// Starts the command under guard.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        // Locked over the start, so that an interrupt cannot come before the child is in the list.
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", shown(command)))?;
        running.push(child.id());
        Ok(Self(child))
    }

    /// Returns the child itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Sends the child a signal; it may have ended already.
    pub fn signal(&self, signal: Signal) {
        send(self.0.id(), signal);
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|id| *id != self.0.id());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn send(id: u32, signal: Signal) {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}

/// Makes an interrupt or a termination kill all guarded children, remove `scratch` and end xtask with status 130.
pub fn clean_up_when_interrupted(scratch: PathBuf) -> Result<()> {
    static ONCE: Once = Once::new();
    let mut outcome = Ok(());
    ONCE.call_once(|| {
        outcome = ctrlc::set_handler(move || {
            let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            for id in running.iter() {
                send(*id, Signal::KILL);
            }
            let _ = std::fs::remove_dir_all(&scratch);
            std::process::exit(130);
        });
    });
    outcome.context("cannot listen for interrupts")
}
