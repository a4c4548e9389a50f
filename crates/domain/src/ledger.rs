//! The ledger of a coupon: one entry for each change of its state, from which the state can be computed again.

use jiff::Timestamp;

use crate::coupon::{Coupon, CouponStatus};

/// The kind of change that an entry records (contract §1, Enums).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HistoryAction {
    /// The coupon was issued.
    Issue,
    /// It was redeemed for an order.
    Redeem,
    /// Its redemption was cancelled.
    CancelRedemption,
    /// It was past its end.
    Expire,
    /// Its template was discarded.
    Discard,
}

impl HistoryAction {
    /// Returns the state of a coupon after such an entry.
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

/// The amounts that an entry records, in the merchant's currency unit. Entries written before amounts were recorded have
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// The order's amount before the discount, with REDEEM only.
    pub order: Option<i64>,
    /// The discount, with REDEEM and CANCEL_REDEMPTION only.
    pub discount: Option<i64>,
}

impl Amounts {
    /// Returns the amounts of the entry that cancels a redemption with these amounts: the discount alone.
    pub fn for_cancellation(self) -> Self {
        Self {
            order: None,
            discount: self.discount,
        }
    }
}

/// A change of a coupon's state that is to be written as an entry; the store gives the entry its id and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The kind of change.
    pub action: HistoryAction,
    /// The order, where [`HistoryAction::carries`] says so.
    pub order_id: Option<String>,
    /// The reason, where [`HistoryAction::carries`] says so; a discard may have none.
    pub reason: Option<String>,
    /// The amounts to be recorded.
    pub amounts: Amounts,
}

impl Transition {
    /// Makes a transition without order, reason or amounts.
    pub fn bare(action: HistoryAction) -> Self {
        Self {
            action,
            order_id: None,
            reason: None,
            amounts: Amounts::default(),
        }
    }
}

/// The state of a coupon as its entries determine it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CouponState {
    /// The state after the last entry.
    pub status: CouponStatus,
    /// The order of the last redemption.
    pub order_id: Option<String>,
}

impl CouponState {
    /// The state after the ISSUE entry.
    pub const ISSUED: Self = Self {
        status: CouponStatus::Issued,
        order_id: None,
    };

    /// Applies one more entry after the ISSUE entry. Every transition that a coupon can make is listed here.
    ///
    /// `is_past_expiry` is true if the coupon was past its end when the entry was recorded.
    ///
    /// # Errors
    /// The entry is not allowed in this state, which stays as it was. The text says what was expected instead.
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

/// The change of a template's counters that a decision makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountDelta {
    /// The change of the number of redeemed coupons: 1 for a redemption, −1 for its cancellation.
    pub redeemed: i64,
}

/// The writes of a decision about one coupon, which a store makes all together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// The entries in their order, all recorded with the same time.
    pub transitions: Vec<Transition>,
    /// The coupon's state after them.
    pub state: CouponState,
    /// The change of its template's counters.
    pub counts: CountDelta,
}

impl Posting {
    /// Makes the posting of a single entry that ends an issued coupon: an expiry or a discard.
    fn ending(coupon: &Coupon, transition: Transition) -> Self {
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

/// A decision: its answer, and the posting that must be written before the answer is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<T> {
    /// The answer.
    pub outcome: T,
    /// The writes.
    pub posting: Posting,
}

impl<T> Decision<T> {
    /// Splits a decision into the answer to the request and, unless it was refused, the posting to be written.
    pub fn split<R>(decision: Result<Self, R>) -> (Result<T, R>, Option<Posting>) {
        match decision {
            Ok(Self { outcome, posting }) => (Ok(outcome), Some(posting)),
            Err(refusal) => (Err(refusal), None),
        }
    }
}

/// Decides the expiry of a coupon; `None` if it is not in the issued state, or not past its end at `now`.
pub fn expire(coupon: &Coupon, now: Timestamp) -> Option<Posting> {
    let is_due = coupon.status == CouponStatus::Issued && coupon.is_past_expiry(now);
    is_due.then(|| Posting::ending(coupon, Transition::bare(HistoryAction::Expire)))
}

/// Decides the discard of a coupon whose template was discarded, for the template's `reason`; `None` if it is not in the
/// issued state. A redeemed coupon stays redeemed; if its redemption is cancelled, the cancellation discards it.
pub fn discard(coupon: &Coupon, reason: Option<&str>) -> Option<Posting> {
    (coupon.status == CouponStatus::Issued).then(|| {
        let transition = Transition {
            reason: reason.map(str::to_owned),
            ..Transition::bare(HistoryAction::Discard)
        };
        Posting::ending(coupon, transition)
    })
}
