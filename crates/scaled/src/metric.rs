//! Descriptions of the issue path's metrics, for operators.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Describes all of them.
pub(crate) fn describe() {
    describe_histogram!(
        "goodpon_event_spare_seconds",
        "Time from an accepted issue's append to its valid_until; below 1 s the clocks are apart or the log is slow"
    );
    describe_counter!(
        "goodpon_events_unacknowledged_total",
        "Accepted issues that the log did not acknowledge in time: 503, and published again later"
    );
    describe_counter!(
        "goodpon_events_void_total",
        "Events that the log appended too late to count, as partners and issuers find them"
    );
    describe_counter!(
        "goodpon_gate_bumps_total",
        "Gates that this process gave up because they or their server were lost"
    );
    describe_counter!(
        "goodpon_gate_seals_total",
        "Gates that this process sealed: no event of an older epoch can become a coupon any more"
    );
    describe_counter!(
        "goodpon_gate_openings_total",
        "Epochs that this process brought to their server"
    );
    describe_counter!(
        "goodpon_gate_helps_total",
        "Reservations of others that were published again, by partners on their way and by the reconciler"
    );
    describe_gauge!(
        "goodpon_confirms_waiting",
        "Accepted issues that are not yet confirmed at their gate"
    );
    describe_counter!(
        "goodpon_confirms_left_total",
        "Accepted issues that could not be confirmed at their gate and are left to the reconciler, by reason: full or failed"
    );
    describe_counter!(
        "goodpon_gate_work_failures_total",
        "Failures of background work on gates, which is tried again, by task"
    );
    describe_counter!(
        "goodpon_gate_turned_away_total",
        "Issues answered 503 because too many waited for gates"
    );
    describe_histogram!(
        "goodpon_queue_append_seconds",
        "Time that the log took to acknowledge an accepted issue"
    );
    describe_counter!(
        "goodpon_queue_append_failures_total",
        "Appends to the log that failed, by whether it may have them all the same"
    );
    describe_counter!(
        "goodpon_issuer_records_total",
        "Records of the log that issuers processed, by outcome; held: the user had a coupon already; foreign: of another installation that uses the topic by mistake"
    );
    describe_histogram!(
        "goodpon_issuer_batch_seconds",
        "Time that an issuer's transaction took"
    );
    describe_gauge!(
        "goodpon_issuer_lag",
        "Records of a partition that this issuer has still to process"
    );
    describe_counter!(
        "goodpon_issuer_failures_total",
        "Batches that could not be written and are tried again"
    );
    describe_counter!(
        "goodpon_issuer_truncated_total",
        "Polls that found a partition without its next record: it stands still until an operator acts"
    );
    describe_counter!(
        "goodpon_database_retries_total",
        "Transactions that were run again after a deadlock, a lock or a lost connection"
    );
    describe_counter!(
        "goodpon_database_unprepared_total",
        "Statements sent as text because the database server takes no more prepared ones (max_prepared_stmt_count)"
    );
    describe_gauge!(
        "goodpon_issuer_standing",
        "1 for a partition that this process's issuer cannot process (/readyz has the reason); 0 once it goes on"
    );
}
