//! Replays coupons from the ledger, for the audit.

use std::cmp::Ordering;

use goodpon_application::audit;
use goodpon_domain::{
    coupon::CouponStatus,
    id::CouponId,
    ledger::{Amounts, CouponState, HistoryAction},
};
use jiff::Timestamp;
use rusqlite::{Row, Rows, Statement};

use crate::{
    codec::{coupon_id, history_action, timestamp},
    late::coupon_state::{Change, Stored},
    position::LedgerPosition,
};

/// An entry behind an ISSUE.
#[derive(Debug)]
struct Step {
    coupon: CouponId,
    action: HistoryAction,
    recorded_at: Timestamp,
    order_id: Option<String>,
    amounts: Amounts,
    change: Change,
    previous: Option<LedgerPosition>,
}

/// All entries but the ISSUEs, coupon by coupon as the coupons are sorted, each coupon's in the order of their
/// numbers. SQLite sorts them with the help of a file: there may be very many.
pub(crate) const STEPS: &str =
    "SELECT coupon_id, action, recorded_at, id, number, previous_at, previous_id, order_id, lower(hex(id)),
            order_amount, discount_amount
     FROM coupon_histories NOT INDEXED WHERE action <> ?1 ORDER BY coupon_id, number";

fn read(row: &Row<'_>) -> rusqlite::Result<Step> {
    Ok(Step {
        coupon: coupon_id(row, 0)?,
        action: history_action::read(row, 1)?,
        recorded_at: timestamp(row, 2)?,
        order_id: row.get(7)?,
        amounts: Amounts {
            order: row.get(9)?,
            discount: row.get(10)?,
        },
        change: Change {
            number: row.get(4)?,
            position: LedgerPosition::read(row, 2, 3)?,
        },
        previous: LedgerPosition::read_optional(row, 5, 6)?,
    })
}

/// A way along the entries of all coupons.
pub(crate) struct Replays<'a> {
    steps: Rows<'a>,
    next: Option<Step>,
    /// Before this position all entries are in the coupons' rows.
    entered_below: LedgerPosition,
    /// Entries up to this time in microseconds may lack their amounts.
    amounts_lack_until: i64,
    /// Entries that no version of this program writes, with their faults.
    unreadable: Vec<(String, String)>,
}

