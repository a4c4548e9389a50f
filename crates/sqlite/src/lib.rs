//! Every store port on one embedded SQLite database.
//!
//! One thread owns the only write connection and commits in groups (`write/`); reads run on threads of their own (`read/`).
//! Indexes of unordered keys take their entries up late (`late/`). Each noun has a file of its name: it implements its ports
//! over these three, which never import it. One more thread keeps the write-ahead log short (`write/checkpointer.rs`).
//!
//! A write that was answered with success is on the disk: coupon, ledger entry, counters and remembered answer as one.
//! No read is older than any answer that was given before it. No success is answered before the commit. The store never
//! goes on after the disk failed, never shares its folder with a second writing process, and blocks no thread of the
//! callers' runtime for long.

mod account;
mod audit;
mod backup;
mod codec;
mod coupon;
mod error;
mod folder;
mod guard;
mod health;
mod history;
mod idempotency;
mod issue;
mod late;
mod ledger;
mod mail;
mod merchant;
pub mod metric;
mod position;
mod read;
mod read_only;
mod redemption;
mod replay;
mod schema;
mod store;
mod sweep;
mod template;
mod template_row;
#[cfg(test)]
mod tests;
mod upkeep;
mod write;

pub use backup::{BackupError, restore};
pub use error::OpenError;
pub use folder::DATABASE_FILE;
pub use read_only::ReadOnlyStore;
pub use store::Store;

use std::sync::Arc;

use goodpon_application::Stores;

impl Store {
    /// The store ports: this store is all of them.
    #[must_use]
    pub fn stores(&self) -> Stores {
        let store = Arc::new(self.clone());
        Stores::over(Arc::clone(&store), store)
    }
}
