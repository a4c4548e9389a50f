//! Kinds of servers: their installation, configuration, start and the question whether they are ready.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::location::Location;

/// The data with which a server starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    Kept,
    Lost,
    FromSnapshot,
}

/// A kind of server.
pub trait Server {
    /// Returns its name, which is also that of its folder and of its service in the Compose file.
    fn name(&self) -> &'static str;

    /// Returns the name of goodpon's setting for its address.
    fn variable(&self) -> &'static str;

    /// Returns that setting's value.
    fn url(&self, port: u16) -> String;

    /// Installs its programs where they are missing, in `programs` if the system has no place for them.
    fn install(&self, programs: &Path) -> Result<()>;

    /// Writes its configuration, prepares its data where there is none, and returns the command that starts it. The
    /// command line has the folder's path in it.
    fn prepare(&self, location: &Location, programs: &Path) -> Result<Command>;

    /// Returns the folder of its data within its container.
    fn data_in_container(&self) -> &'static str;

    /// Says that it answers.
    fn is_ready(&self, port: u16) -> bool;

    /// Completes its set-up once it answers; may be called again.
    fn set_up(&self, _location: &Location) -> Result<()> {
        Ok(())
    }
}
