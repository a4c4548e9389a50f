//! The writing of the ledger: entries of coupons, with their states and counters.

use goodpon_domain::{
    coupon::Coupon,
    id::HistoryId,
    ledger::{HistoryAction, Posting, Transition},
};
use rusqlite::params;

use crate::{
    codec::history_action,
    late::coupon_state::{Change, State, Stored},
    position::LedgerPosition,
    write::tx::Tx,
};

/// Writes a decision about a coupon: its entries, its state behind the last of them, and its template's counters.
pub(crate) fn post(tx: &mut Tx<'_>, stored: &Stored, posting: Posting) -> rusqlite::Result<()> {
    let coupon = &stored.coupon;
    let mut change = stored.change;
    for transition in &posting.transitions {
        let id = tx.history_id();
        change = Some(write(tx, coupon, transition, id, change)?);
    }
    if let Some(change) = change {
        let state = State {
            status: posting.state.status,
            order_id: posting.state.order_id.map(Into::into),
            change,
        };
        tx.memory.states.add(coupon.id.to_bytes(), state);
    }
    if posting.counts.redeemed != 0
        && let Some(template) = tx.template(coupon.template_id)?
    {
        template.redeem_count += posting.counts.redeemed;
    }
    Ok(())
}

/// Writes an entry as of the transaction's instant, behind the coupon's last one if that is not the ISSUE.
pub(crate) fn write(
    tx: &mut Tx<'_>,
    coupon: &Coupon,
    transition: &Transition,
    id: HistoryId,
    behind: Option<Change>,
) -> rusqlite::Result<Change> {
    let number = match transition.action {
        HistoryAction::Issue => 0,
        _ => behind.map_or(0, |change| change.number) + 1,
    };
    let position = LedgerPosition::new(tx.now, id.to_bytes());
    tx.connection
        .prepare_cached(
            "INSERT INTO coupon_histories
             (template_id, recorded_at, id, merchant_id, action, coupon_id, number, previous_at, previous_id, order_id, reason,
              order_amount, discount_amount)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            coupon.template_id.0,
            position.micros,
            position.id,
            coupon.merchant_id.0,
            history_action::code(transition.action),
            coupon.id.to_bytes(),
            number,
            behind.map(|change| change.position.micros),
            behind.map(|change| change.position.id),
            transition.order_id,
            transition.reason,
            transition.amounts.order,
            transition.amounts.discount,
        ])?;
    tx.memory.activity.note(
        tx.connection,
        coupon.merchant_id,
        coupon.template_id,
        position.micros,
    )?;
    Ok(Change { number, position })
}
