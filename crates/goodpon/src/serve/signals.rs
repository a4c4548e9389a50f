//! The signals that end the process, or have another program take over.

use std::io::IsTerminal;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failed::Failed;

/// A wish that a signal states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// SIGTERM or SIGINT, and SIGHUP of a terminal that was closed.
    End,
    /// SIGHUP: let the program's file, a newer one perhaps, take over.
    HandOver,
}

/// SIGTERM, SIGINT and SIGHUP.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    at_hang_up: Wish,
}

impl Signals {
    /// Starts to listen: signals from now on are not lost.
    pub(super) fn listen() -> Result<Self, Failed> {
        let listen = |kind| signal(kind).map_err(Failed::new);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
            at_hang_up: match std::io::stderr().is_terminal() {
                true => Wish::End,
                false => Wish::HandOver,
            },
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.hang_up.recv() => self.at_hang_up,
        }
    }

    /// Waits for one that ends the process.
    pub(super) async fn end(&mut self) {
        while self.next().await != Wish::End {}
    }
}
