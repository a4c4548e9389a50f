//! The forms in which domain values are stored in columns.

use goodpon_domain::{
    coupon::CouponStatus,
    gate::GateState,
    ledger::HistoryAction,
    merchant::Role,
    template::{DiscountType, LimitType, TemplateStatus},
};
use jiff::Timestamp;

use crate::{
    columns::Columns,
    fault::{Fault, Result},
};

/// Returns a time as it is stored: microseconds since the epoch.
pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// Returns the parameter of a LIMIT of `rows` rows.
pub(crate) fn row_limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

macro_rules! stored_as {
    ($($name:ident: $type:ty { $($variant:ident = $code:literal),+ $(,)? })*) => {$(
        /// The codes of this enumeration, in both directions. They never change.
        pub(crate) mod $name {
            use super::*;

            /// Returns the code to store.
            pub(crate) const fn code(value: $type) -> i64 {
                match value { $(<$type>::$variant => $code,)+ }
            }

            /// Reads a stored code.
            pub(crate) fn read(columns: &mut Columns) -> Result<$type> {
                match columns.read::<i64>()? {
                    $($code => Ok(<$type>::$variant),)+
                    _ => Err(Fault::Corrupt(stringify!($name))),
                }
            }
        }
    )*};
}

stored_as! {
    role: Role { Owner = 0, Staff = 1 }
    template_status: TemplateStatus { Draft = 0, Issuable = 1, Expired = 2, Discarded = 3 }
    discount_type: DiscountType { FixedAmount = 0, Percentage = 1 }
    limit_type: LimitType { None = 0, IssueCount = 1, RedeemCount = 2 }
    coupon_status: CouponStatus { Issued = 0, Redeemed = 1, Expired = 2, Discarded = 3 }
    history_action: HistoryAction { Issue = 0, Redeem = 1, CancelRedemption = 2, Expire = 3, Discard = 4 }
    gate_state: GateState { Open = 0, Sealing = 1, Folded = 2 }
}
