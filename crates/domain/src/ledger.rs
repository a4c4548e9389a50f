//! The ledger of a coupon: one entry for each change of its state. What a coupon is follows from its entries.

use jiff::Timestamp;

use crate::coupon::{Coupon, CouponStatus};

/// What an entry records (contract §1, Enums).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HistoryAction {
    /// The coupon was issued.
    Issue,
    /// It was redeemed for an order.
    Redeem,
    /// Its redemption was cancelled.
    CancelRedemption,
    /// Its time had passed.
    Expire,
    /// Its template was discarded.
    Discard,
}

impl HistoryAction {
    /// The state that a coupon is in behind such an entry.
    pub const fn leads_to(self) -> CouponStatus {
        match self {
            Self::Issue | Self::CancelRedemption => CouponStatus::Issued,
            Self::Redeem => CouponStatus::Redeemed,
            Self::Expire => CouponStatus::Expired,
            Self::Discard => CouponStatus::Discarded,
        }
    }

    /// Returns whether such an entry has an order id, and whether it may have a reason (contract §2.2).
    pub const fn carries(self) -> (bool, bool) {
        match self {
            Self::Issue | Self::Expire => (false, false),
            Self::Redeem => (true, false),
            Self::CancelRedemption => (true, true),
            Self::Discard => (false, true),
        }
    }
}

/// The amounts that an entry records, in won. Entries written before amounts were kept have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// What the order amounted to, with REDEEM only.
    pub order: Option<i64>,
    /// What was taken off, with REDEEM and CANCEL_REDEMPTION only.
    pub discount: Option<i64>,
}

impl Amounts {
    /// Returns the amounts of the entry that cancels a redemption with these: the discount alone.
    pub fn cancelled(self) -> Self {
        Self {
            order: None,
            discount: self.discount,
        }
    }
}

/// An entry that is to be written: a change of a coupon's state that has no place in the ledger yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// What happens.
    pub action: HistoryAction,
    /// The order, where [`HistoryAction::carries`] says so.
    pub order_id: Option<String>,
    /// The reason, where [`HistoryAction::carries`] says so; a discard may have none.
    pub reason: Option<String>,
    /// The amounts it records.
    pub amounts: Amounts,
}

impl Transition {
    /// One without order, reason and amounts.
    pub fn bare(action: HistoryAction) -> Self {
        Self {
            action,
            order_id: None,
            reason: None,
            amounts: Amounts::default(),
        }
    }
}

/// What a coupon's entries make of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CouponState {
    /// The state behind the last entry.
    pub status: CouponStatus,
    /// The order of the last redemption.
    pub order_id: Option<String>,
}

impl CouponState {
    /// The state behind the ISSUE entry.
    pub const ISSUED: Self = Self {
        status: CouponStatus::Issued,
        order_id: None,
    };

    /// Takes one more entry behind the ISSUE. These are all the transitions that a coupon has.
    ///
    /// `is_past_expiry` says whether the coupon's time had passed when the entry was recorded.
    ///
    /// # Errors
    /// The entry must not stand there; the text says what was expected in its place. The state stays as it was.
    pub fn follow(
        &mut self,
        action: HistoryAction,
        order_id: Option<&str>,
        is_past_expiry: bool,
    ) -> Result<(), &'static str> {
        use CouponStatus::{Discarded, Expired, Issued, Redeemed};
        use HistoryAction::{CancelRedemption, Discard, Expire, Issue, Redeem};
        match (self.status, action) {
            (Issued, Redeem) if is_past_expiry => return Err("no redemption past the expiry"),
            (Issued, Redeem) => self.order_id = order_id.map(str::to_owned),
            (Redeemed, CancelRedemption) if order_id == self.order_id.as_deref() => {}
            (Redeemed, CancelRedemption) => {
                return Err("a cancellation of the order that redeemed it");
            }
            (Issued, Expire) if is_past_expiry => {}
            (Issued, Expire) => return Err("no EXPIRE before the expiry"),
            (Issued, Discard) => {}
            (Issued, Issue | CancelRedemption) => return Err("REDEEM, EXPIRE, DISCARD or nothing"),
            (Redeemed, _) => return Err("CANCEL_REDEMPTION or nothing"),
            (Expired | Discarded, _) => return Err("no further entry"),
        }
        self.status = action.leads_to();
        Ok(())
    }
}

/// By how much a template's counters change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountDelta {
    /// Coupons that are redeemed: 1 for a redemption, −1 for its cancellation.
    pub redeemed: i64,
}

/// What a decision writes: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// The entries, in this order, all recorded at one instant.
    pub transitions: Vec<Transition>,
    /// The coupon's state behind them.
    pub state: CouponState,
    /// What changes of its template's counters.
    pub counts: CountDelta,
}

impl Posting {
    /// The end of a coupon that is in its user's hand: it expires or is discarded.
    fn end(coupon: &Coupon, transition: Transition) -> Self {
        Self {
            state: CouponState {
                status: transition.action.leads_to(),
                order_id: coupon.order_id.clone(),
            },
            transitions: vec![transition],
            counts: CountDelta::default(),
        }
    }
}

/// A decision: what is answered, and what is written with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided<T> {
    /// What is answered.
    pub outcome: T,
    /// What is written.
    pub posting: Posting,
}

impl<T> Decided<T> {
    /// The answer to a request, and what it writes unless it was refused.
    pub fn split<R>(decision: Result<Self, R>) -> (Result<T, R>, Option<Posting>) {
        match decision {
            Ok(Self { outcome, posting }) => (Ok(outcome), Some(posting)),
            Err(refusal) => (Err(refusal), None),
        }
    }
}

/// Decides that a coupon expires; `None` where it is not in its user's hand, or not past its end at `now`.
pub fn expire(coupon: &Coupon, now: Timestamp) -> Option<Posting> {
    let is_due = coupon.status == CouponStatus::Issued && coupon.is_past_expiry(now);
    is_due.then(|| Posting::end(coupon, Transition::bare(HistoryAction::Expire)))
}

/// Decides that a coupon of a discarded template is discarded, for the template's reason; `None` where it is not in its
/// user's hand. A coupon that is redeemed stays so: a cancellation discards it.
pub fn discard(coupon: &Coupon, reason: Option<&str>) -> Option<Posting> {
    (coupon.status == CouponStatus::Issued).then(|| {
        let transition = Transition {
            reason: reason.map(str::to_owned),
            ..Transition::bare(HistoryAction::Discard)
        };
        Posting::end(coupon, transition)
    })
}
