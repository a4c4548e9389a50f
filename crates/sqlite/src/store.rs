//! The embedded store: its parts, its opening, and its ways to read and to write.

use std::path::Path;
use std::sync::Arc;

use goodpon_application::in_flight::InFlight;
use goodpon_application::ports::{Clock, Random, StoreResult};
use goodpon_domain::business_time::BusinessZone;
use goodpon_supervise::{Supervisor, end_at_once};
use rusqlite::Connection;

use crate::{
    error::OpenError,
    folder::{self, DATABASE_FILE},
    guard,
    late::{key_round, known_holder::KnownHolders, plan::MOST_WAITING},
    read::{
        filler::Filler,
        reader::{Length, Readers},
    },
    schema::{self, Schema},
    write::{
        activity, checkpoint,
        checkpointer::Checkpointer,
        connection,
        disk::{Disk, EndProcess},
        group::{Groups, Surroundings},
        published::Published,
        tx::Tx,
        writer::Writer,
    },
};

/// The circumstances under which a store is opened.
pub(crate) struct Under<'a> {
    pub(crate) supervisor: &'a Supervisor,
    /// Called when the disk fails.
    pub(crate) end: EndProcess,
    /// The weight that may wait for each deferred index.
    pub(crate) backlog: usize,
}

/// The embedded store. Clones share it.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) readers: Readers,
    pub(crate) published: Arc<Published>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) key_round: key_round::Round,
    pub(crate) known_holders: KnownHolders,
    pub(crate) clock: Arc<dyn Clock>,
    // These end before the writer, whose last act is to empty the log.
    pub(crate) _filler: Filler,
    pub(crate) _checkpointer: Checkpointer,
    pub(crate) writer: Writer,
    // Its file is closed after all connections.
    pub(crate) _disk: Arc<Disk>,
    // Given back last, when nothing writes any more.
    pub(crate) _lock: folder::Lock,
}

impl Store {
    /// Opens the data folder for reading and writing: takes its lock, makes or migrates the database. Its
    /// threads run under `supervisor`; when the disk fails, the process ends at once.
    pub fn open(
        folder: &Path,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        zone: BusinessZone,
        supervisor: &Supervisor,
    ) -> Result<Self, OpenError> {
        let under = Under {
            supervisor,
            end: Arc::new(|why| end_at_once(why)),
            backlog: MOST_WAITING,
        };
        Self::open_with(folder, clock, random, zone, under)
    }

    /// As [`Self::open`], under other circumstances.
    pub(crate) fn open_with(
        folder: &Path,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        zone: BusinessZone,
        under: Under<'_>,
    ) -> Result<Self, OpenError> {
        let Under {
            supervisor,
            end,
            backlog,
        } = under;
        let folder = &folder::absolute(folder)?;
        let lock = folder::Lock::take(folder)?;
        let disk = Arc::new(Disk::new(folder, folder::database_file(folder)?, end));
        disk.forget_shared_index().map_err(OpenError::Sync)?;
        let path = folder.join(DATABASE_FILE);
        let mut connection = connection::connect(&path)?;
        checkpoint::recover(&connection, &disk)?;
        schema::migrate(&mut connection)?;
        if let Some(what) = guard::strange(&connection, Schema::read(&connection)?.version)? {
            return Err(OpenError::Strange(what));
        }
        activity::catch_up(&connection)?;
        let surroundings = Surroundings {
            clock: Arc::clone(&clock),
            random,
            zone,
            disk: Arc::clone(&disk),
        };
        let groups = Groups::open(path.clone(), connection, backlog, surroundings)?;
        let published = groups.published();
        let writer = Writer::start(groups, supervisor)?;
        let filler = Filler::start(&path, Arc::clone(&published.filter), supervisor)?;
        let checkpointer =
            Checkpointer::start(&path, Arc::clone(&disk), writer.handle(), supervisor)?;
        let readers = Readers::start(&path, supervisor)?;
        Ok(Self {
            inner: Arc::new(Inner {
                readers,
                published,
                in_flight: Arc::default(),
                key_round: key_round::Round::beginning_at(clock.now()),
                known_holders: KnownHolders::default(),
                clock,
                _filler: filler,
                _checkpointer: checkpointer,
                writer,
                _disk: disk,
                _lock: lock,
            }),
        })
    }

    /// Gives this handle back. With the last one, all queued writes are finished, the log is moved into the
    /// database and the data folder is free again. Blocks until then.
    pub fn close(self) {
        drop(self);
    }

    /// Says that a group of writes has not ended for 3 s, by which a process can be known that hangs.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.inner.writer.pulse().is_stuck()
    }

    /// Looks a few rows up by their keys, for hot requests: here and now if that is quick at present.
    pub(crate) async fn glance<T: Send + 'static>(
        &self,
        run: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.inner.readers.glance(run).await
    }

    /// Looks a few rows up, on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.inner.readers.run(Length::Lookup, run).await
    }

    /// Goes through many rows, on a thread that may block for long.
    pub(crate) async fn scan<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.inner.readers.run(Length::Scan, run).await
    }

    /// Writes: `run` is part of the next group commit, and `Ok` means that it is durable.
    /// It may run more than once, but only its last run counts.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.inner.writer.write(run).await
    }
}
