//! Writing: one thread owns the only write connection and commits in groups.

pub(crate) mod activity;
pub(crate) mod checkpoint;
pub(crate) mod checkpointer;
pub(crate) mod common_answers;
pub(crate) mod connection;
pub(crate) mod disk;
pub(crate) mod group;
pub(crate) mod group_memory;
pub(crate) mod published;
pub(crate) mod pulse;
pub(crate) mod template_cache;
pub(crate) mod touched;
pub(crate) mod tx;
pub(crate) mod walk;
pub(crate) mod watch;
pub(crate) mod writer;
