//! Replays coupons from the ledger, for the audit: what state do a coupon's entries make?

use goodpon_application::audit;
use goodpon_domain::{
    coupon::CouponStatus,
    history::HistoryPosition,
    id::{MerchantId, TemplateId},
    ledger::{Amounts, CouponState, HistoryAction},
};

use crate::{codec::history_action, columns::Columns, coupon_state::Stored, fault::Result};

/// An entry as it is stored, without its coupon's id.
#[derive(Debug, Clone)]
pub(crate) struct Line {
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
pub(crate) fn read(row: &mut Columns) -> Result<Line> {
    Ok(Line {
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

/// Where something is not as it should be: what it is about, what was expected, and what was found.
pub(crate) type Difference = (&'static str, String, String);

/// A coupon's state as its entries make it.
pub(crate) struct Replay<'a> {
    stored: &'a Stored,
    state: CouponState,
    /// Those of the last REDEEM.
    redeemed: Amounts,
    last: Option<(HistoryPosition, HistoryAction)>,
    /// How many of them are the ISSUE that tells of the coupon.
    pub(crate) issues: usize,
    difference: Option<Difference>,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(stored: &'a Stored) -> Self {
        Self {
            stored,
            state: CouponState::ISSUED,
            redeemed: Amounts::default(),
            last: None,
            issues: 0,
            difference: None,
        }
    }

    /// Whether it is the ISSUE entry that tells of the coupon.
    pub(crate) fn is_its_issue(&self, line: &Line) -> bool {
        let coupon = &self.stored.coupon;
        line.action == HistoryAction::Issue
            && line.position.recorded_at == coupon.issued_at
            && line.position.id.to_bytes() == coupon.id.to_bytes()
    }

    /// Takes one more entry's amounts, or tells that it cancels a redemption with others. `may_lack`: it may have been
    /// written by a program that kept none.
    pub(crate) fn take_amounts(&mut self, line: &Line, may_lack: bool) -> Option<(String, String)> {
        match line.action {
            HistoryAction::Redeem => self.redeemed = line.amounts,
            HistoryAction::CancelRedemption => {
                return audit::cancels(self.redeemed, line.amounts, may_lack);
            }
            HistoryAction::Issue | HistoryAction::Expire | HistoryAction::Discard => {}
        }
        None
    }

    /// Takes one more entry, in the order of their places. Behind a first difference no more is looked for.
    pub(crate) fn take(&mut self, line: &Line) {
        let is_issue = line.action == HistoryAction::Issue;
        self.issues += usize::from(self.is_its_issue(line));
        if self.difference.is_none()
            && !is_issue
            && let Err(expected) = self.step(line)
        {
            let at = line.position.recorded_at;
            let found = format!("{:?} at {at}", line.action);
            self.difference = Some(("entries", expected.to_owned(), found));
        }
        // An ISSUE elsewhere is told by itself.
        if !is_issue || self.is_its_issue(line) {
            self.last = Some((line.position, line.action));
        }
    }

    fn step(&mut self, line: &Line) -> std::result::Result<(), &'static str> {
        use HistoryAction::{CancelRedemption, Discard, Expire};
        let Some((before, action)) = self.last else {
            return Err("ISSUE");
        };
        let is_aftermath = action == CancelRedemption && matches!(line.action, Expire | Discard);
        let is_later = line.position.recorded_at > before.recorded_at;
        if !is_later && !is_aftermath {
            return Err("one recorded later than the one before it");
        }
        let is_past_expiry = self.stored.coupon.is_past_expiry(line.position.recorded_at);
        self.state
            .follow(line.action, line.order_id.as_deref(), is_past_expiry)
    }

    /// The state behind the last entry, and what is wrong with the entries or with the coupon's row. Where the entries
    /// make no sense, the row is believed.
    pub(crate) fn end(self) -> (CouponStatus, Option<Difference>) {
        let (row, changed_at) = (&self.stored.coupon, self.stored.changed_at);
        let difference = self.difference.or_else(|| {
            // That there is no entry at all is told by itself.
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
