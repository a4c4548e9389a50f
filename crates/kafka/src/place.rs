//! Where an issuer stands in one of its partitions. Whatever the client library hands out, after whatever rebalance,
//! seek or pause: only the very next record is taken, so none is skipped, taken twice or in another order.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use goodpon_domain::gate::Record;

/// How long records behind a missing one may come before the missing one is asked after. Just after a seek, those
/// that were on their way come first.
const GAP_PATIENCE: Duration = Duration::from_secs(1);

/// A partition of this issuer's.
#[derive(Debug)]
pub(crate) struct Place {
    step: Step,
    waiting: VecDeque<Record>,
    /// In records.
    largest_batch: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is not known yet where to start.
    Unknown,
    /// To be started there once a broker tells that it can be, who is asked from then on.
    Due { at: i64, from: Instant },
    /// The log lacks that record, which is to be told again at a time.
    Stuck { at: i64, tell: Instant },
    /// The log is read, and that record is the next.
    Reading {
        next: i64,
        gap: Option<Gap>,
        /// Whether it was started again because of a gap, and nothing was taken since.
        is_retry: bool,
    },
}

/// What a place needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Somebody must say where to start.
    Start,
    /// Reading is to begin here, if the log has it.
    Begin(i64),
    /// Reading is to begin here once more: records came, but not this one.
    BeginAgain(i64),
    /// It is to be told that the log lacks this one.
    Tell(i64),
    /// Likewise; the second number is the first record that came instead.
    TellGap(i64, i64),
}

/// Records came, but not the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    /// When that was seen.
    since: Instant,
    /// The least that came.
    first: i64,
}

impl Place {
    /// One that was just assigned.
    pub(crate) fn new() -> Self {
        Self {
            step: Step::Unknown,
            waiting: VecDeque::new(),
            largest_batch: usize::MAX,
        }
    }

    /// What is to be done for it, if anything is.
    pub(crate) fn need(&self, now: Instant) -> Option<Need> {
        match self.step {
            Step::Unknown => Some(Need::Start),
            Step::Due { at, from } => (from <= now).then_some(Need::Begin(at)),
            Step::Stuck { at, tell } => (tell <= now).then_some(Need::Tell(at)),
            Step::Reading {
                next,
                gap,
                is_retry,
            } => {
                let gap = gap.filter(|gap| now.duration_since(gap.since) >= GAP_PATIENCE)?;
                Some(if is_retry {
                    Need::TellGap(next, gap.first)
                } else {
                    Need::BeginAgain(next)
                })
            }
        }
    }

    /// Whether the log is read, so far as is known.
    pub(crate) fn is_reading(&self) -> bool {
        matches!(self.step, Step::Reading { .. })
    }

    /// Goes to `offset` as soon as possible. What was not given out yet is forgotten.
    pub(crate) fn go_to(&mut self, offset: i64, now: Instant) {
        self.waiting.clear();
        self.step = Step::Due {
            at: offset,
            from: now,
        };
    }

    /// Puts the start off where nobody could tell whether it can be made.
    pub(crate) fn put_off(&mut self, until: Instant) {
        if let Step::Due { from, .. } = &mut self.step {
            *from = until;
        }
    }

    /// Looks again whether the log has the next record; what is to be given out stays.
    pub(crate) fn look_again(&mut self, now: Instant) {
        if let Step::Reading { next, .. } = self.step {
            self.step = Step::Due {
                at: next,
                from: now,
            };
        }
    }

    /// Stands still for want of `offset`, until it goes elsewhere.
    pub(crate) fn stick(&mut self, offset: i64, tell: Instant) {
        self.step = Step::Stuck { at: offset, tell };
    }

    /// The log is read from `next` on.
    pub(crate) fn reads_from(&mut self, next: i64) {
        let is_retry = self.is_reading();
        self.step = Step::Reading {
            next,
            gap: None,
            is_retry,
        };
    }

    /// The next record to be given out, once it is known.
    pub(crate) fn position(&self) -> Option<i64> {
        match (self.waiting.front(), self.step) {
            (Some(first), _) => Some(first.offset),
            (None, Step::Reading { next, .. }) => Some(next),
            (None, Step::Due { at, .. } | Step::Stuck { at, .. }) => Some(at),
            (None, Step::Unknown) => None,
        }
    }

