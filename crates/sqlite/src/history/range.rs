//! Intervals of the ledger.

use goodpon_application::ports::{Direction, HistoryFilter};
use goodpon_domain::history::HistoryPosition;

use crate::{codec::micros, position::LedgerPosition, write::activity};

/// The open interval of entries that a page may still show.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) above: LedgerPosition,
    pub(super) below: LedgerPosition,
}

impl Range {
    pub(super) fn of(
        filter: &HistoryFilter,
        direction: Direction,
        after: Option<HistoryPosition>,
    ) -> Self {
        let from = filter.from.map(|at| LedgerPosition::behind(micros(at) - 1));
        let until = filter.until.map(|at| LedgerPosition::before(micros(at)));
        let range = Self {
            above: from.unwrap_or(LedgerPosition::BEGINNING),
            below: until.unwrap_or(LedgerPosition::END),
        };
        match after {
            Some(position) => range.behind(position, direction),
            None => range,
        }
    }

    /// The part up to a position.
    pub(super) fn up_to(self, last: Option<LedgerPosition>) -> Self {
        let below = last.map_or(LedgerPosition::BEGINNING, LedgerPosition::next);
        Self {
            below: self.below.min(below),
            ..self
        }
    }

    /// The part within a second.
    pub(super) fn within(self, second: i64) -> Self {
        let (from, to) = activity::span(second);
        Self {
            above: self
                .above
                .max(LedgerPosition::behind(from.saturating_sub(1))),
            below: self.below.min(LedgerPosition::before(to)),
        }
    }

    pub(super) fn contains(self, position: HistoryPosition) -> bool {
        let position = LedgerPosition::new(position.recorded_at, position.id.to_bytes());
        self.above < position && position < self.below
    }

    /// The part behind an entry, as the page goes.
    pub(super) fn behind(self, position: HistoryPosition, direction: Direction) -> Self {
        let position = LedgerPosition::new(position.recorded_at, position.id.to_bytes());
        match direction {
            Direction::Ascending => Self {
                above: self.above.max(position),
                ..self
            },
            Direction::Descending => Self {
                below: self.below.min(position),
                ..self
            },
        }
    }
}
