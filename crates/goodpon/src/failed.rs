//! How a command ends when it does not succeed.

use std::fmt;
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

/// How long the last line may take where stderr is not read.
const LAST_LINE_WITHIN: Duration = Duration::from_secs(1);

/// Says why on stderr, past the queue of the log, and ends the process without another write to its files.
pub fn end_at_once(why: &str) {
    let (written, is_written) = mpsc::channel();
    let line = format!("goodpon: {}\n", why.replace(['\n', '\r'], " "));
    // On a thread of its own: a pipe that nobody reads must not keep the process.
    let said = std::thread::Builder::new().spawn(move || {
        let _ = std::io::stderr().write_all(line.as_bytes());
        let _ = written.send(());
    });
    if said.is_ok() {
        let _ = is_written.recv_timeout(LAST_LINE_WITHIN);
    }
    std::process::abort();
}

/// One line for stderr that says what went wrong and what to do, and the exit code.
#[derive(Debug)]
pub struct Failed {
    message: String,
    /// What goes to stdout all the same.
    pub output: String,
    /// Of the process.
    pub code: u8,
}

impl Failed {
    /// With exit code 1.
    pub fn new(message: impl fmt::Display) -> Self {
        // Whatever a system or library has to say: one line it is.
        let message = message.to_string().replace(['\n', '\r'], " ");
        Self {
            message,
            output: String::new(),
            code: 1,
        }
    }

    /// With another exit code.
    #[must_use]
    pub fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// With results that it has beside the failure.
    #[must_use]
    pub fn with_output(self, output: String) -> Self {
        Self { output, ..self }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<crate::config::ConfigError> for Failed {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::new(error)
    }
}
