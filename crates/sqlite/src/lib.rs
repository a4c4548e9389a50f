//! Every store port on one embedded SQLite database.
//!
//! One thread owns the only write connection and commits in groups (see `writer.rs`); reads run on
//! threads of their own (`reader.rs`); one more keeps the write-ahead log short (`checkpoint.rs`).
//!
//! A write that was answered with success is on the disk: coupon, ledger entry, counters and remembered answer as one.
//! What is read is never older than what anybody was answered. No success is answered before the commit. The store never
//! goes on after the disk failed, never shares its folder with a second writing process, and blocks no thread of the
//! callers' runtime for long.

mod account;
mod activity;
mod audit;
mod backup;
mod book;
mod checkpoint;
mod codec;
mod coupon;
mod coupon_state;
mod disk;
mod figures;
mod folder;
mod glance;
mod guard;
mod health;
mod history;
mod holder;
mod holder_filter;
mod holder_sets;
mod idempotency;
mod issue;
mod key_index;
mod late_index;
mod ledger;
mod mail;
mod merchant;
mod place;
mod pulse;
mod reader;
mod redemption;
mod replay;
mod schema;
mod sweep;
mod template;
mod template_cache;
#[cfg(test)]
mod tests;
mod upkeep;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use goodpon_application::Stores;
use goodpon_application::in_flight::InFlight;
use goodpon_application::ports::{Clock, Random, StoreError, StoreResult};
use goodpon_domain::business_time::BusinessZone;
use goodpon_supervise::{Supervisor, end_at_once};
use rusqlite::{Connection, ErrorCode};

use crate::{
    coupon_state::States,
    disk::{Disk, EndProcess},
    holder::Holders,
    holder_filter::HolderFilter,
    holder_sets::HolderSets,
    key_index::Keys,
    late_index::{LateIndex, Waiting},
    reader::{Length, Readers},
    schema::Schema,
};

pub use backup::{BackupError, restore};

/// The database's name within the data folder.
pub const DATABASE_FILE: &str = "goodpon.db";

/// Why a data folder cannot be worked on. Displays as one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the data folder {0} is in use by another goodpon process: stop that one, or choose another --data-dir"
    )]
    InUse(PathBuf),
    /// It cannot be made or written.
    #[error(
        "the data folder {folder} cannot be used ({reason}): make it writable for this user, or choose another --data-dir"
    )]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// There is no database in it.
    #[error("there is no Goodpon database in {0}: give the --data-dir that `goodpon serve` uses")]
    Missing(PathBuf),
    /// An older program wrote it, and it was not opened for writing since.
    #[error(
        "the database has schema version {found}, and this goodpon works on {known}: run `goodpon serve` once to update it"
    )]
    SchemaTooOld {
        /// What is there.
        found: usize,
        /// What this program works on.
        known: usize,
    },
    /// A newer program wrote it.
    #[error(
        "the database has schema version {found}, and this goodpon knows versions up to {known}: run the newer goodpon that wrote it"
    )]
    SchemaTooNew {
        /// What is there.
        found: usize,
        /// What this program knows.
        known: usize,
    },
    /// What is in the file was not made by a program of ours alone.
    #[error(
        "the database is not as goodpon makes it ({0}): restore a backup, or undo what was changed by hand"
    )]
    Strange(String),
    /// The file is no database of ours.
    #[error("the database file was not written by goodpon: choose another --data-dir")]
    NotOurs,
    /// What a process before wrote cannot be brought onto the disk.
    #[error("what the database's log holds cannot be synced ({0}): check the disk")]
    Sync(std::io::Error),
    /// A thread cannot be started.
    #[error("a thread cannot be started ({0}): check the limits of this user and the memory")]
    Thread(std::io::Error),
    /// SQLite says no.
    #[error("the database cannot be opened ({0}): check the disk, or restore a backup")]
    Database(#[from] rusqlite::Error),
}

/// What a store is opened under.
struct Under<'a> {
    supervisor: &'a Supervisor,
    /// Called when the disk fails.
    end: EndProcess,
    /// How many entries wait at most for each late index.
    most_waiting: usize,
}

/// The embedded store. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    readers: Readers,
    templates: Arc<template_cache::TemplateCache>,
    in_flight: Arc<InFlight>,
    waiting_keys: Arc<Waiting<Keys>>,
    waiting_holders: Arc<Waiting<Holders>>,
    waiting_states: Arc<Waiting<States>>,
    key_round: key_index::Round,
    filter: Arc<HolderFilter>,
    holder_sets: holder_sets::HolderSets,
    clock: Arc<dyn Clock>,
    // These end before the writer, whose last act is to empty the log.
    _filler: Option<holder_filter::Filler>,
    _checkpointer: Option<checkpoint::Checkpointer>,
    writer: Option<writer::Writer>,
    // Its file is closed after all connections.
    _disk: Option<Arc<Disk>>,
    // Given back last, when nothing writes any more.
    _lock: Option<folder::Lock>,
}

