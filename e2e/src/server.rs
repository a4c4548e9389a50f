//! The real binary as a child process: starts, kills and restarts it, and runs its command line.

mod options;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::backend::{Backend, Rooms};
use crate::program::{clean, is_root, run};

pub use options::Options;

/// The time after which a start counts as failed.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The time after which an ordered stop counts as failed.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// One of the two published APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// The API for merchants, default port 8080.
    Dashboard,
    /// The API for shops' servers, default port 8081.
    Partner,
}

#[derive(Clone, Copy)]
struct Addresses {
    dashboard: SocketAddr,
    partner: SocketAddr,
    admin: SocketAddr,
}

/// One running (or killed) `goodpon serve` and its data folder. Dropping it ends the process.
pub struct Server {
    options: Options,
    data_dir: PathBuf,
    rooms: Option<Arc<Rooms>>,
    child: Mutex<Option<Child>>,
    addresses: Mutex<Addresses>,
    log: Arc<Mutex<Vec<String>>>,
    /// Ends with the stderr of the process.
    log_reader: Mutex<Option<JoinHandle<()>>>,
    /// Words by which lines of WARN and ERROR are expected.
    expected: Mutex<Vec<String>>,
    stdout: Arc<Mutex<String>>,
    _temp: Option<TempDir>,
}

impl Server {
    /// Starts a server on ports of the system's choice and waits until it is ready.
    ///
    /// # Panics
    /// It does not become ready; the message has its stderr.
    #[must_use]
    pub fn start(options: Options) -> Self {
        Self::try_start(options).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Starts as [`Server::start`], but a server that ends before it is ready is an error with its stderr.
    ///
    /// # Errors
    /// The stderr of the process that did not become ready.
    pub fn try_start(options: Options) -> Result<Self, String> {
        let (data_dir, temp) = match &options.data_dir {
            Some(path) => (path.clone(), None),
            None => {
                let temp = tempfile::Builder::new()
                    .prefix("goodpon-e2e-")
                    .tempdir()
                    .expect("a temporary folder");
                (temp.path().join("data"), Some(temp))
            }
        };
        let log = Arc::new(Mutex::new(Vec::new()));
        let stdout = Arc::new(Mutex::new(String::new()));
        // A folder of the test's own choice holds an embedded database.
        let is_embedded = options.embedded || options.data_dir.is_some();
        let rooms = match (&options.rooms, Backend::of_this_run()) {
            (Some(rooms), _) => Some(Arc::clone(rooms)),
            (None, Backend::Scaled) if !is_embedded => Some(Arc::new(Rooms::make())),
            _ => None,
        };
        let mut expected = options.expected.clone();
        if rooms.is_some() {
            // Logged for the one broker that tests have.
            expected.push("acknowledged events may be lost: a partition has 1 replica".into());
        }
        let launched = launch(&options, &data_dir, rooms.as_deref(), &log, &stdout)?;
        let (child, addresses, log_reader) = launched;
        Ok(Self {
            expected: Mutex::new(expected),
            log_reader: Mutex::new(Some(log_reader)),
            options,
            data_dir,
            rooms,
            child: Mutex::new(Some(child)),
            addresses: Mutex::new(addresses),
            log,
            stdout,
            _temp: temp,
        })
    }

    /// Returns `http://host:port` of one of the two APIs.
    #[must_use]
    pub fn base(&self, api: Api) -> String {
        format!("http://{}", self.addr(api))
    }

    /// Returns the address of one of the two APIs.
    #[must_use]
    pub fn addr(&self, api: Api) -> SocketAddr {
        let addresses = *self.addresses.lock().unwrap();
        match api {
            Api::Dashboard => addresses.dashboard,
            Api::Partner => addresses.partner,
        }
    }

    /// Returns the address of the admin port.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.addresses.lock().unwrap().admin
    }

    /// Returns the data folder.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Returns its database and topic, if it is scaled out.
    #[must_use]
    pub fn rooms(&self) -> Option<&Rooms> {
        self.rooms.as_deref()
    }

