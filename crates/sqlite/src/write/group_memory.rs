//! The writer's memory of the running group, and of what it knows of the rows.

use rusqlite::Connection;

use super::{activity::Activity, common_answers::CommonAnswers, touched::TouchedTemplates};
use crate::late::{coupon_state::States, holder::Holders, index::LateIndex, key::Keys};

/// All that requests change in memory. A group's changes are published after its commit or forgotten with its rollback,
/// all of them.
pub(crate) struct GroupMemory {
    /// Templates that requests of the group have looked at, with their counters.
    pub(crate) touched: TouchedTemplates,
    /// The seconds in which templates recorded something.
    pub(crate) activity: Activity,
    /// Ids of common answers.
    pub(crate) answers: CommonAnswers,
    /// Records of idempotency keys.
    pub(crate) keys: LateIndex<Keys>,
    /// Holders of coupons.
    pub(crate) holders: LateIndex<Holders>,
    /// States of coupons.
    pub(crate) states: LateIndex<States>,
}

impl GroupMemory {
    /// Reads what waits for the deferred indexes, each of which may have a backlog of this weight.
    pub(crate) fn open(connection: &Connection, backlog: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            touched: TouchedTemplates::default(),
            activity: Activity::default(),
            answers: CommonAnswers::default(),
            keys: LateIndex::open(connection, backlog)?,
            holders: LateIndex::open(connection, backlog)?,
            states: LateIndex::open(connection, backlog)?,
        })
    }

    /// Writes what requests left for the end of their group: counters, and the group's part in the deferred indexes.
    pub(crate) fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.touched.flush(connection)?;
        self.keys.enter_some(connection)?;
        self.holders.enter_some(connection)?;
        self.states.enter_some(connection)
    }

    /// Enters all entries that wait, between two groups.
    pub(crate) fn enter_all(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.keys.enter_all(connection)?;
        self.holders.enter_all(connection)?;
        self.states.enter_all(connection)
    }

    /// Forgets the group's changes: it is rolled back.
    pub(crate) fn forget(&mut self) {
        self.touched.forget();
        self.activity.forget();
        self.answers.forget();
        self.keys.forget();
        self.holders.forget();
        self.states.forget();
    }
}
