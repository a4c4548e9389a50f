//! The metrics of appends to the log.

use goodpon_metric::{Label, Metric};

/// All of them.
pub const METRICS: [Metric; 2] = [
    Metric::histogram(
        "goodpon_queue_append_seconds",
        "Time that the log took to acknowledge an accepted issue",
    ),
    Metric::counter(
        "goodpon_queue_append_failures_total",
        "Appends to the log that failed, by whether it may have them all the same: open if so, not_sent if not",
    )
    .by(&[Label::one_of("how", &["open", "not_sent"])]),
];