impl Store {
    /// The store ports: this store is all of them.
    #[must_use]
    pub fn stores(&self) -> Stores {
        let store = Arc::new(self.clone());
        Stores::over(Arc::clone(&store), store)
    }

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
            most_waiting: late_index::MOST_WAITING,
        };
        Self::open_with(folder, clock, random, zone, under)
    }

    /// As [`Self::open`], under other circumstances.
    fn open_with(
        folder: &Path,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        zone: BusinessZone,
        under: Under<'_>,
    ) -> Result<Self, OpenError> {
        let Under {
            supervisor,
            end,
            most_waiting,
        } = under;
        let folder = &absolute(folder)?;
        let lock = folder::Lock::take(folder)?;
        figures::describe();
        let disk = Arc::new(Disk::new(folder, folder::database_file(folder)?, end));
        disk.forget_shared_index().map_err(OpenError::Sync)?;
        let path = folder.join(DATABASE_FILE);
        let mut connection = writer::connect(&path)?;
        checkpoint::recover(&connection, &disk)?;
        schema::migrate(&mut connection)?;
        if let Some(what) = guard::strange(&connection, Schema::read(&connection)?.version)? {
            return Err(OpenError::Strange(what));
        }
        activity::catch_up(&connection)?;
        let templates = Arc::new(template_cache::TemplateCache::default());
        let keys = LateIndex::<Keys>::open(&connection, most_waiting)?;
        let holders = LateIndex::<Holders>::open(&connection, most_waiting)?;
        let states = LateIndex::<States>::open(&connection, most_waiting)?;
        let (waiting_keys, waiting_holders) = (keys.waiting(), holders.waiting());
        let waiting_states = states.waiting();
        let filter = Arc::new(HolderFilter::default());
        waiting_holders.for_each_key(|holder| holder.add_to(&filter));
        let tools = writer::Tools {
            path: path.clone(),
            clock: Arc::clone(&clock),
            random,
            zone,
            templates: Arc::clone(&templates),
            filter: Arc::clone(&filter),
            disk: Arc::clone(&disk),
        };
        let writer = writer::Writer::start(connection, keys, holders, states, tools, supervisor)?;
        let filler = holder_filter::Filler::start(&path, Arc::clone(&filter), supervisor)?;
        let checkpointer =
            checkpoint::Checkpointer::start(&path, Arc::clone(&disk), writer.handle(), supervisor)?;
        let readers = Readers::start(&path, supervisor)?;
        Ok(Self {
            inner: Arc::new(Inner {
                folder: folder.to_owned(),
                readers,
                templates,
                in_flight: Arc::default(),
                waiting_keys,
                waiting_holders,
                waiting_states,
                key_round: key_index::Round::beginning_at(clock.now()),
                filter,
                holder_sets: HolderSets::default(),
                clock,
                _filler: Some(filler),
                _checkpointer: Some(checkpointer),
                writer: Some(writer),
                _disk: Some(disk),
                _lock: Some(lock),
            }),
        })
    }

    /// Opens the data folder for reading, also while another process serves from it.
    pub fn open_read_only(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let folder = &absolute(folder)?;
        let path = folder.join(DATABASE_FILE);
        if !path.is_file() {
            return Err(OpenError::Missing(folder.to_owned()));
        }
        let found = Schema::read(&reader::connect(&path)?)?;
        found.refuse_too_new()?;
        match found.version {
            0 => return Err(OpenError::Missing(folder.to_owned())),
            found if found < schema::VERSION => {
                return Err(OpenError::SchemaTooOld {
                    found,
                    known: schema::VERSION,
                });
            }
            _ => {}
        }
        Ok(Self {
            inner: Arc::new(Inner {
                folder: folder.to_owned(),
                readers: Readers::start(&path, &Supervisor::new())?,
                templates: Arc::default(),
                in_flight: Arc::default(),
                waiting_keys: Arc::default(),
                waiting_holders: Arc::default(),
                waiting_states: Arc::default(),
                key_round: key_index::Round::beginning_at(clock.now()),
                filter: Arc::default(),
                holder_sets: HolderSets::default(),
                clock,
                _filler: None,
                _checkpointer: None,
                writer: None,
                _disk: None,
                _lock: None,
            }),
        })
    }

    /// Gives this handle back. With the last one, all queued writes are finished, the log is moved into the
    /// database and the data folder is free again. Blocks until then.
    pub fn close(self) {
        drop(self);
    }

    /// Looks a few rows up by their keys, for hot requests: here and now if that is quick at present.
    async fn glance<T: Send + 'static>(
        &self,
        run: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.inner.readers.glance(run).await
    }

    /// Looks a few rows up, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.inner.readers.run(Length::Lookup, run).await
    }

    /// Goes through many rows, on a thread that may block for long.
    async fn scan<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.inner.readers.run(Length::Scan, run).await
    }

    /// Writes: `run` is part of the next group commit, and `Ok` means that it is durable.
    /// It may run more than once, but only its last run counts.
    async fn write<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut writer::Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        match &self.inner.writer {
            Some(writer) => writer.write(run).await,
            None => Err(StoreError::Unexpected(
                "the store was opened for reading".into(),
            )),
        }
    }
}

/// A folder's whole path: SQLite takes some names for commands, such as `file:…?mode=ro`, but none that begins with a
/// slash.
fn absolute(folder: &Path) -> Result<PathBuf, OpenError> {
    std::path::absolute(folder).map_err(|reason| OpenError::Folder {
        folder: folder.to_owned(),
        reason,
    })
}

/// Sorts an error of SQLite that came before anything was committed.
fn store_error(error: rusqlite::Error) -> StoreError {
    if is_outage(&error) {
        StoreError::Unavailable {
            reason: error.to_string(),
            may_have_happened: false,
        }
    } else {
        StoreError::Unexpected(error.to_string())
    }
}

/// Whether it is the machine's fault rather than ours.
fn is_outage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::OutOfMemory
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}
