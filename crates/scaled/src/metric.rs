//! The metrics of the issue path, by what a process does.

use goodpon_metric::{Label, Metric};

pub use goodpon_valkey::metric::METRICS as OF_VALKEY;

const PARTITION: Label = Label::any("partition", "the number of the partition");

/// Those of every process of a scaled-out set.
pub const METRICS: [Metric; 4] = [
    Metric::counter(
        "goodpon_gate_bumps_total",
        "Gates that this process gave up because they or their server were lost",
    ),
    Metric::counter(
        "goodpon_gate_seals_total",
        "Gates that this process sealed: no event of an older epoch can become a coupon any more",
    ),
    Metric::counter(
        "goodpon_gate_openings_total",
        "Epochs that this process brought to their server",
    ),
    Metric::counter(
        "goodpon_gate_work_failures_total",
        "Failures of background work on gates, which is tried again, by task",
    )
    .by(&[Label::one_of(
        "task",
        &[
            "gate_beat",
            "log_follower",
            "gate_mover",
            "reconciler",
            "topic_watcher",
        ],
    )]),
];

/// Those of a process that answers partners.
pub const OF_PARTNERS: [Metric; 7] = [
    Metric::histogram(
        "goodpon_event_spare_seconds",
        "Time from an accepted issue's append to its valid_until; below 1 s the clocks are apart or the log is slow",
    ),
    Metric::counter(
        "goodpon_events_unacknowledged_total",
        "Accepted issues that the log did not acknowledge in time: 503, and published again later",
    ),
    Metric::counter(
        "goodpon_events_void_total",
        "Events that the log appended too late to count, as this process found when it published them: 503; issuers count those that they read as goodpon_issuer_records_total with the outcome void",
    ),
    Metric::counter(
        "goodpon_gate_helps_total",
        "Reservations of others that were published again: by a partner on the way of a request, or by the reconciler",
    )
    .by(&[Label::one_of("by", &["partner", "reconciler"])]),
    Metric::counter(
        "goodpon_gate_turned_away_total",
        "Issues answered 503 because too many waited for gates",
    ),
    Metric::gauge(
        "goodpon_confirms_waiting",
        "Accepted issues that are not yet confirmed at their gate",
    ),
    Metric::counter(
        "goodpon_confirms_left_total",
        "Accepted issues that could not be confirmed at their gate and are left to the reconciler, by reason: full or failed",
    )
    .by(&[Label::one_of("why", &["full", "failed"])]),
];

/// Those of an issuer.
pub const OF_ISSUERS: [Metric; 6] = [
    Metric::counter(
        "goodpon_issuer_records_total",
        "Records of the log that issuers processed, by outcome; held: the user had a coupon already; void: appended too late to count; foreign: of another installation that uses the topic by mistake",
    )
    .by(&[Label::one_of(
        "outcome",
        &["written", "held", "void", "parked", "foreign"],
    )]),
    Metric::histogram(
        "goodpon_issuer_batch_seconds",
        "Time that an issuer's transaction took",
    ),
    Metric::gauge(
        "goodpon_issuer_lag",
        "Records of a partition that this issuer has still to process",
    )
    .by(&[PARTITION]),
    Metric::counter(
        "goodpon_issuer_failures_total",
        "Batches that could not be written and are tried again",
    ),
    Metric::counter(
        "goodpon_issuer_truncated_total",
        "Polls that found a partition without its next record: it stands still until an operator acts",
    ),
    Metric::gauge(
        "goodpon_issuer_standing",
        "1 for a partition that this process's issuer cannot process (/readyz has the reason); 0 once it goes on",
    )
    .by(&[PARTITION]),
];
