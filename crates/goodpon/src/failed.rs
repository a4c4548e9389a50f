//! The failure of a command.

use std::fmt;

/// A failed command: one line for stderr that says what went wrong and what to do, and the exit code.
#[derive(Debug)]
pub struct Failed {
    message: String,
    /// Results that go to stdout in spite of the failure.
    pub output: String,
    /// The exit code of the process.
    pub code: u8,
}

impl Failed {
    /// Makes a failure with exit code 1.
    pub fn new(message: impl fmt::Display) -> Self {
        // Messages of the system and of libraries may have several lines.
        let message = message.to_string().replace(['\n', '\r'], " ");
        Self {
            message,
            output: String::new(),
            code: 1,
        }
    }

    /// Sets another exit code.
    #[must_use]
    pub fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Adds results that go to stdout.
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
