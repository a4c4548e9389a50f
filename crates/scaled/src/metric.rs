//! What the figures of the issue path mean, for who watches them.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Describes all of them.
pub(crate) fn describe() {
    describe_histogram!(
        "goodpon_event_spare_seconds",
        "How long before valid_until the log took accepted issues in; below 1 clocks or the log are in trouble"
    );
    describe_counter!(
        "goodpon_events_unacknowledged_total",
        "Accepted issues that the log did not acknowledge in time: 503, and published again later"
    );
    describe_counter!(
        "goodpon_events_void_total",
        "Events that the log took in too late to count, as partners and issuers find them"
    );
    describe_counter!(
        "goodpon_gate_bumps_total",
        "Gates that this process gave up because they or their server were lost"
    );
    describe_counter!(
        "goodpon_gate_seals_total",
        "Gates that this process sealed: nothing of older epochs can become a coupon any more"
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
        "Accepted issues whose gate is still to be told that they count"
    );
    describe_counter!(
        "goodpon_confirms_left_total",
        "Accepted issues whose gate could not be told and that the reconciler settles, by why: full or failed"
    );
    describe_counter!(
        "goodpon_gate_work_failures_total",
        "What background work on gates failed with and tries again, by task: one gate each"
    );
    describe_counter!(
        "goodpon_gate_turned_away_total",
        "Issues answered 503 because too many waited for gates"
    );
    describe_histogram!(
        "goodpon_queue_append_seconds",
        "How long the log took to acknowledge an accepted issue"
    );
    describe_counter!(
        "goodpon_queue_append_failures_total",
        "Appends to the log that failed, by whether it may have them all the same"
    );
    describe_counter!(
        "goodpon_issuer_records_total",
        "Records of the log that issuers worked through, by what became of them; foreign are those of another installation that uses the topic by mistake"
    );
    describe_histogram!(
        "goodpon_issuer_batch_seconds",
        "How long an issuer's transaction took"
    );
    describe_gauge!(
        "goodpon_issuer_lag",
        "Records of a partition that this issuer has still to work through"
    );
    describe_counter!(
        "goodpon_issuer_failures_total",
        "Batches that could not be written and are tried again"
    );
    describe_counter!(
        "goodpon_issuer_truncated_total",
        "Times that a partition was found to lack what was not worked through: it stands still until that is settled"
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
        "1 for a partition that this process's issuer cannot go on with, as /readyz says why; 0 once it goes on"
    );
}
