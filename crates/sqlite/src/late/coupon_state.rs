//! States of coupons since their issue.
//!
//! They follow from the ledger: each entry has its number among those of its coupon, and the position of the one before it.
//! A coupon's row has its state as a deferred index into the ledger: redemptions come in no order, and each would rewrite a
//! page of its own otherwise. So a coupon's state is the one that waits for its row, or else the one in the row.

use goodpon_domain::{
    coupon::{Coupon, CouponStatus},
    id::{CouponId, MerchantId, TemplateId},
    ledger::HistoryAction,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    codec::{coupon_id, coupon_status, history_action, optional_timestamp, timestamp},
    late::{Late, Read, index::LateIndex, waiting::Waiting},
    position::LedgerPosition,
};

/// The last entry of a coupon behind its ISSUE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// 1 for the first behind the ISSUE.
    pub(crate) number: i64,
    pub(crate) position: LedgerPosition,
}

/// A coupon with the entry that made its state, if it is not the ISSUE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) coupon: Coupon,
    pub(crate) change: Option<Change>,
}

impl Stored {
    /// The number of entries behind its ISSUE.
    pub(crate) fn changes(&self) -> i64 {
        self.change.map_or(0, |change| change.number)
    }

    /// The coupon in the state that waited before its row was read, unless the row has taken up a later one since.
    pub(crate) fn with(mut self, waiting: Option<State>) -> Self {
        if let Some(state) = waiting.filter(|state| state.change.number > self.changes()) {
            self.coupon.status = state.status;
            self.coupon.order_id = state.order_id.map(Into::into);
            self.change = Some(state.change);
        }
        self
    }
}

/// A query of the columns that [`read`] reads, with its rest, as one constant.
macro_rules! select_coupons {
    ($rest:literal) => {
        concat!(
            "SELECT id, merchant_id, template_id, user_id, status, issued_at, expires_at, order_id, \
             changes, changed_at, change_id ",
            $rest
        )
    };
}
pub(crate) use select_coupons;

/// Reads a row of [`select_coupons`], which has 11 columns.
pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let coupon = Coupon {
        id: coupon_id(row, 0)?,
        merchant_id: MerchantId(row.get(1)?),
        template_id: TemplateId(row.get(2)?),
        user_id: row.get(3)?,
        status: coupon_status::read(row, 4)?,
        issued_at: timestamp(row, 5)?,
        expires_at: optional_timestamp(row, 6)?,
        order_id: row.get(7)?,
    };
    let change = match (row.get(8)?, LedgerPosition::read_optional(row, 9, 10)?) {
        (0, None) => None,
        // One without the other is damage, which the audit reports.
        (number, position) => Some(Change {
            number,
            position: position.unwrap_or(LedgerPosition::BEGINNING),
        }),
    };
    Ok(Stored { coupon, change })
}

/// A coupon's state by an entry behind its ISSUE.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) status: CouponStatus,
    /// The order of the last redemption.
    pub(crate) order_id: Option<Box<str>>,
    pub(crate) change: Change,
}

/// The states in the rows of coupons.
pub(crate) struct States;

/// An EXPIRE or DISCARD has no order itself: the order of the last redemption, if there was one, is in the entry before it.
const ENTRIES: &str =
    "SELECT h.coupon_id, h.action, h.recorded_at, h.id, h.number, coalesce(h.order_id, p.order_id)
     FROM coupon_histories h LEFT JOIN coupon_histories p
         ON p.template_id = h.template_id AND p.recorded_at = h.previous_at AND p.id = h.previous_id
     WHERE h.template_id = ?1 AND (h.recorded_at, h.id) >= (?2, ?3)";

fn read_change(row: &Row<'_>) -> rusqlite::Result<State> {
    let position = LedgerPosition::read(row, 2, 3)?;
    Ok(State {
        status: history_action::read(row, 1)?.leads_to(),
        order_id: row.get(5)?,
        change: Change {
            number: row.get(4)?,
            position,
        },
    })
}

impl Late for States {
    const NAME: &'static str = "coupon_states";
    /// A coupon's id.
    type Key = [u8; 16];
    type Value = State;
    type Position = LedgerPosition;

    fn position(state: &State) -> LedgerPosition {
        state.change.position
    }

    fn is_newer(state: &State, than: &State) -> bool {
        state.change.number > than.change.number
    }

    /// Counts long order ids, of up to 255 characters, for more.
    fn weight(_coupon: &[u8; 16], state: &State) -> usize {
        2 + state.order_id.as_ref().map_or(0, |id| id.len() / 50)
    }

    fn read_rows(
        connection: &Connection,
        from: Option<LedgerPosition>,
        mut each: impl FnMut(Read<Self>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let from = from.unwrap_or(LedgerPosition::BEGINNING);
        let mut templates = connection.prepare("SELECT id FROM coupon_templates")?;
        let templates = templates.query_map([], |row| row.get(0).map(TemplateId))?;
        let mut entries = connection.prepare(ENTRIES)?;
        for template in templates {
            let mut rows = entries.query(params![template?.0, from.micros, from.id])?;
            while let Some(row) = rows.next()? {
                each(match history_action::read(row, 1)? {
                    HistoryAction::Issue => Read::Other(LedgerPosition::read(row, 2, 3)?),
                    _ => Read::Entry(row.get(0)?, read_change(row)?),
                })?;
            }
        }
        Ok(())
    }

    fn enter(connection: &Connection, entries: &[([u8; 16], State)]) -> rusqlite::Result<()> {
        let mut enter = connection.prepare_cached(
            "UPDATE coupons SET status = ?2, order_id = ?3, changes = ?4, changed_at = ?5, change_id = ?6
             WHERE id = ?1 AND changes < ?4",
        )?;
        for (coupon, state) in entries {
            let Change { number, position } = state.change;
            enter.execute(params![
                coupon,
                coupon_status::code(state.status),
                state.order_id,
                number,
                position.micros,
                position.id
            ])?;
        }
        Ok(())
    }
}

impl LateIndex<States> {
    /// The coupon of that id as the running group sees it, of any merchant: the domain decides what its caller may
    /// know.
    pub(crate) fn load(
        &self,
        connection: &Connection,
        id: CouponId,
    ) -> rusqlite::Result<Option<Stored>> {
        let waiting = self.get(&id.to_bytes());
        Ok(load_row(connection, id)?.map(|stored| stored.with(waiting)))
    }
}

impl Waiting<States> {
    /// Coupons in their committed states.
    pub(crate) fn load_all(
        &self,
        connection: &Connection,
        ids: impl IntoIterator<Item = CouponId>,
    ) -> rusqlite::Result<Vec<Stored>> {
        // Before the rows are read: a state leaves only once the row has it.
        let with_waiting = |id: CouponId| (id, self.get(&id.to_bytes()));
        let ids: Vec<_> = ids.into_iter().map(with_waiting).collect();
        // In one transaction: single statements would each take and give back the locks of a reader.
        let snapshot = connection.unchecked_transaction()?;
        let mut coupons = Vec::with_capacity(ids.len());
        for (id, waiting) in ids {
            let stored = load_row(&snapshot, id)?;
            coupons.extend(stored.map(|stored| stored.with(waiting)));
        }
        snapshot.commit()?;
        Ok(coupons)
    }
}

/// A coupon in the state of its row.
fn load_row(connection: &Connection, id: CouponId) -> rusqlite::Result<Option<Stored>> {
    connection
        .prepare_cached(select_coupons!("FROM coupons WHERE id = ?1"))?
        .query_row([id.to_bytes()], read)
        .optional()
}

#[cfg(test)]
mod tests;
