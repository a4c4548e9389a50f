//! Deferred indexes: new entries wait in memory and reach the B-tree later, in key order.
//!
//! Where keys come in no order (users, idempotency keys), an index that takes each entry at once dirties a page for
//! nearly each, which costs as much as the rest of the request. So a new entry waits in memory first, where it is found
//! just as well. When many wait, the writer enters some with every group, in key order, round and round: neighbours
//! share a page. After a crash the rows themselves show which entries waited: those from the stored mark on are read.
//!
//! A key may lead to more than the position of a row: an index may keep the state that the rows of a key make.

pub(crate) mod coupon_state;
pub(crate) mod holder;
pub(crate) mod holder_filter;
pub(crate) mod index;
pub(crate) mod key;
pub(crate) mod key_round;
pub(crate) mod known_holder;
pub(crate) mod plan;
#[cfg(test)]
mod tests;
pub(crate) mod waiting;

use rusqlite::{Connection, ToSql, types::FromSql};

/// A deferred index: its keys, their values, and the rows that both come from.
pub(crate) trait Late {
    /// Its row in the table `late_indexes`.
    const NAME: &'static str;
    /// The key that is looked up.
    type Key: Ord + Clone;
    /// The value that the key leads to.
    type Value: Clone;
    /// The position of a row. Later rows get greater positions, unless the clock was set back.
    type Position: Ord + Copy + FromSql + ToSql;

    /// The position of the row that a value comes from.
    fn position(value: &Self::Value) -> Self::Position;

    /// True if a value replaces the one of its key that was added before it: always, unless rows are read in another order
    /// than that in which they came.
    fn is_newer(_value: &Self::Value, _than: &Self::Value) -> bool {
        true
    }

    /// The weight of an entry among those that wait: 1, and more if it takes far more memory than usual.
    fn weight(_key: &Self::Key, _value: &Self::Value) -> usize {
        1
    }

    /// Reads all rows, or those from a position on.
    fn read_rows(
        connection: &Connection,
        from: Option<Self::Position>,
        each: impl FnMut(Read<Self>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()>;

    /// Writes entries. Some may be there already.
    fn enter(connection: &Connection, entries: &[(Self::Key, Self::Value)])
    -> rusqlite::Result<()>;
}

/// A row that was read.
pub(crate) enum Read<L: Late + ?Sized> {
    /// One with an entry.
    Entry(L::Key, L::Value),
    /// One without an entry, at a position.
    Other(L::Position),
}

/// A deferred index in which single keys are looked up.
pub(crate) trait Lookup: Late {
    /// The value that the index has for a key.
    fn find_entered(
        connection: &Connection,
        key: &Self::Key,
    ) -> rusqlite::Result<Option<Self::Value>>;
}
