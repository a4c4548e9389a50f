//! The metrics of calls to Valkey.

use goodpon_metric::{Label, Metric};

/// All of them.
pub const METRICS: [Metric; 2] = [
    Metric::counter(
        "goodpon_valkey_errors_total",
        "Calls to Valkey that failed, by kind",
    )
    .by(&[Label::any(
        "kind",
        "the code of the error by the server, such as `OOM`, or else by the client, such as `timeout`",
    )]),
    Metric::gauge(
        "goodpon_valkey_memory_used_ratio",
        "Used memory of Valkey as a share of maxmemory; 0 where it has no limit",
    ),
];
