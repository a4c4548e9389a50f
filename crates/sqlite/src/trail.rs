//! Where a coupon's entries stand, kept in the coupon's own row.
//!
//! An index of entries by coupon would dirty a page of its own with every redemption, while the row is rewritten
//! anyway. The ISSUE entry needs no place here: it is found by the coupon's issue time and id.

use goodpon_domain::id::HistoryId;
use jiff::Timestamp;

use crate::codec::micros;

/// An entry's place among those of its template, as (microseconds, id).
pub(crate) type Place = (i64, [u8; 16]);

/// Before every entry of a template.
pub(crate) const BEGINNING: Place = (i64::MIN, [0; 16]);

/// A place in bytes: the time, big-endian, and the id.
const LENGTH: usize = 24;

/// Appends an entry's place.
pub(crate) fn push(trail: &mut Vec<u8>, at: Timestamp, id: HistoryId) {
    trail.extend(micros(at).to_be_bytes());
    trail.extend(id.to_bytes());
}

/// The places in the order in which the entries were written.
pub(crate) fn places(trail: &[u8]) -> impl Iterator<Item = Place> {
    let (places, _) = trail.as_chunks::<LENGTH>();
    places.iter().map(|bytes| {
        let (mut at, mut id) = ([0; 8], [0; 16]);
        at.copy_from_slice(&bytes[..8]);
        id.copy_from_slice(&bytes[8..]);
        (i64::from_be_bytes(at), id)
    })
}

/// Whether it consists of whole places.
pub(crate) fn is_whole(trail: &[u8]) -> bool {
    trail.len().is_multiple_of(LENGTH)
}
