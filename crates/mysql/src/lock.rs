//! How rows are locked.

/// How a row is locked that is read to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Not at all: as it was committed last.
    None,
    /// Nobody may change it until the transaction ends.
    Shared,
    /// Nobody else may lock it until the transaction ends.
    Exclusive,
}

impl Lock {
    /// What stands behind the SELECT. The old wording for shared is the one that MariaDB knows too.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Shared => " LOCK IN SHARE MODE",
            Self::Exclusive => " FOR UPDATE",
        }
    }
}
