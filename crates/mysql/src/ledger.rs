//! Writes postings: the state of a coupon and its ledger entries.

use goodpon_domain::{id::HistoryId, ledger::Posting};
use jiff::Timestamp;

use crate::{
    codec::{coupon_status, history_action, micros},
    coupon_state::StoredCoupon,
    script::Script,
};

/// Adds to `script` the writes of a posting, except those of the template's counters: the coupon's state, and its entries,
/// all recorded at `at`, the first with id `id` and the others with the ids after it. The script fails with
/// [`crate::fault::Fault::Overtaken`] if the coupon was changed since it was read.
pub(crate) fn post(
    script: &mut Script,
    stored: &StoredCoupon,
    at: Timestamp,
    id: HistoryId,
    posting: &Posting,
) {
    let StoredCoupon { coupon, changed_at } = stored;
    let (coupon_id, at) = (coupon.id.to_bytes(), micros(at));
    script.add_must_change(
        "UPDATE coupons SET status = ?, changed_at = ?, order_id = ? WHERE id = ? AND changed_at = ?",
        [
            coupon_status::code(posting.state.status).into(),
            at.into(),
            posting.state.order_id.as_deref().into(),
            (&coupon_id).into(),
            micros(*changed_at).into(),
        ],
    );
    let mut id = id;
    for transition in &posting.transitions {
        script.add(
            "INSERT INTO coupon_histories
                 (merchant_id, recorded_at, id, template_id, action, coupon_id, order_id, reason, order_amount,
                  discount_amount)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                coupon.merchant_id.0.into(),
                at.into(),
                (&id.to_bytes()).into(),
                coupon.template_id.0.into(),
                history_action::code(transition.action).into(),
                (&coupon_id).into(),
                transition.order_id.as_deref().into(),
                transition.reason.as_deref().into(),
                transition.amounts.order.into(),
                transition.amounts.discount.into(),
            ],
        );
        id = id.next();
    }
}
