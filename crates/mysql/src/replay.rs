//! Replays coupons from the ledger, for the audit: computes the state that a coupon's entries lead to.

use goodpon_application::audit;
use goodpon_domain::{
    coupon::CouponStatus,
    history::HistoryPosition,
    id::{MerchantId, TemplateId},
    ledger::{Amounts, CouponState, HistoryAction},
};

use crate::{codec::history_action, columns::Columns, coupon_state::StoredCoupon, fault::Result};

/// An entry as it is stored, without its coupon's id.
#[derive(Debug, Clone)]
pub(crate) struct EntryRow {
    pub(crate) position: HistoryPosition,
    pub(crate) action: HistoryAction,
    pub(crate) merchant: MerchantId,
    pub(crate) template: TemplateId,
    pub(crate) order_id: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) amounts: Amounts,
}

/// The columns that [`read`] reads, of `coupon_histories` as `h`.
pub(crate) const COLUMNS: &str =
    "h.recorded_at, h.id, h.action, h.merchant_id, h.template_id, h.order_id, h.reason, h.order_amount,
    h.discount_amount";

/// Reads [`COLUMNS`].
pub(crate) fn read(row: &mut Columns) -> Result<EntryRow> {
    Ok(EntryRow {
        position: HistoryPosition {
            recorded_at: row.timestamp()?,
            id: row.history_id()?,
        },
        action: history_action::read(row)?,
        merchant: MerchantId(row.read()?),
        template: TemplateId(row.read()?),
        order_id: row.read()?,
        reason: row.read()?,
        amounts: row.amounts()?,
    })
}

/// A difference: its subject, the expected value, and the found one.
pub(crate) type Difference = (&'static str, String, String);

/// Computes a coupon's state from its entries, one after another.
pub(crate) struct Replay<'a> {
    stored: &'a StoredCoupon,
    state: CouponState,
    /// The amounts of the last REDEEM.
    redeemed: Amounts,
    last: Option<(HistoryPosition, HistoryAction)>,
    /// The number of ISSUE entries that match the coupon.
    pub(crate) issues: usize,
    difference: Option<Difference>,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(stored: &'a StoredCoupon) -> Self {
        Self {
            stored,
            state: CouponState::ISSUED,
            redeemed: Amounts::default(),
            last: None,
            issues: 0,
            difference: None,
        }
    }

    /// Returns whether this is the coupon's ISSUE entry: its time and id are those of the coupon.
    pub(crate) fn is_its_issue(&self, entry: &EntryRow) -> bool {
        let coupon = &self.stored.coupon;
        entry.action == HistoryAction::Issue
            && entry.position.recorded_at == coupon.issued_at
            && entry.position.id.to_bytes() == coupon.id.to_bytes()
    }

    /// Takes the amounts of the next entry. Returns the expected and the found amounts if it cancels a redemption with
    /// other amounts. `may_lack` is true if a release that recorded no amounts may have written the entry.
    pub(crate) fn take_amounts(
        &mut self,
        entry: &EntryRow,
        may_lack: bool,
    ) -> Option<(String, String)> {
        match entry.action {
            HistoryAction::Redeem => self.redeemed = entry.amounts,
            HistoryAction::CancelRedemption => {
                return audit::cancels(self.redeemed, entry.amounts, may_lack);
            }
            HistoryAction::Issue | HistoryAction::Expire | HistoryAction::Discard => {}
        }
        None
    }

    /// Takes the next entry, in the order of times and ids. Only the first difference is kept.
    pub(crate) fn take(&mut self, entry: &EntryRow) {
        let is_issue = entry.action == HistoryAction::Issue;
        self.issues += usize::from(self.is_its_issue(entry));
        if self.difference.is_none()
            && !is_issue
            && let Err(expected) = self.apply(entry)
        {
            let at = entry.position.recorded_at;
            let found = format!("{:?} at {at}", entry.action);
            self.difference = Some(("entries", expected.to_owned(), found));
        }
        // The audit reports any other ISSUE by itself.
        if !is_issue || self.is_its_issue(entry) {
            self.last = Some((entry.position, entry.action));
        }
    }

    fn apply(&mut self, entry: &EntryRow) -> std::result::Result<(), &'static str> {
        use HistoryAction::{CancelRedemption, Discard, Expire};
        let Some((before, action)) = self.last else {
            return Err("ISSUE");
        };
        // A cancellation may expire or discard the coupon in the same posting, with the same time.
        let is_same_posting =
            action == CancelRedemption && matches!(entry.action, Expire | Discard);
        let is_later = entry.position.recorded_at > before.recorded_at;
        if !is_later && !is_same_posting {
            return Err("one recorded later than the one before it");
        }
        let is_past_expiry = self
            .stored
            .coupon
            .is_past_expiry(entry.position.recorded_at);
        self.state
            .follow(entry.action, entry.order_id.as_deref(), is_past_expiry)
    }

    /// Returns the state after the last entry, and the difference found in the entries or between them and the coupon's
    /// row. If there is one, the state is that of the row.
    pub(crate) fn end(self) -> (CouponStatus, Option<Difference>) {
        let (row, changed_at) = (&self.stored.coupon, self.stored.changed_at);
        let difference = self.difference.or_else(|| {
            // The audit reports a coupon without entries by itself.
            let (last, _) = self.last?;
            if self.state.status != row.status {
                let text = |status| format!("{status:?}");
                Some(("status", text(self.state.status), text(row.status)))
            } else if self.state.order_id != row.order_id {
                let text = |order: &Option<String>| format!("{order:?}");
                Some(("order_id", text(&self.state.order_id), text(&row.order_id)))
            } else if last.recorded_at != changed_at {
                let (last, changed) = (last.recorded_at.to_string(), changed_at.to_string());
                Some(("changed_at", last, changed))
            } else {
                None
            }
        });
        match difference {
            None if self.last.is_some() => (self.state.status, None),
            other => (row.status, other),
        }
    }
}
