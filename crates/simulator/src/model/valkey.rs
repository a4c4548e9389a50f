//! Valkey servers, connections to them, and what befalls them.

use super::{Guard, World};
use crate::gate::{SERVER_BELIEVED_MS, Store};

/// A server process with what it holds.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) store: Store,
    run: u16,
    replication: u16,
    pub(super) is_alive: bool,
}

/// What a backup or a lagging replica still has.
pub(super) type Snapshot = Store;

/// A connection, which leads to one process and knows who that said that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) server: usize,
    run: u16,
    pub(super) identity: String,
}

/// What befalls a server.
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
    pub(super) fn connect(&self, server: usize) -> Connection {
        let process = &self.servers[server];
        Connection {
            server,
            run: process.run,
            identity: process.store.server().to_owned(),
        }
    }

    /// Runs a script over a connection; none where the process that it led to is gone.
    pub(super) fn script<T>(
        &mut self,
        connection: &Connection,
        run: impl FnOnce(&mut Store, &str) -> T,
    ) -> Option<T> {
        let is_bound = self.has(Guard::ServerBinding);
        let server = self.servers.get_mut(connection.server)?;
        if !server.is_alive || server.run != connection.run {
            return None;
        }
        self.pulse += 1;
        let store = &mut server.store;
        store.set_clock(self.now * 1_000 + self.pulse);
        if is_bound {
            return Some(run(store, &connection.identity));
        }
        let (own, there) = (store.server().to_owned(), store.installed());
        let pretended = there.map_or_else(|| own.clone(), |gate| gate.server.clone());
        store.set_server(pretended.clone());
        let answer = run(store, &pretended);
        store.set_server(own);
        Some(answer)
    }

    pub(super) fn living(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.servers.len()).filter(|&server| self.servers[server].is_alive)
    }

    /// Whether customers can be served somewhere.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.living().any(|server| self.is_open_at(server))
    }

    /// Whether the gate that the database tells of is open on that server.
    pub(super) fn is_open_at(&self, server: usize) -> bool {
        let store = &self.servers[server].store;
        self.gate()
            .zip(store.installed())
            .is_some_and(|(gate, there)| {
                gate.epoch == there.epoch && there.server == store.server()
            })
    }

    /// Somebody who can write to the server tells the database so.
    pub(super) fn beat(&mut self, server: usize) {
        let identity = self.servers[server].store.server().to_owned();
        let now = self.database_time();
        self.database.seen.insert(identity, now);
    }

    pub(super) fn befall(&mut self, server: usize, fault: Fault) {
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
        let now = self.servers[server].store.server().to_owned();
        self.tell(|| format!("server {server} is {fault:?}: now {now}"));
    }

    pub(super) fn take_snapshot(&mut self, server: usize) {
        self.snapshot = Some(self.servers[server].store.clone());
        self.tell(|| format!("server {server} is copied"));
    }
}
