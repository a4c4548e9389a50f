//! A kind of server: how it is installed, configured, started and asked.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::place::Place;

/// What a server has in its data folder when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    Kept,
    Lost,
    FromSnapshot,
}

/// A kind of server.
pub trait Server {
    /// Also its folder's name, and its service's in the Compose file.
    fn name(&self) -> &'static str;

    /// The setting of goodpon that tells where it is.
    fn variable(&self) -> &'static str;

    /// That setting's value.
    fn url(&self, port: u16) -> String;

    /// Sees to it that its programs are there, in `programs` if they have no place of their own.
    fn install(&self, programs: &Path) -> Result<()>;

    /// Writes its configuration, prepares its data where there is none, and tells how it is started. Its command line
    /// has the folder's path in it.
    fn prepare(&self, place: &Place, programs: &Path) -> Result<Command>;

    /// Where its container has its data.
    fn data_in_container(&self) -> &'static str;

    /// Whether it answers.
    fn is_ready(&self, port: u16) -> bool;

    /// What is to be done once it answers; may be done again.
    fn set_up(&self, _place: &Place) -> Result<()> {
        Ok(())
    }
}
