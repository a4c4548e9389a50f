//! Redemptions and their cancellation.

use goodpon_application::ports::{CancelOutcome, CancelRequest, RedeemOutcome, RedeemRequest};
use goodpon_domain::{
    coupon::CouponStatus,
    id::CouponId,
    ledger::{Amounts, Decision},
    redemption::{self as rules, CancelInput},
    template::Template,
};
use rusqlite::{OptionalExtension, params};

use crate::{
    late::coupon_state::{Change, Stored},
    ledger,
    write::tx::Tx,
};

/// Loads a coupon and its template as the transaction sees them.
fn load_both(
    tx: &mut Tx<'_>,
    id: CouponId,
) -> rusqlite::Result<(Option<Stored>, Option<Template>)> {
    let stored = tx.memory.states.load(tx.connection, id)?;
    let template = match &stored {
        Some(stored) => tx.template(stored.coupon.template_id)?.cloned(),
        None => None,
    };
    Ok((stored, template))
}

pub(crate) fn redeem(tx: &mut Tx<'_>, request: &RedeemRequest) -> rusqlite::Result<RedeemOutcome> {
    let (found, template) = load_both(tx, request.coupon_id)?;
    let decision = rules::redeem(
        found.as_ref().map(|stored| &stored.coupon),
        template.as_ref(),
        request.merchant_id,
        &request.order,
        tx.now,
    );
    let (outcome, posting) = Decision::split(decision);
    if let (Some(stored), Some(posting)) = (&found, posting) {
        ledger::post(tx, stored, posting)?;
    }
    Ok(outcome)
}

/// The amounts of a redeemed coupon's last entry, which is its REDEEM.
fn last_amounts(tx: &Tx<'_>, stored: &Stored) -> rusqlite::Result<Amounts> {
    let Some(Change { position, .. }) = stored.change else {
        return Ok(Amounts::default());
    };
    let found = tx
        .connection
        .prepare_cached(
            "SELECT order_amount, discount_amount FROM coupon_histories
             WHERE template_id = ?1 AND recorded_at = ?2 AND id = ?3",
        )?
        .query_row(
            params![stored.coupon.template_id.0, position.micros, position.id],
            |row| {
                Ok(Amounts {
                    order: row.get(0)?,
                    discount: row.get(1)?,
                })
            },
        )
        .optional()?;
    // An entry that is missing is damage, which the audit reports.
    Ok(found.unwrap_or_default())
}

pub(crate) fn cancel(tx: &mut Tx<'_>, request: &CancelRequest) -> rusqlite::Result<CancelOutcome> {
    let (found, template) = load_both(tx, request.coupon_id)?;
    let redeemed = match &found {
        Some(stored) if stored.coupon.status == CouponStatus::Redeemed => last_amounts(tx, stored)?,
        _ => Amounts::default(),
    };
    let wish = CancelInput {
        order_id: &request.order_id,
        reason: &request.reason,
    };
    let decision = rules::cancel(
        found.as_ref().map(|stored| &stored.coupon),
        template.as_ref(),
        request.merchant_id,
        wish,
        redeemed,
        tx.now,
    );
    let (outcome, posting) = Decision::split(decision);
    if let (Some(stored), Some(posting)) = (&found, posting) {
        ledger::post(tx, stored, posting)?;
    }
    Ok(outcome)
}
