//! A coupon as its row has it, and the earliest time of its next entry.

use goodpon_domain::{
    coupon::Coupon,
    id::{MerchantId, TemplateId},
};
use jiff::{SignedDuration, Timestamp};

use crate::{codec::coupon_status, columns::Columns, fault::Result};

/// A coupon as it is stored.
pub(crate) struct StoredCoupon {
    pub(crate) coupon: Coupon,
    /// The time at which its last entry was recorded.
    pub(crate) changed_at: Timestamp,
}

/// The columns that [`read`] reads, of `coupons` as `c`.
pub(crate) const COLUMNS: &str =
    "c.id, c.merchant_id, c.template_id, c.user_id, c.status, c.issued_at, c.expires_at,
    c.order_id, c.changed_at";

/// Reads [`COLUMNS`].
pub(crate) fn read(row: &mut Columns) -> Result<StoredCoupon> {
    let coupon = Coupon {
        id: row.coupon_id()?,
        merchant_id: MerchantId(row.read()?),
        template_id: TemplateId(row.read()?),
        user_id: row.read()?,
        status: coupon_status::read(row)?,
        issued_at: row.timestamp()?,
        expires_at: row.optional_timestamp()?,
        order_id: row.read()?,
    };
    let changed_at = row.timestamp()?;
    Ok(StoredCoupon { coupon, changed_at })
}

impl StoredCoupon {
    /// Returns the time of the coupon's next entry: `now`, or a microsecond after the last entry if that is later. The
    /// clocks of processes differ, but a coupon's entries must be in the order in which they happened.
    pub(crate) fn next_entry_at(&self, now: Timestamp) -> Timestamp {
        let earliest = self.changed_at.checked_add(SignedDuration::from_micros(1));
        earliest.map_or(now, |earliest| earliest.max(now))
    }
}
