//! How a command ends when it does not succeed.

use std::fmt;

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
