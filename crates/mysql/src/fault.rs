//! The failures of sessions, and how each is handled: repeated, answered 503 or 500, its connection closed or kept.

use std::time::Duration;

use goodpon_application::ports::StoreError;
use mysql_async::{DriverError, Error};

/// A failure of a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// An error of the server, of the connection or of the driver.
    #[error("{0}")]
    Sql(#[from] Error),
    /// The server did not answer in time.
    #[error("the database did not answer in time")]
    TimedOut,
    /// All connections are in use, or none could be opened in time.
    #[error("no connection to the database was free in time")]
    NoConnection,
    /// A stored value that no version of this program writes.
    #[error("the database has a value that goodpon did not write: {0}")]
    Corrupt(&'static str),
    /// A mistake in our own statements. Their transaction is rolled back.
    #[error("goodpon's own statements are wrong: {0}")]
    Script(&'static str),
    /// Another transaction was first: this one is to be run again from the start.
    #[error("other transactions were first, at every try")]
    Overtaken,
    /// The connection was lost during the COMMIT.
    #[error("the connection was lost during the commit: {0}")]
    Commit(Box<Fault>),
}

/// A result within a session.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

const DUPLICATE_COLUMN: u16 = 1060;
const DUPLICATE_KEY_NAME: u16 = 1061;
const DUPLICATE_KEY: u16 = 1062;
/// The column or key to be dropped does not exist.
const NOTHING_TO_DROP: u16 = 1091;
/// A column does not take the value: it is null, out of range, not of the column's character set, too long, or against a
/// check (MySQL's number and MariaDB's).
const BAD_VALUES: [u16; 6] = [1048, 1264, 1366, 1406, 3819, 4025];

/// The server has the most prepared statements that it allows.
const TOO_MANY_PREPARED: u16 = 1461;
/// A statement of that kind cannot be prepared.
const CANNOT_BE_PREPARED: u16 = 1295;

const DEADLOCK: u16 = 1213;
const LOCK_WAIT_TIMEOUT: u16 = 1205;
const RECORD_CHANGED: u16 = 1020;

/// The server closes the connection: it was killed (MySQL's number and MariaDB's), or idle for too long.
const CLOSED_BY_SERVER: [u16; 3] = [1053, 1927, 4031];

/// The server takes no writes.
const READ_ONLY: [u16; 3] = [1290, 1792, 1836];

/// The server knows no such user, password or database, or the user has no right to the database.
const REFUSALS: [u16; 4] = [1044, 1045, 1049, 1142];

/// The server cannot serve now: too many connections, shutting down, out of space or memory, read only, statement cut
/// off, user or database not there any more.
const OUTAGES: [u16; 27] = [
    1021, 1023, 1026, 1030, 1037, 1038, 1040, 1041, 1044, 1045, 1049, 1053, 1114, 1129, 1152, 1161,
    1180, 1203, 1226, 1290, 1317, 1792, 1836, 1927, 1969, 3024, 4031,
];

impl Fault {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Sql(Error::Server(error)) => Some(error.code),
            _ => None,
        }
    }

    /// Returns whether a row was refused because a unique key has its value already.
    pub(crate) fn is_duplicate(&self) -> bool {
        self.code() == Some(DUPLICATE_KEY)
    }

    /// Returns whether a schema statement failed because it was done before: the column or key exists already, or, if it
    /// was to be dropped, does not exist.
    pub(crate) fn is_done_already(&self) -> bool {
        self.code().is_some_and(|code| {
            [DUPLICATE_COLUMN, DUPLICATE_KEY_NAME, NOTHING_TO_DROP].contains(&code)
        })
    }

    /// Returns whether only the preparation failed, so that the statement may succeed as text.
    pub(crate) fn is_failed_prepare(&self) -> bool {
        self.code()
            .is_some_and(|code| [TOO_MANY_PREPARED, CANNOT_BE_PREPARED].contains(&code))
    }

    /// Returns whether a row was refused for its values, or because a unique key has one of them already.
    pub(crate) fn is_about_a_row(&self) -> bool {
        self.is_duplicate() || self.code().is_some_and(|code| BAD_VALUES.contains(&code))
    }

    /// Returns whether the whole transaction may be run again: nothing of it was committed, and it is likely to succeed.
    pub(crate) fn may_be_repeated(&self) -> bool {
        match self {
            Self::Overtaken => true,
            // The server rolls a transaction back when its connection breaks.
            Self::Sql(_) if self.is_broken_connection() => true,
            Self::Sql(_) => self
                .code()
                .is_some_and(|code| [DEADLOCK, LOCK_WAIT_TIMEOUT, RECORD_CHANGED].contains(&code)),
            Self::TimedOut
            | Self::NoConnection
            | Self::Corrupt(_)
            | Self::Script(_)
            | Self::Commit(_) => false,
        }
    }

    /// Returns whether the server refuses this user or database, so that waiting does not help.
    pub(crate) fn is_refusal(&self) -> bool {
        self.code().is_some_and(|code| REFUSALS.contains(&code))
    }

    /// Returns whether a COMMIT surely failed, because the server itself says so. Any other error leaves the outcome open.
    pub(crate) fn is_surely_rolled_back(&self) -> bool {
        self.code()
            .is_some_and(|code| code == DEADLOCK || READ_ONLY.contains(&code))
    }

    fn is_broken_connection(&self) -> bool {
        match self {
            Self::Sql(Error::Io(_) | Error::Driver(DriverError::ConnectionClosed)) => true,
            _ => self
                .code()
                .is_some_and(|code| CLOSED_BY_SERVER.contains(&code)),
        }
    }

    /// Returns whether the other connections to this server are likely to be useless too: the server is gone, or takes no
    /// writes any more.
    pub(crate) fn concerns_all_connections(&self) -> bool {
        match self {
            Self::Commit(lost) => lost.concerns_all_connections(),
            _ => {
                self.is_broken_connection()
                    || self.code().is_some_and(|code| READ_ONLY.contains(&code))
            }
        }
    }

    /// Returns whether the connection must not be used again: it is broken, or its server cannot serve.
    pub(crate) fn spoils_connection(&self) -> bool {
        match self.code() {
            Some(code) => OUTAGES.contains(&code),
            None => true,
        }
    }

    /// Returns the wait before the next run, after `tries` runs: 2 ms, doubled each time, up to 64 ms.
    pub(crate) fn pause_before_retry(tries: u32) -> Duration {
        Duration::from_millis(1 << tries.min(6))
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        let reason = fault.to_string();
        match &fault {
            Fault::Commit(_) => Self::Unavailable {
                reason,
                may_have_happened: true,
            },
            Fault::Corrupt(_) | Fault::Script(_) => Self::Unexpected(reason),
            Fault::TimedOut | Fault::NoConnection | Fault::Overtaken => Self::Unavailable {
                reason,
                may_have_happened: false,
            },
            Fault::Sql(_) => {
                let is_outage = fault.may_be_repeated()
                    || fault.is_broken_connection()
                    || fault.code().is_some_and(|code| OUTAGES.contains(&code));
                match is_outage {
                    true => Self::Unavailable {
                        reason,
                        may_have_happened: false,
                    },
                    false => Self::Unexpected(reason),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mysql_async::ServerError;

    use super::*;

    fn server_error(code: u16) -> Fault {
        let (message, state) = (String::new(), String::new());
        Fault::Sql(Error::Server(ServerError {
            code,
            message,
            state,
        }))
    }

    #[test]
    fn a_killed_transaction_runs_again_but_not_after_its_commit() {
        for code in CLOSED_BY_SERVER {
            let fault = server_error(code);
            assert!(fault.may_be_repeated() && fault.spoils_connection());
            assert!(!fault.is_surely_rolled_back());
            let commit = Fault::Commit(Box::new(fault));
            assert!(!commit.may_be_repeated() && commit.concerns_all_connections());
        }
        let deadlock = server_error(DEADLOCK);
        assert!(deadlock.is_surely_rolled_back() && !deadlock.spoils_connection());
    }
}
