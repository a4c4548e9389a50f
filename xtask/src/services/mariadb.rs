//! Runs MariaDB, in the place of MySQL.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::local;
use super::location::Location;
use super::server::Server;

pub struct MariaDb;

/// The user, its password and the database.
const NAME: &str = "goodpon";

/// Writes the configuration, which equals that of MySQL's containers: strings compare byte for byte, every commit is
/// synced.
fn configuration(folder: &str, port: u16, user: &str) -> String {
    format!(
        "[mysqld]
{user}
datadir={folder}/data
tmpdir={folder}/tmp
socket={folder}/socket
pid-file={folder}/mariadbd.pid
bind-address=127.0.0.1
port={port}
skip-name-resolve
character-set-server=utf8mb4
collation-server=utf8mb4_nopad_bin
innodb_flush_log_at_trx_commit=1
innodb_buffer_pool_size=512M
innodb_log_file_size=256M
max_connections=500
"
    )
}

/// Returns the option by which it runs as root, where it must: it refuses without.
fn as_root(prefix: &str) -> String {
    match rustix::process::geteuid().is_root() {
        true => format!("{prefix}user=root"),
        false => String::new(),
    }
}

impl Server for MariaDb {
    fn name(&self) -> &'static str {
        "mariadb"
    }

    fn variable(&self) -> &'static str {
        "GOODPON_DATABASE_URL"
    }

    fn url(&self, port: u16) -> String {
        format!("mysql://{NAME}:{NAME}@127.0.0.1:{port}/{NAME}")
    }

    fn install(&self, _programs: &Path) -> Result<()> {
        let is_there = ["mariadbd", "mariadb-install-db", "mariadb"]
            .iter()
            .all(|name| local::program(name).is_some());
        match is_there {
            true => Ok(()),
            false => local::install_packages(&["mariadb-server"], "MariaDB"),
        }
    }

    fn prepare(&self, location: &Location, _programs: &Path) -> Result<Command> {
        let file = location.folder.join("my.cnf");
        let path = location.folder.to_str();
        let path = path.context("the target folder's path is no UTF-8")?;
        fs::write(&file, configuration(path, location.port, &as_root("")))?;
        // A server deletes the temporary tables that it finds at its start, so each has a folder of its own for them.
        let temporary = location.folder.join("tmp");
        fs::create_dir_all(&temporary)?;
        if !location.data().join("mysql").is_dir() {
            let program = local::program("mariadb-install-db").context("no mariadb-install-db")?;
            let mut install = Command::new(program);
            install
                .args([
                    "--no-defaults",
                    "--skip-test-db",
                    "--auth-root-authentication-method=normal",
                ])
                .arg(format!("--datadir={path}/data"))
                .env("TMPDIR", &temporary);
            let user = as_root("--");
            if !user.is_empty() {
                install.arg(user);
            }
            local::quietly(&mut install)?;
        }
        let mut command = Command::new(local::program("mariadbd").context("no mariadbd")?);
        command.arg(format!("--defaults-file={}", file.display()));
        Ok(command)
    }

    fn data_in_container(&self) -> &'static str {
        "/var/lib/mysql"
    }

    /// Waits for the greeting, which a server sends first on each connection that it takes.
    fn is_ready(&self, port: u16) -> bool {
        let greeting = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.read_exact(&mut [0; 5])
        });
        greeting.is_ok()
    }

    fn set_up(&self, location: &Location) -> Result<()> {
        let sql = format!(
            "CREATE DATABASE IF NOT EXISTS {NAME};
             CREATE USER IF NOT EXISTS '{NAME}'@'%' IDENTIFIED BY '{NAME}';
             GRANT ALL ON *.* TO '{NAME}'@'%'"
        );
        let program = local::program("mariadb").context("no mariadb")?;
        let socket = format!("--socket={}", location.folder.join("socket").display());
        local::quietly(Command::new(program).args(["--no-defaults", "-uroot", &socket, "-e", &sql]))
    }
}
