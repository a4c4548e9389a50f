//! The metrics of the use cases.

use goodpon_domain::coupon::IssueRefusal;
use goodpon_domain::redemption::{CancelRefusal, RedeemRefusal};
use goodpon_metric::{Label, Metric};

use crate::idempotency::Outcome;
use crate::ports::{CancelOutcome, IssueOutcome, RedeemOutcome};

/// All of them.
pub const METRICS: [Metric; 4] = [
    Metric::counter(
        "goodpon_issue_total",
        "Issues that ran, by outcome; replays of an idempotency key do not count",
    )
    .by(&[Label::one_of(
        "outcome",
        &[
            "issued",
            "not_found",
            "not_owned",
            "period",
            "not_issuable",
            "already_issued",
            "sold_out",
        ],
    )]),
    Metric::counter(
        "goodpon_redeem_total",
        "Redemptions that ran, by outcome; replays of an idempotency key do not count",
    )
    .by(&[Label::one_of(
        "outcome",
        &[
            "redeemed",
            "not_found",
            "not_owned",
            "not_redeemable",
            "condition_not_met",
            "already_redeemed",
            "expired",
            "limit_reached",
        ],
    )]),
    Metric::counter(
        "goodpon_cancel_total",
        "Cancellations of redemptions that ran, by outcome; replays of an idempotency key do not count",
    )
    .by(&[Label::one_of(
        "outcome",
        &[
            "canceled",
            "not_found",
            "not_owned",
            "already_canceled",
            "not_allowed",
            "order_mismatch",
        ],
    )]),
    Metric::counter(
        "goodpon_idempotency_total",
        "Requests with an idempotency key that was used before: replayed, of another body (mismatch), or still running (processing)",
    )
    .by(&[Label::one_of(
        "outcome",
        &["replayed", "mismatch", "processing"],
    )]),
];

/// Counts an issue.
pub(crate) fn count_issue(outcome: &Outcome<IssueOutcome>) {
    let Some(outcome) = ran(outcome) else {
        return;
    };
    let outcome = match outcome {
        Ok(_) => "issued",
        Err(IssueRefusal::TemplateNotFound) => "not_found",
        Err(IssueRefusal::NotOwnedByMerchant) => "not_owned",
        Err(IssueRefusal::NotIssuablePeriod) => "period",
        Err(IssueRefusal::NotIssuable) => "not_issuable",
        Err(IssueRefusal::AlreadyIssued) => "already_issued",
        Err(IssueRefusal::SoldOut) => "sold_out",
    };
    metrics::counter!("goodpon_issue_total", "outcome" => outcome).increment(1);
}

/// Counts a redemption.
pub(crate) fn count_redemption(outcome: &Outcome<RedeemOutcome>) {
    let Some(outcome) = ran(outcome) else {
        return;
    };
    let outcome = match outcome {
        Ok(_) => "redeemed",
        Err(RedeemRefusal::CouponNotFound | RedeemRefusal::TemplateNotFound) => "not_found",
        Err(RedeemRefusal::NotOwnedByMerchant | RedeemRefusal::NotOwnedByUser) => "not_owned",
        Err(RedeemRefusal::NotRedeemable) => "not_redeemable",
        Err(RedeemRefusal::ConditionNotMet) => "condition_not_met",
        Err(RedeemRefusal::AlreadyRedeemed) => "already_redeemed",
        Err(RedeemRefusal::Expired) => "expired",
        Err(RedeemRefusal::RedeemLimitReached) => "limit_reached",
    };
    metrics::counter!("goodpon_redeem_total", "outcome" => outcome).increment(1);
}

/// Counts a cancellation.
pub(crate) fn count_cancellation(outcome: &Outcome<CancelOutcome>) {
    let Some(outcome) = ran(outcome) else {
        return;
    };
    let outcome = match outcome {
        Ok(_) => "canceled",
        Err(CancelRefusal::CouponNotFound | CancelRefusal::TemplateNotFound) => "not_found",
        Err(CancelRefusal::NotOwnedByMerchant) => "not_owned",
        Err(CancelRefusal::AlreadyCancelled) => "already_canceled",
        Err(CancelRefusal::NotAllowed) => "not_allowed",
        Err(CancelRefusal::OrderIdMismatch) => "order_mismatch",
    };
    metrics::counter!("goodpon_cancel_total", "outcome" => outcome).increment(1);
}

/// Returns the outcome of a request that ran, and counts one that did not because of its key.
fn ran<T>(outcome: &Outcome<T>) -> Option<&T> {
    let of_key = match outcome {
        Outcome::Ran(outcome) => return Some(outcome),
        Outcome::Replayed(_) => "replayed",
        Outcome::PayloadMismatch => "mismatch",
        Outcome::Processing => "processing",
    };
    metrics::counter!("goodpon_idempotency_total", "outcome" => of_key).increment(1);
    None
}
