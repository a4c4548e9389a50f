//! A row, read column by column.

use goodpon_domain::{
    id::{CouponId, HistoryId},
    ledger::Amounts,
};
use jiff::Timestamp;
use mysql_async::{Row, prelude::FromValue};

use crate::fault::{Fault, Result};

/// A row's columns, in the order of the SELECT.
pub(crate) struct Columns {
    row: Row,
    next: usize,
}

impl Columns {
    pub(crate) fn new(row: Row) -> Self {
        Self { row, next: 0 }
    }

    /// Reads the next column.
    pub(crate) fn read<T: FromValue>(&mut self) -> Result<T> {
        let column = self.next;
        self.next += 1;
        match self.row.take_opt(column) {
            Some(Ok(value)) => Ok(value),
            Some(Err(_)) => Err(Fault::Corrupt("a value of another type")),
            None => Err(Fault::Corrupt("a row without that column")),
        }
    }

    /// Reads the next column, which is a time in microseconds since the epoch.
    pub(crate) fn timestamp(&mut self) -> Result<Timestamp> {
        let micros = self.read()?;
        Timestamp::from_microsecond(micros).map_err(|_| Fault::Corrupt("time beyond the calendar"))
    }

    /// Reads the next column, which is a time in microseconds since the epoch or null.
    pub(crate) fn optional_timestamp(&mut self) -> Result<Option<Timestamp>> {
        let micros: Option<i64> = self.read()?;
        let time = |micros| {
            Timestamp::from_microsecond(micros)
                .map_err(|_| Fault::Corrupt("time beyond the calendar"))
        };
        micros.map(time).transpose()
    }

    /// Reads the next two columns, which are an entry's order amount and discount.
    pub(crate) fn amounts(&mut self) -> Result<Amounts> {
        Ok(Amounts {
            order: self.read()?,
            discount: self.read()?,
        })
    }

    /// Reads the next column, which has exactly `N` bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes: Vec<u8> = self.read()?;
        bytes
            .try_into()
            .map_err(|_| Fault::Corrupt("bytes of another length"))
    }

    /// Reads the next column, which has exactly `N` bytes or is null.
    pub(crate) fn optional_bytes<const N: usize>(&mut self) -> Result<Option<[u8; N]>> {
        let bytes: Option<Vec<u8>> = self.read()?;
        bytes
            .map(|bytes| {
                bytes
                    .try_into()
                    .map_err(|_| Fault::Corrupt("bytes of another length"))
            })
            .transpose()
    }

    /// Reads the next column, which is a coupon's id.
    pub(crate) fn coupon_id(&mut self) -> Result<CouponId> {
        self.bytes().map(CouponId::from_bytes)
    }

    /// Reads the next column, which is a history entry's id.
    pub(crate) fn history_id(&mut self) -> Result<HistoryId> {
        self.bytes().map(HistoryId::from_bytes)
    }
}
