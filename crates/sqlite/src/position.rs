//! Positions of ledger entries.

use jiff::Timestamp;
use rusqlite::{
    Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};

use crate::codec::micros;

/// An entry's position among those of its template: by time, and by id within a microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LedgerPosition {
    /// When the entry was recorded, in microseconds since 1970.
    pub(crate) micros: i64,
    pub(crate) id: [u8; 16],
}

/// Not given to any entry, and greater than every id that is.
const LAST_ID: [u8; 16] = [0xff; 16];

impl LedgerPosition {
    /// Before every entry.
    pub(crate) const BEGINNING: Self = Self::before(i64::MIN);
    /// Behind every entry.
    pub(crate) const END: Self = Self::behind(i64::MAX);

    pub(crate) fn new(at: Timestamp, id: [u8; 16]) -> Self {
        Self {
            micros: micros(at),
            id,
        }
    }

    /// Before every entry of that microsecond.
    pub(crate) const fn before(micros: i64) -> Self {
        Self {
            micros,
            id: [0; 16],
        }
    }

    /// Behind every entry of that microsecond.
    pub(crate) const fn behind(micros: i64) -> Self {
        Self {
            micros,
            id: LAST_ID,
        }
    }

    /// The first position behind this one.
    pub(crate) fn next(self) -> Self {
        let id = u128::from_be_bytes(self.id).saturating_add(1);
        Self {
            id: id.to_be_bytes(),
            ..self
        }
    }

    /// Reads the columns of time and id.
    pub(crate) fn read(row: &Row<'_>, micros: usize, id: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            micros: row.get(micros)?,
            id: row.get(id)?,
        })
    }

    /// As [`Self::read`], where both columns may be null.
    pub(crate) fn read_optional(
        row: &Row<'_>,
        micros: usize,
        id: usize,
    ) -> rusqlite::Result<Option<Self>> {
        match row.get(micros)? {
            Some(micros) => Ok(Some(Self {
                micros,
                id: row.get(id)?,
            })),
            None => Ok(None),
        }
    }
}

/// Bytes of a position in one column: the time, big-endian, and the id.
const LENGTH: usize = 24;

impl ToSql for LedgerPosition {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend(self.micros.to_be_bytes());
        bytes.extend(self.id);
        Ok(bytes.into())
    }
}

impl FromSql for LedgerPosition {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = value.as_blob()?;
        let parts = bytes.split_first_chunk().and_then(|(micros, id)| {
            Some(Self {
                micros: i64::from_be_bytes(*micros),
                id: id.try_into().ok()?,
            })
        });
        parts.ok_or(FromSqlError::InvalidBlobSize {
            expected_size: LENGTH,
            blob_size: bytes.len(),
        })
    }
}
