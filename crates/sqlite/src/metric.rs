//! The metrics of the embedded store, and the gauges of its deferred indexes.

use goodpon_metric::{Label, Metric};
use metrics::Gauge;

const INDEX: Label = Label::one_of(
    "index",
    &["coupon_holders", "idempotency_keys", "coupon_states"],
);

/// All of them.
pub const METRICS: [Metric; 8] = [
    Metric::histogram(
        "goodpon_writer_batch_size",
        "Requests that were committed together",
    ),
    Metric::histogram(
        "goodpon_writer_wait_seconds",
        "Time that a request waited until the writer took it",
    ),
    Metric::histogram(
        "goodpon_writer_commit_seconds",
        "Time of a commit until it was on the disk",
    ),
    Metric::gauge(
        "goodpon_writer_queue_depth",
        "Requests that wait for the writer",
    ),
    Metric::gauge(
        "goodpon_database_wal_bytes",
        "Size of the database's log; it is moved into the database from 64 MiB on, unless something reads an old state of it",
    ),
    Metric::gauge(
        "goodpon_late_entries_waiting",
        "Entries of committed rows that wait in memory for their index",
    )
    .by(&[INDEX]),
    Metric::gauge(
        "goodpon_late_entries_stuck",
        "Entries that could not be written when they were tried last: run goodpon verify",
    )
    .by(&[INDEX]),
    Metric::gauge(
        "goodpon_late_mark_lag",
        "Rows that were added since the mark was stored up to which an index is whole: at least these are read after a crash",
    )
    .by(&[INDEX]),
];

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
