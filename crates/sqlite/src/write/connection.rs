//! The write connection.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::guard;

/// The time that a write waits for a lock of another process, such as a backup tool.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The log's file is cut back to this size once the log begins anew.
const KEPT_LOG_BYTES: i64 = 256 << 20;

/// Opens a connection with the settings of the writer.
pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    guard::distrust(&connection)?;
    connection.set_prepared_statement_cache_capacity(128);
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "cache_size", -8_192)?;
    connection.pragma_update(None, "journal_size_limit", KEPT_LOG_BYTES)?;
    // The checkpointer moves the log, beside the writer rather than within a commit.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}
