//! Listening sockets that outlive the process: handed to it by systemd, or by the program that it replaced (`LISTEN_FDS`).
//!
//! Connections that arrive while no process accepts wait in the socket, and are neither refused nor reset.

use std::env;
use std::net::TcpListener;

use listenfd::ListenFd;

use crate::failed::Failed;

/// The ports by name: systemd calls it `FileDescriptorName`.
pub(super) const DASHBOARD: &str = "dashboard";
pub(super) const PARTNER: &str = "partner";
pub(super) const ADMIN: &str = "admin";

/// The variable with the names of the sockets, separated by colons.
const NAMES_VARIABLE: &str = "LISTEN_FDNAMES";

/// The sockets that this process was handed and has not used yet.
pub(super) struct HandedOver(Vec<(String, TcpListener)>);

impl HandedOver {
    /// Takes all sockets that the environment names.
    ///
    /// # Errors
    /// One of them does not listen for TCP.
    pub(super) fn take_all() -> Result<Self, Failed> {
        let names = env::var(NAMES_VARIABLE).unwrap_or_default();
        let mut names = names.split(':');
        let mut sockets = ListenFd::from_env();
        let mut taken = Vec::new();
        for index in 0..sockets.len() {
            let name = names.next().unwrap_or_default().to_owned();
            let socket = sockets.take_tcp_listener(index).map_err(|error| {
                Failed::new(format!(
                    "the socket {name:?} that was handed over is no TCP socket: {error}"
                ))
            })?;
            taken.extend(socket.map(|socket| (name, socket)));
        }
        Ok(Self(taken))
    }

    /// Takes the socket of a port.
    pub(super) fn take(&mut self, name: &str) -> Option<TcpListener> {
        let index = self.0.iter().position(|(of, _)| of == name)?;
        Some(self.0.swap_remove(index).1)
    }

    /// Closes the sockets that no port has taken, with a warning: connections to them would wait for ever.
    pub(super) fn close_rest(self) {
        for (name, _) in self.0 {
            tracing::warn!(
                name,
                "a socket was handed over that this process does not serve: its name must be dashboard, partner or admin, \
                 and the port one of this process"
            );
        }
    }
}

/// Second handles of the sockets at which this process listens: while one is open, the socket is.
#[derive(Default)]
pub(super) struct Kept(Vec<(&'static str, TcpListener)>);

impl Kept {
    pub(super) fn add(&mut self, name: &'static str, socket: TcpListener) {
        self.0.push((name, socket));
    }

    /// The sockets in order.
    pub(super) fn into_sockets(self) -> Vec<(&'static str, TcpListener)> {
        self.0
    }
}
