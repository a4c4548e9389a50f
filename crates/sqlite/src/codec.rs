//! Domain values in columns.

use goodpon_domain::{
    coupon::CouponStatus,
    id::{CouponId, HistoryId},
    ledger::HistoryAction,
    merchant::Role,
    template::{DiscountType, LimitType, TemplateStatus},
};
use jiff::Timestamp;
use rusqlite::types::Type;

/// A stored value that no version of this program writes.
fn corrupt(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Null, what.into())
}

/// Microseconds since the epoch.
pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// A LIMIT of this number of rows.
pub(crate) fn row_limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Reads [`micros`].
pub(crate) fn timestamp(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?)
        .map_err(|_| corrupt(column, "time beyond the calendar"))
}

/// Reads [`micros`], or null.
pub(crate) fn optional_timestamp(
    row: &rusqlite::Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<Timestamp>> {
    match row.get::<_, Option<i64>>(column)? {
        None => Ok(None),
        Some(_) => timestamp(row, column).map(Some),
    }
}

/// Reads a coupon's id.
pub(crate) fn coupon_id(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<CouponId> {
    row.get(column).map(CouponId::from_bytes)
}

/// Reads a history entry's id.
pub(crate) fn history_id(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<HistoryId> {
    row.get(column).map(HistoryId::from_bytes)
}

macro_rules! stored_as {
    ($($name:ident: $type:ty { $($variant:ident = $code:literal),+ $(,)? })*) => {$(
        /// The codes of this enumeration, in both directions. They never change.
        pub(crate) mod $name {
            /// The code of a value.
            pub(crate) const fn code(value: $type) -> i64 {
                match value { $(<$type>::$variant => $code,)+ }
            }

            /// Reads the value of a code.
            pub(crate) fn read(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<$type> {
                match row.get::<_, i64>(column)? {
                    $($code => Ok(<$type>::$variant),)+
                    _ => Err(super::corrupt(column, stringify!($name))),
                }
            }

            use super::*;
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
}
