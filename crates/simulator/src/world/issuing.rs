//! The issuers' transaction: a batch of the log becomes coupons, as one with the partition's progress.

use std::collections::{HashMap, HashSet};

use goodpon_application::ports::StoreResult;
use goodpon_domain::{
    business_time::BusinessZone,
    gate::{
        BatchDecision, Epoch, IssueEvent, Known, LogContent, LogRecord, MAX_ACCEPTANCE_DISTANCE,
        Tally, ToPark, WriteResult, judge_batch,
    },
};
use jiff::tz::TimeZone;

use super::{TEMPLATE, World, call::unavailable, database::Coupon, request_of, seconds};
use crate::guard::Guard;

impl World {
    /// Writes a batch whose records follow each other without a gap.
    pub(crate) fn write_issues(
        &mut self,
        partition: i32,
        records: &[LogRecord],
    ) -> StoreResult<WriteResult> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok(WriteResult::Done(Tally::default()));
        };
        let partition = index(i64::from(partition))?;
        let (from, to) = (index(first.offset)?, index(last.offset)? + 1);
        let next = self.database.progress[partition].next;
        let is_compared = self.has(Guard::ProgressCompared) && self.has(Guard::ProgressWithRows);
        if is_compared && next != from {
            self.reached.overtaken = true;
            self.note(|| format!("  partition {partition} is worked through up to {next}"));
            return Ok(WriteResult::Elsewhere {
                next_offset: i64::try_from(next).unwrap_or(i64::MAX),
            });
        }
        let tally = self.write(records);
        if self.has(Guard::ProgressWithRows) {
            self.advance(partition, from, to);
        }
        self.hold(self.check_rows());
        Ok(WriteResult::Done(tally))
    }

    /// Notes that a partition is worked through up to a record.
    pub(crate) fn advance(&mut self, partition: usize, from: usize, to: usize) {
        let progress = &mut self.database.progress[partition];
        progress.next = progress.next.max(to);
        for record in &self.log[partition][from..to] {
            progress.log_time = progress.log_time.max(record.appended_at);
        }
    }

    fn write(&mut self, records: &[LogRecord]) -> Tally {
        let shown: Vec<LogRecord> = records.iter().map(|record| self.shown(record)).collect();
        // Without these guards a record must not even see what its own batch wrote.
        let is_one_by_one = !self.has(Guard::UserRow) || !self.has(Guard::LimitChecked);
        let size = if is_one_by_one { 1 } else { shown.len().max(1) };
        let mut tally = Tally::default();
        for some in shown.chunks(size) {
            let judged = judge_batch(some, self.known(some), &BusinessZone::new(TimeZone::UTC));
            tally.void += judged.tally.void;
            tally.duplicates += judged.tally.duplicates;
            tally.parked += judged.tally.parked;
            tally.over_limit += judged.tally.over_limit;
            tally.written += judged.coupons.len();
            self.keep(judged);
        }
        self.reached.void_copy |= tally.void > 0;
        self.note(|| {
            let events: Vec<_> = records.iter().filter_map(describe).collect();
            let Tally {
                written,
                void,
                duplicates,
                parked,
                ..
            } = tally;
            match events.is_empty() {
                true => "  nothing but ticks".into(),
                false => format!(
                    "  {}: {written} written, {void} void, {duplicates} duplicates, {parked} parked",
                    events.join("; ")
                ),
            }
        });
        tally
    }

    /// A record as the issuer gets to see it.
    fn shown(&self, record: &LogRecord) -> LogRecord {
        let mut shown = record.clone();
        if let (LogContent::Event(event), false) = (&record.content, self.has(Guard::ValidUntil)) {
            shown.appended_at = shown.appended_at.min(event.valid_until);
        }
        shown
    }

    fn known<'a>(&self, records: &'a [LogRecord]) -> Known<'a> {
        let mut template = self.template.clone();
        if self.has(Guard::LimitChecked) {
            template.issue_count = self.coupon_count();
        }
        let users = records.iter().filter_map(|record| match &record.content {
            LogContent::Event(event) => Some(event.user_id.as_str()),
            _ => None,
        });
        let is_holder = |user: &&str| self.has(Guard::UserRow) && self.has_coupon(user);
        let holders: HashSet<_> = users
            .filter(is_holder)
            .map(|user| (TEMPLATE, user))
            .collect();
        Known {
            templates: HashMap::from([(TEMPLATE, template)]),
            holders,
            max_acceptance_distance: MAX_ACCEPTANCE_DISTANCE,
        }
    }

    fn keep(&mut self, judged: BatchDecision<'_>) {
        for new in judged.coupons {
            self.reached.later_coupon |= new.event.epoch > Epoch(1);
            self.database.coupons.push(Coupon {
                id: new.event.coupon_id,
                user_id: new.event.user_id.clone(),
                issued_at: new.coupon.issued_at,
                keyed: new.event.keyed,
            });
        }
        for parked in judged.parked {
            if let ToPark::Event(_, event, _) = parked {
                self.database.parked.push(event.clone());
            }
        }
    }

    /// Keeps a record for an operator, whatever its content.
    pub(crate) fn park_unread(
        &mut self,
        partition: i32,
        record: &LogRecord,
    ) -> StoreResult<WriteResult> {
        let (partition, offset) = (index(i64::from(partition))?, index(record.offset)?);
        if let LogContent::Event(event) = &record.content {
            self.database.parked.push(event.clone());
        }
        self.advance(partition, offset, offset + 1);
        Ok(WriteResult::Done(Tally {
            parked: 1,
            ..Tally::default()
        }))
    }
}

fn index(number: i64) -> StoreResult<usize> {
    usize::try_from(number).map_err(|_| unavailable("a number below 0", false))
}

fn describe(record: &LogRecord) -> Option<String> {
    let LogContent::Event(event) = &record.content else {
        return None;
    };
    let at = seconds(record.appended_at);
    Some(format!("{}, appended at {at}", describe_event(event)))
}

/// Names an event's copy for the story.
pub(super) fn describe_event(event: &IssueEvent) -> String {
    let (coupon, user) = (request_of(event.coupon_id), &event.user_id);
    let (epoch, until) = (event.epoch, seconds(event.valid_until));
    format!("coupon {coupon} of {user}, epoch {epoch}, good until {until}")
}
