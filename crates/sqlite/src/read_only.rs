//! A data folder that is read beside the process that serves from it.

use std::path::{Path, PathBuf};

use goodpon_application::ports::{Difference, StoreResult, StoredMail};
use goodpon_supervise::Supervisor;

use crate::{
    audit,
    backup::{self, BackupError},
    error::OpenError,
    folder::{self, DATABASE_FILE},
    mail,
    read::reader::{self, Length, Readers},
    schema::{self, Schema},
};

/// Audits, lists mails and makes backups, and nothing else: entries that wait for deferred indexes are in the memory of the
/// process that serves, so a look-up of coupons here would give old answers.
pub struct ReadOnlyStore {
    folder: PathBuf,
    readers: Readers,
}

impl ReadOnlyStore {
    /// Opens the data folder for reading, also while another process serves from it.
    ///
    /// # Errors
    /// There is no database of this version in it, or it cannot be read.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let folder = &folder::absolute(folder)?;
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
            folder: folder.to_owned(),
            readers: Readers::start(&path, &Supervisor::new())?,
        })
    }

    /// See [`goodpon_application::ports::Audit::audit`].
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn audit(&self) -> StoreResult<Vec<Difference>> {
        self.readers.run(Length::Scan, audit::run).await
    }

    /// The mails to an address, or all, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn mails(&self, to: Option<&str>, limit: usize) -> StoreResult<Vec<StoredMail>> {
        let to = to.map(str::to_owned);
        let list = move |connection: &_| mail::list(connection, to.as_deref(), limit);
        self.readers.run(Length::Scan, list).await
    }

    /// Writes the database as of now into `file`, and its checksum beside it. Blocks until both are checked and on the disk;
    /// refuses to overwrite.
    ///
    /// # Errors
    /// There is something under that name already, or the copy cannot be written or is not sound.
    pub fn backup(&self, file: &Path) -> Result<(), BackupError> {
        backup::write(&self.folder, file)
    }
}
