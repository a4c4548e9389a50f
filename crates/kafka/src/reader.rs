//! Reads one partition of an issuer's in order. Whatever records the client library returns, after any rebalance, seek
//! or pause: only the very next one is taken, so none is skipped, taken twice or in another order.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use goodpon_domain::gate::LogRecord;

/// The time for which records behind a missing one may come before reading begins again at the missing one. Just after a
/// seek, records that were on their way come first.
const GAP_PATIENCE: Duration = Duration::from_secs(1);

/// The reader of a partition of this issuer's.
#[derive(Debug)]
pub(crate) struct Reader {
    state: State,
    waiting: VecDeque<LogRecord>,
    /// Records that a batch may have.
    max_batch: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The start is not known yet.
    Unknown,
    /// To be started at this offset once a broker, which is asked from that time on, says that the log has it.
    Due { at: i64, from: Instant },
    /// The log lacks this record, which is reported again at that time.
    Stuck { at: i64, report: Instant },
    /// The log is read, and this record is the next.
    Reading {
        next: i64,
        gap: Option<Gap>,
        /// It was started again because of a gap, and nothing was taken since.
        is_retry: bool,
    },
}

/// The next thing that a reader needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The caller must give the start.
    Start,
    /// Reading is to begin here, if the log has it.
    Begin(i64),
    /// Reading is to begin here once more: records came, but not this one.
    BeginAgain(i64),
    /// The consumer must report that the log lacks this record.
    Report(i64),
    /// The same; the second number is the first record that came instead.
    ReportGap(i64, i64),
}

/// Records came, but not the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    /// The time when that was seen.
    since: Instant,
    /// The least offset that came.
    first: i64,
}

impl Reader {
    /// Makes the reader of a partition that was just assigned.
    pub(crate) fn new() -> Self {
        Self {
            state: State::Unknown,
            waiting: VecDeque::new(),
            max_batch: usize::MAX,
        }
    }

    /// Returns the next thing that it needs, if any.
    pub(crate) fn need(&self, now: Instant) -> Option<Need> {
        match self.state {
            State::Unknown => Some(Need::Start),
            State::Due { at, from } => (from <= now).then_some(Need::Begin(at)),
            State::Stuck { at, report } => (report <= now).then_some(Need::Report(at)),
            State::Reading {
                next,
                gap,
                is_retry,
            } => {
                let gap = gap.filter(|gap| now.duration_since(gap.since) >= GAP_PATIENCE)?;
                Some(if is_retry {
                    Need::ReportGap(next, gap.first)
                } else {
                    Need::BeginAgain(next)
                })
            }
        }
    }

    /// Says that the log is read, so far as is known.
    pub(crate) fn is_reading(&self) -> bool {
        matches!(self.state, State::Reading { .. })
    }

    /// Goes to `offset` as soon as possible. Forgets records that were not given out yet.
    pub(crate) fn go_to(&mut self, offset: i64, now: Instant) {
        self.waiting.clear();
        self.state = State::Due {
            at: offset,
            from: now,
        };
    }

    /// Puts the start off, because no broker answered whether the log has the record.
    pub(crate) fn put_off(&mut self, until: Instant) {
        if let State::Due { from, .. } = &mut self.state {
            *from = until;
        }
    }

    /// Looks again whether the log has the next record; keeps the records that wait for a batch.
    pub(crate) fn look_again(&mut self, now: Instant) {
        if let State::Reading { next, .. } = self.state {
            self.state = State::Due {
                at: next,
                from: now,
            };
        }
    }

    /// Stands still because the log lacks `offset`, until it goes elsewhere.
    pub(crate) fn stick(&mut self, offset: i64, report: Instant) {
        self.state = State::Stuck { at: offset, report };
    }

    /// Notes that the log is read from `next` on.
    pub(crate) fn reads_from(&mut self, next: i64) {
        let is_retry = self.is_reading();
        self.state = State::Reading {
            next,
            gap: None,
            is_retry,
        };
    }

    /// Returns the offset of the next record to be given out, once it is known.
    pub(crate) fn position(&self) -> Option<i64> {
        match (self.waiting.front(), self.state) {
            (Some(first), _) => Some(first.offset),
            (None, State::Reading { next, .. }) => Some(next),
            (None, State::Due { at, .. } | State::Stuck { at, .. }) => Some(at),
            (None, State::Unknown) => None,
        }
    }

    /// Says that the record at `offset` is to be taken. Remembers a record that is too far ahead as the end of a gap.
    pub(crate) fn expects(&mut self, offset: i64, now: Instant) -> bool {
        let State::Reading { next, gap, .. } = &mut self.state else {
            return false;
        };
        if offset > *next {
            let gap = gap.get_or_insert(Gap {
                since: now,
                first: offset,
            });
            gap.first = gap.first.min(offset);
        }
        offset == *next
    }

    /// Takes the record that was expected.
    pub(crate) fn take(&mut self, record: LogRecord) {
        self.state = State::Reading {
            next: record.offset + 1,
            gap: None,
            is_retry: false,
        };
        self.waiting.push_back(record);
    }

    /// Says that no record waits for a batch.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Counts the records that wait for a batch.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Bounds the batches that it gives out from now on, in records.
    pub(crate) fn limit_batches(&mut self, max: usize) {
        self.max_batch = max.max(1);
    }

