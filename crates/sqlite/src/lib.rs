//! Every store port on one embedded SQLite database.
//!
//! One thread owns the only write connection and commits in groups (see `writer.rs`); reads run on
//! threads of their own (`reader.rs`); one more keeps the write-ahead log short (`checkpointer.rs`).
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
mod checkpointer;
mod codec;
mod common_answers;
mod coupon;
mod coupon_state;
mod disk;
mod error;
mod figures;
mod folder;
mod glance;
mod guard;
mod health;
mod history;
mod holder;
mod holder_filter;
mod idempotency;
mod issue;
mod key_index;
mod key_round;
mod known_holder;
mod late_index;
mod ledger;
mod mail;
mod merchant;
mod position;
mod pulse;
mod read_only;
mod reader;
mod redemption;
mod replay;
mod schema;
mod store;
mod sweep;
mod template;
mod template_cache;
mod template_row;
#[cfg(test)]
mod tests;
mod upkeep;
mod walk;
mod writer;

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