    /// Whether the record at `offset` is to be taken. One that is not, and is too far ahead, leaves a mark.
    pub(crate) fn expects(&mut self, offset: i64, now: Instant) -> bool {
        let Step::Reading { next, gap, .. } = &mut self.step else {
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
    pub(crate) fn take(&mut self, record: Record) {
        self.step = Step::Reading {
            next: record.offset + 1,
            gap: None,
            is_retry: false,
        };
        self.waiting.push_back(record);
    }

    /// Whether there is something to give out.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many records are to be given out.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Bounds the batches that it gives out from now on, in records.
    pub(crate) fn limit_batches(&mut self, max: usize) {
        self.largest_batch = max.max(1);
    }

    /// Gives out the next records, `max` at most, and no more than its own bound.
    pub(crate) fn give(&mut self, max: usize) -> Vec<Record> {
        let count = self.waiting.len().min(max).min(self.largest_batch);
        self.waiting.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goodpon_domain::gate::Content;

    fn offer(place: &mut Place, offset: i64, now: Instant) -> bool {
        let is_expected = place.expects(offset, now);
        if is_expected {
            place.take(Record {
                offset,
                appended_at: jiff::Timestamp::UNIX_EPOCH,
                content: Content::Tick,
            });
        }
        is_expected
    }

    fn given(place: &mut Place, max: usize) -> Vec<i64> {
        place
            .give(max)
            .into_iter()
            .map(|record| record.offset)
            .collect()
    }

    #[test]
    fn nothing_is_taken_before_the_start_is_known() {
        let now = Instant::now();
        let mut place = Place::new();
        assert_eq!(place.need(now), Some(Need::Start));
        assert!(!offer(&mut place, 0, now));
        place.go_to(5, now);
        assert_eq!(place.need(now), Some(Need::Begin(5)));
        place.put_off(now + GAP_PATIENCE);
        assert_eq!(place.need(now), None);
        assert_eq!(place.need(now + GAP_PATIENCE), Some(Need::Begin(5)));
        assert!(!offer(&mut place, 5, now));
        place.reads_from(5);
        assert_eq!(place.need(now), None);
        assert!(offer(&mut place, 5, now));
        assert_eq!(place.position(), Some(5));
    }

    #[test]
    fn batches_are_no_larger_than_either_bound() {
        let now = Instant::now();
        let mut place = Place::new();
        place.go_to(0, now);
        place.reads_from(0);
        for offset in 0..10 {
            assert!(offer(&mut place, offset, now));
        }
        assert_eq!(given(&mut place, 2), [0, 1]);
        place.limit_batches(3);
        assert_eq!(given(&mut place, 500), [2, 3, 4]);
        assert_eq!(given(&mut place, 1), [5]);
        place.limit_batches(0);
        assert_eq!(given(&mut place, 500), [6]);
    }

    #[test]
    fn only_the_very_next_is_taken() {
        let now = Instant::now();
        let mut place = Place::new();
        place.reads_from(10);
        let taken: Vec<bool> = [10, 9, 10, 12, 11, 12, 11, 14, 13]
            .into_iter()
            .map(|offset| offer(&mut place, offset, now))
            .collect();
        assert_eq!(
            taken,
            [true, false, false, false, true, true, false, false, true]
        );
        assert_eq!(given(&mut place, 3), [10, 11, 12]);
        assert_eq!(given(&mut place, 3), [13]);
        assert!(place.is_empty());
        assert_eq!(place.position(), Some(14));
    }

    #[test]
    fn a_gap_that_stays_is_read_again_and_then_told() {
        let now = Instant::now();
        let later = now + GAP_PATIENCE;
        let mut place = Place::new();
        place.reads_from(3);
        offer(&mut place, 9, now);
        offer(&mut place, 7, now);
        assert_eq!(place.need(now), None);
        assert_eq!(place.need(later), Some(Need::BeginAgain(3)));
        place.reads_from(3);
        assert_eq!(place.need(later), None);
        offer(&mut place, 7, now);
        assert_eq!(place.need(later), Some(Need::TellGap(3, 7)));
    }

    #[test]
    fn a_gap_that_closes_is_none() {
        let now = Instant::now();
        let mut place = Place::new();
        place.reads_from(3);
        offer(&mut place, 9, now);
        offer(&mut place, 3, now);
        assert_eq!(place.need(now + GAP_PATIENCE), None);
    }

    #[test]
    fn what_the_log_lacks_is_told_again_until_it_goes_elsewhere() {
        let now = Instant::now();
        let later = now + GAP_PATIENCE;
        let mut place = Place::new();
        place.stick(3, later);
        assert_eq!(place.need(now), None);
        assert_eq!(place.need(later), Some(Need::Tell(3)));
        assert!(!offer(&mut place, 3, now), "it stands still");
        place.go_to(7, now);
        assert_eq!(place.need(now), Some(Need::Begin(7)));
    }

    #[test]
    fn going_elsewhere_forgets_what_was_not_given_out() {
        let now = Instant::now();
        let mut place = Place::new();
        place.reads_from(0);
        offer(&mut place, 0, now);
        offer(&mut place, 1, now);
        place.go_to(0, now);
        assert!(place.is_empty());
        assert!(!offer(&mut place, 2, now), "it was on its way");
        place.reads_from(0);
        assert!(offer(&mut place, 0, now));
    }

    #[test]
    fn looking_again_keeps_what_was_not_given_out() {
        let now = Instant::now();
        let mut place = Place::new();
        place.reads_from(0);
        offer(&mut place, 0, now);
        place.look_again(now);
        assert_eq!(place.need(now), Some(Need::Begin(1)));
        assert_eq!(given(&mut place, 9), [0]);
    }
}
