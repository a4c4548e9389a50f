//! The metrics of background tasks.

use goodpon_metric::{Label, Metric};

const TASK: Label = Label::any("task", "the name of the task, as in `/readyz`");

/// All of them.
pub const METRICS: [Metric; 2] = [
    Metric::gauge(
        "goodpon_task_up",
        "1 while the background task runs, 0 while it rests after a failure or has ended",
    )
    .by(&[TASK]),
    Metric::counter(
        "goodpon_task_restarts_total",
        "Times that the background task was run anew after a failure",
    )
    .by(&[TASK]),
];