/// A fault: its subject, and the expected and the actual state.
pub(crate) type Fault = (&'static str, String, String);

impl<'a> Replays<'a> {
    /// `steps` are rows of [`STEPS`].
    pub(crate) fn new(
        steps: &'a mut Statement<'_>,
        entered_below: Option<LedgerPosition>,
        amounts_lack_until: i64,
    ) -> rusqlite::Result<Self> {
        let mut replays = Self {
            steps: steps.query([history_action::code(HistoryAction::Issue)])?,
            next: None,
            entered_below: entered_below.unwrap_or(LedgerPosition::BEGINNING),
            amounts_lack_until,
            unreadable: Vec::new(),
        };
        replays.advance()?;
        Ok(replays)
    }

    fn advance(&mut self) -> rusqlite::Result<Option<Step>> {
        let next = loop {
            let Some(row) = self.steps.next()? else {
                break None;
            };
            match read(row) {
                Ok(step) => break Some(step),
                Err(error) => {
                    let id = row.get::<_, String>(8)?;
                    self.unreadable.push((id, error.to_string()));
                }
            }
        };
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// All entries that could not be read so far.
    pub(crate) fn unreadable(self) -> Vec<(String, String)> {
        self.unreadable
    }

    /// The state that a coupon's entries make, and the faults of the entries and of the state in its row. To be called for
    /// coupons in the order of their ids.
    pub(crate) fn of(&mut self, stored: &Stored) -> rusqlite::Result<(CouponStatus, Vec<Fault>)> {
        let id = stored.coupon.id;
        let mut replay = Replay::new(stored);
        let mut fault = replay.compare(None);
        let mut of_amounts = None;
        while let Some(step) = &self.next {
            match step.coupon.to_bytes().cmp(&id.to_bytes()) {
                Ordering::Greater => break,
                // Of no coupon, which another check reports.
                Ordering::Less => drop(self.advance()?),
                Ordering::Equal => {
                    let step = self.advance()?;
                    if let (Some(step), None) = (step, &fault) {
                        let may_lack = step.change.position.micros <= self.amounts_lack_until;
                        of_amounts = of_amounts.or_else(|| replay.take_amounts(&step, may_lack));
                        fault = replay.take(step);
                    }
                }
            }
        }
        let fault = fault.or_else(|| replay.end(self.entered_below));
        let status = match fault {
            None => replay.state.status,
            Some(_) => stored.coupon.status,
        };
        Ok((status, fault.into_iter().chain(of_amounts).collect()))
    }
}

/// A coupon's state as it follows from its entries.
struct Replay<'a> {
    stored: &'a Stored,
    state: CouponState,
    /// The amounts of the last REDEEM.
    redeemed: Amounts,
    last: Option<Change>,
}

impl<'a> Replay<'a> {
    fn new(stored: &'a Stored) -> Self {
        Self {
            stored,
            state: CouponState::ISSUED,
            redeemed: Amounts::default(),
            last: None,
        }
    }

    fn last_number(&self) -> i64 {
        self.last.map_or(0, |change| change.number)
    }

    /// Takes one more entry's amounts. Returns a fault if it cancels a redemption with other amounts.
    fn take_amounts(&mut self, step: &Step, may_lack: bool) -> Option<Fault> {
        match step.action {
            HistoryAction::Redeem => self.redeemed = step.amounts,
            HistoryAction::CancelRedemption => {
                let differ = audit::cancels(self.redeemed, step.amounts, may_lack);
                return differ.map(|(expected, found)| ("amounts", expected, found));
            }
            HistoryAction::Issue | HistoryAction::Expire | HistoryAction::Discard => {}
        }
        None
    }

    /// Takes one more entry. Returns a fault if it does not follow from those before it.
    fn take(&mut self, step: Step) -> Option<Fault> {
        let (action, change) = (step.action, step.change);
        let found = format!(
            "number {}, {action:?} at {}",
            change.number, step.recorded_at
        );
        let expected = self.last_number() + 1;
        if change.number != expected {
            return Some(("entries", format!("number {expected}"), found));
        }
        if step.previous != self.last.map(|last| last.position) {
            let expected = "one that leads to the one before it".to_owned();
            return Some(("entries", expected, found));
        }
        let is_past_expiry = self.stored.coupon.is_past_expiry(step.recorded_at);
        let order_id = step.order_id.as_deref();
        if let Err(expected) = self.state.follow(action, order_id, is_past_expiry) {
            return Some(("entries", expected.to_owned(), found));
        }
        self.compare(Some(change))
    }

    /// Compares the coupon's row with the state behind the last entry that the row has taken up.
    fn compare(&mut self, change: Option<Change>) -> Option<Fault> {
        self.last = change;
        let (row, number) = (&self.stored.coupon, self.last_number());
        if number != self.stored.changes() {
            return None;
        }
        if self.stored.change != change {
            let text = |change: Option<Change>| format!("{change:?}");
            return Some(("last entry", text(change), text(self.stored.change)));
        }
        if self.state.status != row.status {
            let text = |status| format!("{status:?}");
            return Some(("status", text(self.state.status), text(row.status)));
        }
        if self.state.order_id != row.order_id {
            let text = |order: &Option<String>| format!("{order:?}");
            return Some(("order_id", text(&self.state.order_id), text(&row.order_id)));
        }
        None
    }

    /// The fault of the last entry, if there is one: the row has a later state, or ought to have taken this one up.
    fn end(&self, entered_below: LedgerPosition) -> Option<Fault> {
        let of = |number| format!("{number} entries behind the ISSUE");
        let (there, taken_up) = (self.last_number(), self.stored.changes());
        let is_late = |last: Change| there > taken_up && last.position < entered_below;
        if taken_up < 0 {
            Some(("changes", of(there), of(taken_up)))
        } else if there < taken_up {
            Some(("entries", of(taken_up), of(there)))
        } else if self.last.is_some_and(is_late) {
            Some(("row", of(there), of(taken_up)))
        } else {
            None
        }
    }
}
