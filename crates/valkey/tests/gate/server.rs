//! A server of the test's own.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use redis::{AsyncConnectionConfig, FromRedisValue, aio::MultiplexedConnection};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::scene::SOON;

/// A running server. When it is dropped, it is killed and its data deleted.
pub struct Server {
    child: Child,
    folder: TempDir,
    settings: Vec<String>,
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// A fresh server with further settings, such as `"maxmemory 5mb"`.
    pub async fn start(settings: &[&str]) -> Self {
        let program = program().await;
        let folder = tempfile::tempdir().unwrap();
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        loop {
            let port = free_port();
            // Another process may have taken the port meanwhile.
            if let Some(child) = spawn(program, &folder, port, &settings) {
                return Self {
                    child,
                    folder,
                    settings,
                    port,
                };
            }
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills the server and starts it again at the same port, with the data that it saved.
    pub async fn restart(&mut self, more: &[&str]) {
        self.kill();
        let mut settings = self.settings.clone();
        settings.extend(more.iter().map(|s| (*s).to_owned()));
        self.child = spawn(program().await, &self.folder, self.port, &settings)
            .expect("the server does not start again");
    }

    pub fn url(&self) -> String {
        format!("valkey://127.0.0.1:{}", self.port)
    }

    /// Replaces the saved data by another server's, for the next start.
    pub fn take_snapshot_of(&self, other: &Self) {
        let file = |server: &Self| server.folder.path().join("dump.rdb");
        std::fs::copy(file(other), file(self)).unwrap();
    }

    pub async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        let patient = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(SOON))
            .set_response_timeout(Some(SOON));
        let connection = client.get_multiplexed_async_connection_with_config(&patient);
        connection.await.unwrap()
    }

    /// Runs a command given as words.
    pub async fn run<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        command
            .query_async(&mut self.connect().await)
            .await
            .unwrap()
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Starts the program and waits until it says that it takes connections; `None` if it ends before.
fn spawn(program: &PathBuf, folder: &TempDir, port: u16, settings: &[String]) -> Option<Child> {
    let mut command = Command::new(program);
    let always = [
        format!("port {port}"),
        "bind 127.0.0.1".into(),
        "save \"\"".into(),
        "enable-debug-command yes".into(),
        "repl-diskless-sync-delay 0".into(),
    ];
    for setting in always.iter().chain(settings) {
        let (name, value) = setting.split_once(' ').unwrap();
        command
            .arg(format!("--{name}"))
            .arg(value.trim_matches('"'));
    }
    command.arg("--dir").arg(folder.path());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_up =
        |line: &str| line.contains("Ready to accept connections") || line.contains("Loading RDB");
    if lines.any(|line| line.is_ok_and(|line| is_up(&line))) {
        std::thread::spawn(move || lines.for_each(drop));
        return Some(child);
    }
    let _ = child.wait();
    None
}

pub fn shared_url() -> String {
    std::env::var("GOODPON_VALKEY_URL").expect(
        "GOODPON_VALKEY_URL is not set: run cargo xtask services up and set what it prints, or run cargo xtask test",
    )
}

/// The program that runs at `GOODPON_VALKEY_URL`.
async fn program() -> &'static PathBuf {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    PROGRAM
        .get_or_init(async || {
            let client = redis::Client::open(shared_url()).unwrap();
            let mut connection = client
                .get_multiplexed_async_connection()
                .await
                .expect("no server answers at GOODPON_VALKEY_URL: run cargo xtask services up");
            let info: String = redis::cmd("INFO")
                .query_async(&mut connection)
                .await
                .unwrap();
            let reported = info
                .lines()
                .find_map(|line| line.strip_prefix("executable:"))
                .map(PathBuf::from)
                .filter(|path| path.is_file());
            // The shared server may run in a container. Then the program must be in the search path.
            reported.unwrap_or_else(|| "valkey-server".into())
        })
        .await
}
