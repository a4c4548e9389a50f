//! Valkey servers, connections to them, and what befalls them.

use goodpon_application::ports::StoreResult;
use goodpon_gate_model::gate::{SERVER_BELIEVED_MS, Store};

use super::{ProcessId, World, call::unavailable};
use crate::guard::Guard;

/// A server process with what it holds.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) store: Store,
    run: u16,
    replication: u16,
    pub(crate) is_alive: bool,
    /// Until when no process looks at all gates, by the server's clock.
    swept_until_ms: i64,
}

/// The data that a backup or a lagging replica still has.
pub(crate) type Snapshot = Store;

/// A connection, which leads to one server process and knows the identity that this one had when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) server: usize,
    run: u16,
    pub(crate) identity: String,
}

/// A fault of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It comes back with nothing.
    Emptied,
    /// All that it holds is deleted; the process goes on.
    Flushed,
    /// It comes back with what the snapshot has.
    Restored,
    /// A replica that has what the snapshot has is promoted beside it.
    Promoted,
    /// The same process is demoted, takes over what the snapshot has, and is promoted again.
    Demoted,
    /// It is gone for good, while another one lives.
    Killed,
}

impl Server {
    pub(super) fn new(run: u16, replication: u16, removed: &[Guard]) -> Self {
        Self {
            store: Store::new(identity(run, replication, removed), 0),
            run,
            replication,
            is_alive: true,
            swept_until_ms: 0,
        }
    }
}

fn identity(run: u16, replication: u16, removed: &[Guard]) -> String {
    if removed.contains(&Guard::ReplicationId) {
        format!("run{run}")
    } else {
        format!("run{run}.{replication}")
    }
}

impl World {
    /// Returns a process's connection; where it has none that leads to a living server, it makes one.
    pub(crate) fn connect(&mut self, process: ProcessId) -> StoreResult<Connection> {
        let present = self.processes[process].connection.as_ref();
        if let Some(present) = present.filter(|present| self.is_connected(present)) {
            return Ok(present.clone());
        }
        let number = self.processes[process].leads_to;
        let server = &self.servers[number];
        if !server.is_alive {
            return Err(unavailable("the gates' server is gone", false));
        }
        let made = Connection {
            server: number,
            run: server.run,
            identity: server.store.server().to_owned(),
        };
        self.processes[process].connection = Some(made.clone());
        Ok(made)
    }

    fn is_connected(&self, connection: &Connection) -> bool {
        let server = &self.servers[connection.server];
        server.is_alive && server.run == connection.run
    }

    /// Leads a process to a server: its next connection goes there.
    pub(crate) fn lead(&mut self, process: ProcessId, server: usize) {
        self.processes[process].leads_to = server;
        self.processes[process].connection = None;
        self.note(|| format!("partner {process} is led to server {server}"));
    }

    /// Returns whether a new connection would lead elsewhere than the present one, or know another identity.
    pub(crate) fn would_differ(&self, process: ProcessId, server: usize) -> bool {
        let there = &self.processes[process];
        let is_stale =
            |present: &Connection| present.identity != self.servers[server].store.server();
        there.leads_to != server || there.connection.as_ref().is_some_and(is_stale)
    }

    /// Runs a script over a connection.
    pub(crate) fn script<T>(
        &mut self,
        process: ProcessId,
        connection: &Connection,
        run: impl FnOnce(&mut Store, &str) -> T,
    ) -> StoreResult<T> {
        if !self.is_connected(connection) {
            self.give_up(process, connection);
            return Err(unavailable("the connection is broken", true));
        }
        let (is_bound, now_ms) = (self.has(Guard::ServerBinding), self.now_ms);
        self.pulse += 1;
        let store = &mut self.servers[connection.server].store;
        store.set_clock(now_ms + self.pulse);
        if is_bound {
            return Ok(run(store, &connection.identity));
        }
        let (own, there) = (store.server().to_owned(), store.installed());
        let pretended = there.map_or_else(|| own.clone(), |gate| gate.server.clone());
        store.set_server(pretended.clone());
        let answer = run(store, &pretended);
        store.set_server(own);
        Ok(answer)
    }

    /// Gives a connection up whose server is not the one that it was any more.
    pub(crate) fn give_up_if_moved(&mut self, process: ProcessId, connection: &Connection) -> bool {
        let is_moved = self.servers[connection.server].store.server() != connection.identity;
        if is_moved && self.has(Guard::ServerBinding) {
            self.give_up(process, connection);
        }
        is_moved
    }

    fn give_up(&mut self, process: ProcessId, connection: &Connection) {
        let present = &mut self.processes[process].connection;
        if present.as_ref() == Some(connection) {
            *present = None;
        }
    }

    /// Returns whether no process has looked at all gates for that long, and notes that one does now.
    pub(crate) fn may_sweep(&mut self, server: usize, within_ms: i64) -> bool {
        let now_ms = self.now_ms;
        let until = &mut self.servers[server].swept_until_ms;
        let may = *until <= now_ms;
        if may {
            *until = now_ms.saturating_add(within_ms);
        }
        may
    }

    pub(crate) fn living(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.servers.len()).filter(|&server| self.servers[server].is_alive)
    }

    /// Returns whether customers can be served somewhere.
    pub(crate) fn is_open(&self) -> bool {
        self.living().any(|server| self.is_open_at(server))
    }

    /// Returns whether the gate that the database has is open on that server.
    pub(crate) fn is_open_at(&self, server: usize) -> bool {
        let store = &self.servers[server].store;
        self.gate()
            .zip(store.installed())
            .is_some_and(|(gate, there)| {
                gate.epoch == there.epoch && there.server == store.server()
            })
    }

    pub(crate) fn befall(&mut self, server: usize, fault: Fault) {
        self.has_lost_answers = true;
        self.runs += 1;
        let fresh = Server::new(self.runs, 0, &self.removed);
        let mut old = self.snapshot.clone().unwrap_or_else(|| fresh.store.clone());
        old.set_server(fresh.store.server());
        let with_old_data = Server {
            store: old.clone(),
            ..fresh.clone()
        };
        match fault {
            Fault::Emptied => self.servers[server] = fresh,
            Fault::Flushed => self.servers[server].store.flush(),
            Fault::Restored => self.servers[server] = with_old_data,
            Fault::Promoted => self.servers.push(with_old_data),
            Fault::Demoted => {
                // It takes longer than a script believes its server to be who it was.
                self.pulse += SERVER_BELIEVED_MS + 1;
                let process = &mut self.servers[server];
                process.replication += 1;
                old.set_server(identity(process.run, process.replication, &self.removed));
                process.store = old;
            }
            Fault::Killed => self.servers[server].is_alive = false,
        }
        let server = if fault == Fault::Promoted {
            self.servers.len() - 1
        } else {
            server
        };
        let identity = self.servers[server].store.server().to_owned();
        self.note(|| format!("server {server} is {fault:?}: now {identity}"));
    }

    pub(crate) fn take_snapshot(&mut self, server: usize) {
        self.snapshot = Some(self.servers[server].store.clone());
        self.note(|| format!("server {server} is copied"));
    }
}
