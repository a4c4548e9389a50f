//! Where an entry of the ledger stands.

use jiff::Timestamp;
use rusqlite::{
    Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};

use crate::codec::micros;

/// An entry's place among those of its template: its time in microseconds, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) i64, pub(crate) [u8; 16]);

impl Place {
    /// Before every entry.
    pub(crate) const BEGINNING: Self = Self(i64::MIN, [0; 16]);

    /// Just behind this one.
    pub(crate) fn next(self) -> Self {
        // No id is all ones.
        let id = u128::from_be_bytes(self.1).saturating_add(1);
        Self(self.0, id.to_be_bytes())
    }

    pub(crate) fn new(at: Timestamp, id: [u8; 16]) -> Self {
        Self(micros(at), id)
    }

    /// Reads the columns of time and id.
    pub(crate) fn read(row: &Row<'_>, at: usize, id: usize) -> rusqlite::Result<Self> {
        Ok(Self(row.get(at)?, row.get(id)?))
    }

    /// As [`Self::read`], where both may be null.
    pub(crate) fn read_optional(
        row: &Row<'_>,
        at: usize,
        id: usize,
    ) -> rusqlite::Result<Option<Self>> {
        match row.get(at)? {
            Some(at) => Ok(Some(Self(at, row.get(id)?))),
            None => Ok(None),
        }
    }
}

/// In one column: the time, big-endian, and the id.
const LENGTH: usize = 24;

impl ToSql for Place {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend(self.0.to_be_bytes());
        bytes.extend(self.1);
        Ok(bytes.into())
    }
}

impl FromSql for Place {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = value.as_blob()?;
        let parts = bytes.split_first_chunk().and_then(|(at, id)| {
            let id = id.try_into().ok()?;
            Some(Self(i64::from_be_bytes(*at), id))
        });
        parts.ok_or(FromSqlError::InvalidBlobSize {
            expected_size: LENGTH,
            blob_size: bytes.len(),
        })
    }
}
