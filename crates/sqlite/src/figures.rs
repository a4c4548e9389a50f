//! Descriptions of the embedded store's metrics, and the gauges of deferred indexes.

use metrics::{Gauge, describe_gauge, describe_histogram};

/// Describes all metrics of the store.
pub(crate) fn describe() {
    describe_histogram!(
        "goodpon_writer_batch_size",
        "Requests that were committed together"
    );
    describe_histogram!(
        "goodpon_writer_wait_seconds",
        "Time that a request waited until the writer took it"
    );
    describe_histogram!(
        "goodpon_writer_commit_seconds",
        "Time of a commit until it was on the disk"
    );
    describe_gauge!(
        "goodpon_writer_queue_depth",
        "Requests that wait for the writer"
    );
    describe_gauge!(
        "goodpon_database_wal_bytes",
        "Size of the database's log; it is moved into the database from 64 MiB on, unless something reads an old state of it"
    );
    describe_gauge!(
        "goodpon_late_entries_waiting",
        "Entries of committed rows that wait in memory for their index"
    );
    describe_gauge!(
        "goodpon_late_entries_stuck",
        "Entries that could not be written when they were tried last: run goodpon verify"
    );
    describe_gauge!(
        "goodpon_late_mark_lag",
        "Rows that were added since the mark was stored up to which an index is whole: at least these are read after a crash"
    );
}

/// The gauges of one deferred index.
pub(crate) struct LateFigures {
    pub(crate) waiting: Gauge,
    pub(crate) stuck: Gauge,
    pub(crate) mark_lag: Gauge,
}

impl LateFigures {
    pub(crate) fn of(index: &'static str) -> Self {
        Self {
            waiting: metrics::gauge!("goodpon_late_entries_waiting", "index" => index),
            stuck: metrics::gauge!("goodpon_late_entries_stuck", "index" => index),
            mark_lag: metrics::gauge!("goodpon_late_mark_lag", "index" => index),
        }
    }
}
