//! The moments of a group, for tests that look on between them or cut the power.

use rusqlite::Connection;

use super::published::Step;

/// A moment of a group. The state of memory and database may be seen, or lost, after each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The transaction has begun.
    Begun,
    /// A request has run.
    Ran,
    /// Counters and entries of deferred indexes are written.
    Flushed,
    Committed,
    /// A part of memory is published.
    Published(Step),
}

#[cfg(test)]
type Watcher = Box<dyn FnMut(Moment, &Connection) + Send>;

/// Nothing but in tests.
#[derive(Default)]
pub(crate) struct Watch {
    #[cfg(test)]
    watcher: Option<Watcher>,
}

impl Watch {
    /// Calls the watcher, if there is one.
    pub(super) fn pass(&mut self, _moment: Moment, _connection: &Connection) {
        #[cfg(test)]
        if let Some(watcher) = &mut self.watcher {
            watcher(_moment, _connection);
        }
    }

    /// Has every moment from now on watched.
    #[cfg(test)]
    pub(crate) fn by(watcher: impl FnMut(Moment, &Connection) + Send + 'static) -> Self {
        Self {
            watcher: Some(Box::new(watcher)),
        }
    }
}
