//! What goes wrong between us and the server, and what follows from it.

use std::time::Duration;

use goodpon_application::ports::StoreError;
use mysql_async::{DriverError, Error};

/// What goes wrong in a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The server or the way there.
    #[error("{0}")]
    Sql(#[from] Error),
    /// No answer in time.
    #[error("the database did not answer in time")]
    TimedOut,
    /// All connections are in use, or none could be made in time.
    #[error("no connection to the database could be had in time")]
    NoConnection,
    /// A stored value that no version of this program writes.
    #[error("the database holds what goodpon did not write: {0}")]
    Corrupt(&'static str),
    /// Statements of ours that do not fit: nothing of their transaction counts.
    #[error("goodpon is wrong about its own statements: {0}")]
    Script(&'static str),
    /// Another transaction was first: the whole is to be run again, and decides anew.
    #[error("overtaken by another transaction, again and again")]
    Overtaken,
    /// The connection was lost while the server was told to commit.
    #[error("the connection was lost at the commit: {0}")]
    Commit(Box<Fault>),
}

/// A result within a session.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

const DUPLICATE_COLUMN: u16 = 1060;
const DUPLICATE_KEY_NAME: u16 = 1061;
const DUPLICATE_KEY: u16 = 1062;
/// A column or key was to be dropped that the table does not have.
const NOTHING_TO_DROP: u16 = 1091;
/// What a server says of a value that a column does not take: missing, out of range, not of its character set, too
/// long, against a check (by MySQL's number and by MariaDB's).
const VALUES: [u16; 6] = [1048, 1264, 1366, 1406, 3819, 4025];

/// The server has as many prepared statements as it takes.
const TOO_MANY_PREPARED: u16 = 1461;
/// A statement of that kind cannot be prepared.
const CANNOT_BE_PREPARED: u16 = 1295;

const DEADLOCK: u16 = 1213;
const LOCK_WAIT_TIMEOUT: u16 = 1205;
const RECORD_CHANGED: u16 = 1020;

/// What a server says on a connection that it closes: killed (by MySQL's name and by MariaDB's), idle for too long.
const CLOSED_BY_SERVER: [u16; 3] = [1053, 1927, 4031];

/// What a server says that takes no writes.
const READ_ONLY: [u16; 3] = [1290, 1792, 1836];

/// What a server says that knows no such user, password or database, or gives that user no right to it.
const REFUSALS: [u16; 4] = [1044, 1045, 1049, 1142];

/// Errors of the server that say that it cannot serve now: too many connections, shutting down, out of space or
/// memory, read only, a statement cut off, no such user or database any more.
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

    /// Whether a row was refused because a unique key has it already.
    pub(crate) fn is_duplicate(&self) -> bool {
        self.code() == Some(DUPLICATE_KEY)
    }

    /// Whether a column or key was to be added that the table has, or to be dropped that it does not have.
    pub(crate) fn is_done_already(&self) -> bool {
        self.code().is_some_and(|code| {
            [DUPLICATE_COLUMN, DUPLICATE_KEY_NAME, NOTHING_TO_DROP].contains(&code)
        })
    }

    /// Whether the statement is fine and only cannot be prepared, now or at all.
    pub(crate) fn is_about_preparing(&self) -> bool {
        self.code()
            .is_some_and(|code| [TOO_MANY_PREPARED, CANNOT_BE_PREPARED].contains(&code))
    }

    /// Whether a row was refused for what it says, or because a unique key has it already.
    pub(crate) fn is_about_a_row(&self) -> bool {
        self.is_duplicate() || self.code().is_some_and(|code| VALUES.contains(&code))
    }

    /// Whether the whole transaction may be run again at once: nothing of it was committed, and it may well succeed.
    pub(crate) fn may_be_repeated(&self) -> bool {
        match self {
            Self::Overtaken => true,
            // A connection that broke took its transaction along.
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

    /// Whether the server answers and does not let this user to this database: no waiting helps.
    pub(crate) fn is_refusal(&self) -> bool {
        self.code().is_some_and(|code| REFUSALS.contains(&code))
    }

    /// Whether the server, told to commit, did not, and says so. Whoever is interrupted at that moment cannot know.
    pub(crate) fn is_surely_undone(&self) -> bool {
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

    /// Whether other connections to this server are likely to be of no use either: it is gone, or no longer the one
    /// that takes writes.
    pub(crate) fn concerns_all_connections(&self) -> bool {
        match self {
            Self::Commit(lost) => lost.concerns_all_connections(),
            _ => {
                self.is_broken_connection()
                    || self.code().is_some_and(|code| READ_ONLY.contains(&code))
            }
        }
    }

    /// Whether the connection must not be used again: it is broken, or its server has a role that we cannot use.
    pub(crate) fn spoils_connection(&self) -> bool {
        match self.code() {
            Some(code) => OUTAGES.contains(&code),
            None => true,
        }
    }

    /// How long to wait before try number `tries` + 1.
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

    fn said(code: u16) -> Fault {
        let (message, state) = (String::new(), String::new());
        Fault::Sql(Error::Server(ServerError {
            code,
            message,
            state,
        }))
    }

    /// Servers of either make say it in their own way, or just close.
    #[test]
    fn whoever_is_killed_runs_again_but_not_after_its_commit() {
        for code in CLOSED_BY_SERVER {
            let fault = said(code);
            assert!(fault.may_be_repeated() && fault.spoils_connection());
            assert!(!fault.is_surely_undone());
            let commit = Fault::Commit(Box::new(fault));
            assert!(!commit.may_be_repeated() && commit.concerns_all_connections());
        }
        assert!(said(DEADLOCK).is_surely_undone() && !said(DEADLOCK).spoils_connection());
    }
}
