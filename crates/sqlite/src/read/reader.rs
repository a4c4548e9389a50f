//! The threads that read, so that no read stops a thread of the callers' runtime.
//!
//! Each has a connection of its own. Short look-ups have threads that nothing long ever runs on. The shortest of all,
//! which hot requests make, begin on the caller's thread (`glance.rs`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use goodpon_application::ports::{StoreError, StoreResult};
use goodpon_supervise::{Supervisor, Task, Thread};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::{
    error::{OpenError, store_error},
    read::glance::{Glance, Glances},
};

/// The tasks of the two kinds of threads.
const LOOKUPS: &str = "lookups";
const SCANS: &str = "scans";

/// Look-ups that wait; further ones are refused. As many as writes, for most requests make one of each.
const MOST_LOOKUPS: usize = 32_768;
/// Scans that wait; further ones are refused. Those of tenants take turns before they are queued here.
const MOST_SCANS: usize = 256;

/// One read. It gets a connection, or the error of its opening, and returns whether the connection is still good.
type Job = Box<dyn FnOnce(rusqlite::Result<&Connection>) -> bool + Send>;

/// The length of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// It looks a few rows up.
    Lookup,
    /// It goes through many.
    Scan,
}

/// The threads. Dropping this lets queued reads finish.
pub(crate) struct Readers {
    path: PathBuf,
    glances: Arc<Glances>,
    lookups: Lane,
    scans: Lane,
}

impl Readers {
    /// Starts as many threads for look-ups as there are cores; for scans half as many, and one for the store's own work.
    pub(crate) fn start(path: &Path, supervisor: &Supervisor) -> Result<Self, OpenError> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let lane = |name, threads, most| Lane::start(path, supervisor, name, threads, most);
        let glances = Glances::default();
        for _ in 0..cores.max(2) {
            glances.keep(connect(path)?)?;
        }
        Ok(Self {
            path: path.to_owned(),
            glances: Arc::new(glances),
            lookups: lane(LOOKUPS, cores.max(2), MOST_LOOKUPS)?,
            scans: lane(SCANS, (cores / 2).max(1) + 1, MOST_SCANS)?,
        })
    }

    /// Reads a few rows by their keys, on this thread if such reads are quick at present, else as a look-up.
    pub(crate) async fn glance<T: Send + 'static>(
        &self,
        run: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        match self.glances.run(&run) {
            Glance::Done(result) => return Ok(result),
            Glance::NotNow => {}
            Glance::Failed => self.replace_one(),
        }
        self.run(Length::Lookup, run).await
    }

    /// Opens a connection for glances in the place of one that failed.
    fn replace_one(&self) {
        let (path, glances) = (self.path.clone(), Arc::clone(&self.glances));
        let open = move |_: rusqlite::Result<&Connection>| {
            // Without it there is one fewer: glances are look-ups where none is idle.
            let kept = connect(&path).and_then(|connection| glances.keep(connection));
            if let Err(error) = kept {
                tracing::warn!(%error, "a connection for look-ups cannot be opened");
            }
            true
        };
        // Where the queue is full the next failure tries again.
        let _ = self.lookups.queue.try_send(Box::new(open));
    }

    /// Runs a read. Outside of a transaction each statement sees all that was committed before it began. A read whose
    /// caller has left is not begun.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        length: Length,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move |connection: rusqlite::Result<&Connection>| {
            if reply.is_closed() {
                return true;
            }
            let result = connection.and_then(run);
            let is_good = result.is_ok();
            // A caller that has gone away needs no answer.
            let _ = reply.send(result);
            is_good
        });
        let lane = match length {
            Length::Lookup => &self.lookups,
            Length::Scan => &self.scans,
        };
        lane.queue
            .try_send(job)
            .map_err(|error| StoreError::Unavailable {
                reason: match error {
                    TrySendError::Full(_) => "too many reads are waiting".into(),
                    TrySendError::Disconnected(_) => "the store is closing".into(),
                },
                may_have_happened: false,
            })?;
        match answer.await {
            Ok(result) => result.map_err(store_error),
            Err(_) => Err(StoreError::Unexpected("a read panicked".into())),
        }
    }
}

/// Threads that take from one queue.
struct Lane {
    queue: Sender<Job>,
    threads: Vec<Thread>,
}

impl Lane {
    fn start(
        path: &Path,
        supervisor: &Supervisor,
        name: &'static str,
        threads: usize,
        most: usize,
    ) -> Result<Self, OpenError> {
        let (queue, jobs) = bounded(most);
        let start = |_| {
            let (path, jobs) = (path.to_owned(), jobs.clone());
            let task = Task::restart(name).ends_by_itself();
            supervisor.spawn_thread(task, move |report| {
                report.ran();
                work(&path, &jobs);
                Ok(())
            })
        };
        let threads = (0..threads).map(start).collect::<std::io::Result<_>>();
        Ok(Self {
            queue,
            threads: threads.map_err(OpenError::Thread)?,
        })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Without a sender the threads end behind what is queued.
        self.queue = bounded(0).0;
        let current = std::thread::current();
        let name = current
            .name()
            .and_then(|name| name.strip_prefix("goodpon-"));
        // The last handle to the store may be dropped by a read, which cannot wait for itself.
        if name.is_some_and(|name| [LOOKUPS, SCANS].contains(&name)) {
            return;
        }
        self.threads.drain(..).for_each(Thread::join);
    }
}

fn work(path: &Path, jobs: &Receiver<Job>) {
    let mut kept: Option<Connection> = None;
    while let Ok(job) = jobs.recv() {
        let connection = match kept.take() {
            Some(connection) => Ok(connection),
            None => connect(path),
        };
        // A job that panics drops its sender, which is an error for its caller.
        kept = match connection {
            Ok(connection) => {
                let ran = catch_unwind(AssertUnwindSafe(|| job(Ok(&connection))));
                // One that failed may be stuck: a new one is cheap.
                Some(connection).filter(|_| matches!(ran, Ok(true)))
            }
            Err(error) => {
                drop(catch_unwind(AssertUnwindSafe(|| job(Err(error)))));
                None
            }
        };
    }
}

/// Opens a connection that only reads.
pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    crate::guard::distrust(&connection)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -2048)?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
