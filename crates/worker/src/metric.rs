//! The metrics of sweeps and of the delivery of mails.

use goodpon_metric::{Label, Metric};

const KIND: Label = Label::one_of(
    "kind",
    &[
        "expire_templates",
        "expire_coupons",
        "discard_coupons",
        "clean_up",
    ],
);

/// All of them.
pub const METRICS: [Metric; 5] = [
    Metric::counter(
        "goodpon_sweep_total",
        "Templates, coupons and records that schedules have settled",
    )
    .by(&[KIND]),
    Metric::counter(
        "goodpon_sweep_failures_total",
        "Batches of schedules that failed and are tried again",
    )
    .by(&[KIND]),
    Metric::counter(
        "goodpon_mail_deliveries_total",
        "Tries to hand a mail to the mail server, by outcome: sent, delayed (to be tried again), given_up; unnoted and panicked, after which the mail may go out again",
    )
    .by(&[Label::one_of(
        "outcome",
        &["sent", "delayed", "given_up", "unnoted", "panicked"],
    )]),
    Metric::gauge("goodpon_mail_due", "Mails that are due to be sent"),
    Metric::gauge(
        "goodpon_mail_oldest_due_seconds",
        "Time for which the mail is due that waits longest",
    ),
];