    /// Gives out the next records, `max` at most, and no more than its own bound.
    pub(crate) fn give(&mut self, max: usize) -> Vec<LogRecord> {
        let count = self.waiting.len().min(max).min(self.max_batch);
        self.waiting.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goodpon_domain::gate::LogContent;

    fn offer(reader: &mut Reader, offset: i64, now: Instant) -> bool {
        let is_expected = reader.expects(offset, now);
        if is_expected {
            reader.take(LogRecord {
                offset,
                appended_at: jiff::Timestamp::UNIX_EPOCH,
                content: LogContent::Tick,
            });
        }
        is_expected
    }

    fn given(reader: &mut Reader, max: usize) -> Vec<i64> {
        reader
            .give(max)
            .into_iter()
            .map(|record| record.offset)
            .collect()
    }

    #[test]
    fn nothing_is_taken_before_the_start_is_known() {
        let now = Instant::now();
        let mut reader = Reader::new();
        assert_eq!(reader.need(now), Some(Need::Start));
        assert!(!offer(&mut reader, 0, now));
        reader.go_to(5, now);
        assert_eq!(reader.need(now), Some(Need::Begin(5)));
        reader.put_off(now + GAP_PATIENCE);
        assert_eq!(reader.need(now), None);
        assert_eq!(reader.need(now + GAP_PATIENCE), Some(Need::Begin(5)));
        assert!(!offer(&mut reader, 5, now));
        reader.reads_from(5);
        assert_eq!(reader.need(now), None);
        assert!(offer(&mut reader, 5, now));
        assert_eq!(reader.position(), Some(5));
    }

    #[test]
    fn batches_are_no_larger_than_either_bound() {
        let now = Instant::now();
        let mut reader = Reader::new();
        reader.go_to(0, now);
        reader.reads_from(0);
        for offset in 0..10 {
            assert!(offer(&mut reader, offset, now));
        }
        assert_eq!(given(&mut reader, 2), [0, 1]);
        reader.limit_batches(3);
        assert_eq!(given(&mut reader, 500), [2, 3, 4]);
        assert_eq!(given(&mut reader, 1), [5]);
        reader.limit_batches(0);
        assert_eq!(given(&mut reader, 500), [6]);
    }

    #[test]
    fn only_the_very_next_is_taken() {
        let now = Instant::now();
        let mut reader = Reader::new();
        reader.reads_from(10);
        let taken: Vec<bool> = [10, 9, 10, 12, 11, 12, 11, 14, 13]
            .into_iter()
            .map(|offset| offer(&mut reader, offset, now))
            .collect();
        assert_eq!(
            taken,
            [true, false, false, false, true, true, false, false, true]
        );
        assert_eq!(given(&mut reader, 3), [10, 11, 12]);
        assert_eq!(given(&mut reader, 3), [13]);
        assert!(reader.is_empty());
        assert_eq!(reader.position(), Some(14));
    }

    #[test]
    fn a_gap_that_stays_is_read_again_and_then_told() {
        let now = Instant::now();
        let later = now + GAP_PATIENCE;
        let mut reader = Reader::new();
        reader.reads_from(3);
        offer(&mut reader, 9, now);
        offer(&mut reader, 7, now);
        assert_eq!(reader.need(now), None);
        assert_eq!(reader.need(later), Some(Need::BeginAgain(3)));
        reader.reads_from(3);
        assert_eq!(reader.need(later), None);
        offer(&mut reader, 7, now);
        assert_eq!(reader.need(later), Some(Need::ReportGap(3, 7)));
    }

    #[test]
    fn a_gap_that_closes_is_none() {
        let now = Instant::now();
        let mut reader = Reader::new();
        reader.reads_from(3);
        offer(&mut reader, 9, now);
        offer(&mut reader, 3, now);
        assert_eq!(reader.need(now + GAP_PATIENCE), None);
    }

    #[test]
    fn what_the_log_lacks_is_told_again_until_it_goes_elsewhere() {
        let now = Instant::now();
        let later = now + GAP_PATIENCE;
        let mut reader = Reader::new();
        reader.stick(3, later);
        assert_eq!(reader.need(now), None);
        assert_eq!(reader.need(later), Some(Need::Report(3)));
        assert!(!offer(&mut reader, 3, now), "it stands still");
        reader.go_to(7, now);
        assert_eq!(reader.need(now), Some(Need::Begin(7)));
    }

    #[test]
    fn going_elsewhere_forgets_what_was_not_given_out() {
        let now = Instant::now();
        let mut reader = Reader::new();
        reader.reads_from(0);
        offer(&mut reader, 0, now);
        offer(&mut reader, 1, now);
        reader.go_to(0, now);
        assert!(reader.is_empty());
        assert!(!offer(&mut reader, 2, now), "it was on its way");
        reader.reads_from(0);
        assert!(offer(&mut reader, 0, now));
    }

    #[test]
    fn looking_again_keeps_what_was_not_given_out() {
        let now = Instant::now();
        let mut reader = Reader::new();
        reader.reads_from(0);
        offer(&mut reader, 0, now);
        reader.look_again(now);
        assert_eq!(reader.need(now), Some(Need::Begin(1)));
        assert_eq!(given(&mut reader, 9), [0]);
    }
}