    /// Returns the process id of the running child.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child
            .lock()
            .unwrap()
            .as_ref()
            .expect("the server runs")
            .id()
    }

    /// Returns all lines of stderr so far, over all starts.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Announces lines of the levels WARN and ERROR that hold these words, from now on and before.
    pub fn expects(&self, words: &str) {
        self.expected.lock().unwrap().push(words.to_owned());
    }

    /// Asserts that the log has no line of WARN or ERROR that the test did not announce.
    ///
    /// # Panics
    /// There is one.
    pub fn assert_log_is_calm(&self) {
        let expected = self.expected.lock().unwrap().clone();
        let log = self.log();
        let found: Vec<&String> = log
            .iter()
            .filter(|line| is_alarming(line))
            .filter(|line| !expected.iter().any(|words| line.contains(words)))
            .collect();
        assert!(
            found.is_empty(),
            "the server's log has what the test did not announce (Options::expect_log): {found:#?}"
        );
    }

    /// Returns all of stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// Kills the process by SIGKILL and waits for its end.
    pub fn kill9(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends SIGTERM and returns at once.
    pub fn signal_term(&self) {
        self.signal("TERM");
    }

    /// Sends the signal of that name and returns at once.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()
            .expect("the kill program");
        assert!(status.success(), "SIG{name} could not be sent");
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    /// It does not end within a minute.
    #[must_use]
    pub fn wait(&self) -> ExitStatus {
        let mut child = self.child.lock().unwrap().take().expect("the server runs");
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = child.try_wait().expect("the state of the child") {
                self.read_log_to_its_end();
                return status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!(
                    "the server did not stop; its last lines:\n{}",
                    self.last_lines()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Reads the last lines of an ended process.
    fn read_log_to_its_end(&self) {
        if let Some(reader) = self.log_reader.lock().unwrap().take() {
            let _ = reader.join();
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&self) -> ExitStatus {
        self.signal_term();
        self.wait()
    }

    /// Starts the server anew on the same data folder (killing it first if it still runs); the ports change.
    ///
    /// # Panics
    /// It does not become ready.
    pub fn restart(&self) {
        self.kill9();
        self.start_again();
    }

    /// Starts an ended server anew on the same data folder; the ports change unless it has held sockets.
    ///
    /// # Panics
    /// It does not become ready.
    pub fn start_again(&self) {
        let rooms = self.rooms.as_deref();
        let launched = launch(
            &self.options,
            &self.data_dir,
            rooms,
            &self.log,
            &self.stdout,
        );
        let (child, addresses, log_reader) = launched.unwrap_or_else(|why| panic!("{why}"));
        *self.log_reader.lock().unwrap() = Some(log_reader);
        *self.child.lock().unwrap() = Some(child);
        *self.addresses.lock().unwrap() = addresses;
    }

    /// Runs a subcommand on this data folder: `run_cli(&["verify"])` is `goodpon verify --data-dir …`.
    #[must_use]
    pub fn run_cli(&self, args: &[&str]) -> Output {
        let (command, rest) = args.split_first().expect("a subcommand");
        let dir = self.data_dir.to_str().expect("a UTF-8 path");
        let mut all = vec![*command, "--data-dir", dir];
        all.extend(rest);
        if !self.options.own_mounts {
            let env = self.rooms.as_deref().map_or(&[][..], Rooms::env);
            let env: Vec<_> = env
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            return run(&self.options.binary(), &all, &env);
        }
        let mut inside = clean(Command::new("nsenter"));
        inside.args(["-t", &self.pid().to_string(), "-m"]);
        if !is_root() {
            inside.args(["-U", "--preserve-credentials"]);
        }
        inside
            .arg(self.options.binary())
            .args(&all)
            .stdin(Stdio::null())
            .output()
            .expect("the nsenter program")
    }

    /// Changes the database past the server.
    ///
    /// # Panics
    /// The statement fails.
    pub fn damage(&self, sql: &str) {
        match &self.rooms {
            Some(rooms) => rooms.execute(sql),
            None => {
                let file = self.data_dir.join("goodpon.db");
                let connection = rusqlite::Connection::open(file).expect("the database");
                connection.execute_batch(sql).expect("a statement");
            }
        }
    }

    /// Reads the newest mails to an address by `goodpon mailbox --json`.
    #[must_use]
    pub fn mailbox(&self, to: &str) -> Vec<Value> {
        let output = self.run_cli(&["mailbox", "--to", to, "--json"]);
        assert!(
            output.status.success(),
            "mailbox failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("mailbox prints a JSON array")
    }

    /// Finds the verification token in the newest mail to an address.
    #[must_use]
    pub fn verification_token(&self, to: &str) -> String {
        let mails = self.mailbox(to);
        let mail = mails.first().unwrap_or_else(|| panic!("no mail to {to}"));
        token_in(mail["text"].as_str().expect("a text part"))
    }

    /// Returns the last lines of stderr, for failure messages.
    #[must_use]
    pub fn last_lines(&self) -> String {
        let log = self.log.lock().unwrap();
        log[log.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
        self.read_log_to_its_end();
        match std::thread::panicking() {
            true => eprintln!("last lines of the server's stderr:\n{}", self.last_lines()),
            false => self.assert_log_is_calm(),
        }
    }
}

/// Finds the 32 hex digits after `/verify?token=` in a text.
///
/// # Panics
/// The text has no such link.
#[must_use]
pub fn token_in(text: &str) -> String {
    let (_, after) = text
        .split_once("/verify?token=")
        .unwrap_or_else(|| panic!("no verification link in: {text}"));
    let token: String = after.chars().take_while(char::is_ascii_hexdigit).collect();
    assert_eq!(
        token.len(),
        32,
        "a verification token has 32 hex digits: {token}"
    );
    token
}

/// Returns the arguments that switch off every rate limit which the program knows and the test does not set.
fn no_rate_limits(options: &Options) -> Vec<String> {
    let kinds = [
        "sign-up",
        "login",
        "verify",
        "resend",
        "dashboard",
        "auth-failures",
    ];
    let mut flags: Vec<String> = kinds.map(|kind| format!("--rate-{kind}-per-min")).into();
    flags.push("--rate-partner-per-sec".to_owned());
    if let Some(program) = &options.program {
        // A program of another release may not know all flags.
        let help = run(program, &["serve", "--help"], &[]).stdout;
        let help = String::from_utf8_lossy(&help);
        flags.retain(|flag| help.contains(flag.as_str()));
    }
    flags.retain(|flag| !options.args.contains(flag));
    flags
        .into_iter()
        .flat_map(|flag| [flag, "0".to_owned()])
        .collect()
}

fn launch(
    options: &Options,
    data_dir: &Path,
    rooms: Option<&Rooms>,
    log: &Arc<Mutex<Vec<String>>>,
    stdout: &Arc<Mutex<String>>,
) -> Result<(Child, Addresses, JoinHandle<()>), String> {
    let mut words: VecDeque<String> = options.wrapper.iter().cloned().collect();
    words.push_back(options.binary().to_str().expect("a UTF-8 path").to_owned());
    let mut command = clean(Command::new(words.pop_front().expect("a program")));
    command
        .args(words)
        .arg("serve")
        .arg("--data-dir")
        .arg(data_dir);
    for port in ["--dashboard-addr", "--partner-addr", "--admin-addr"] {
        command.args([port, "127.0.0.1:0"]);
    }
    if !options.rate_limits {
        command.args(no_rate_limits(options));
    }
    command
        .args(&options.args)
        .envs(rooms.into_iter().flat_map(Rooms::env).cloned())
        .envs(options.env.iter().cloned());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(sockets) = &options.sockets {
        sockets.hand_to(&mut command);
    }
    let mut child = command
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;

    let (sender, receiver) = mpsc::channel();
    let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let log_of_thread = Arc::clone(log);
    let log_reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if let Some(addresses) = ready_line(&line) {
                let _ = sender.send(addresses);
            }
            log_of_thread.lock().unwrap().push(line);
        }
    });
    let results = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let stdout = Arc::clone(stdout);
    std::thread::spawn(move || {
        for line in results.map_while(Result::ok) {
            let mut text = stdout.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
    // The channel closes with stderr, so a server that dies early is known at once.
    match receiver.recv_timeout(START_LIMIT) {
        Ok(addresses) => Ok((child, addresses, log_reader)),
        Err(_) => {
            let _ = child.kill();
            let status = child.wait().expect("the state of the child");
            Err(format!(
                "goodpon did not become ready ({status}):\n{}",
                log.lock().unwrap().join("\n")
            ))
        }
    }
}

/// Says that a line is of the level WARN or ERROR, or no line of the log at all.
fn is_alarming(line: &str) -> bool {
    match serde_json::from_str::<Value>(line) {
        Ok(json) => json["level"] == "WARN" || json["level"] == "ERROR",
        Err(_) => !line.trim().is_empty(),
    }
}

fn ready_line(line: &str) -> Option<Addresses> {
    let json: Value = serde_json::from_str(line).ok()?;
    let fields = if json["message"] == "ready" {
        &json
    } else {
        &json["fields"]
    };
    if fields["message"] != "ready" {
        return None;
    }
    let address = |name: &str| fields[name].as_str()?.parse().ok();
    Some(Addresses {
        dashboard: address("dashboard_addr")?,
        partner: address("partner_addr")?,
        admin: address("admin_addr")?,
    })
}
