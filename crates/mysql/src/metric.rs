//! The metrics of the database server's use.

use goodpon_metric::Metric;

/// All of them.
pub const METRICS: [Metric; 2] = [
    Metric::counter(
        "goodpon_database_retries_total",
        "Transactions that were run again after a deadlock, a lock or a lost connection",
    ),
    Metric::counter(
        "goodpon_database_unprepared_total",
        "Statements sent as text because the database server takes no more prepared ones (max_prepared_stmt_count)",
    ),
];
