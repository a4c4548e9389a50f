//! Row locks.

/// The lock that a SELECT takes on its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// None: reads the row as it was committed last.
    None,
    /// No transaction may change the row until this one ends.
    Shared,
    /// No other transaction may lock or change the row until this one ends.
    Exclusive,
}

impl Lock {
    /// Returns the clause after the SELECT. MariaDB knows only the old form of the shared lock.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Shared => " LOCK IN SHARE MODE",
            Self::Exclusive => " FOR UPDATE",
        }
    }
}
