//! A batch of records from the log of accepted issues, and an issuer's decision over each record.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::event::{IssueEvent, counts};
use crate::{
    business_time::BusinessZone,
    coupon::{Coupon, CouponStatus},
    id::TemplateId,
    ledger::{HistoryAction, Transition},
    template::{Template, TemplateStatus},
};

/// A record of one partition of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its offset in the partition.
    pub offset: i64,
    /// When the log appended it, by the log's clock.
    pub appended_at: Timestamp,
    /// Its content.
    pub content: LogContent,
}

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogContent {
    /// An issue was accepted.
    Event(IssueEvent),
    /// A tick: it carries no issue, only the log's time, so that an idle partition's time advances.
    Tick,
    /// A record of another installation, with its name, which uses the same topic by mistake. It is treated as a tick.
    Foreign(String),
    /// A record that this program cannot read.
    Unreadable(Unreadable),
}

/// A record that this program cannot read, with the fields that could be read all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The reason why it cannot be read, for people.
    pub reason: String,
    /// The template of the issue.
    pub template_id: Option<TemplateId>,
    /// The user of the issue.
    pub user_id: Option<String>,
    /// The latest append time at which it counts.
    pub valid_until: Option<Timestamp>,
    /// The whole record, so that a later program can read it.
    pub raw: Vec<u8>,
}

/// The position and the time at which the log appended a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The log's append time, to the millisecond. Readers of the record get the same time.
    pub appended_at: Timestamp,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
}

/// The result of a poll of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollResult {
    /// The next records of a partition, in order and without a gap.
    Batch {
        /// The partition.
        partition: i32,
        /// The records, at least one.
        records: Vec<LogRecord>,
    },
    /// No record arrived within the time of the poll.
    Idle,
    /// The log lacks the next record of a partition: it was deleted too early, or the topic was created anew. The
    /// partition stands still, and this is returned every three seconds, until the reader is moved to another offset.
    /// Records after a lost one are never read before that.
    Truncated {
        /// The partition.
        partition: i32,
        /// The offset of the record that is missing.
        wanted: i64,
        /// The first offset that the log has.
        first_there: i64,
        /// The offset after the last one that the log has.
        end: i64,
    },
}

/// The result of writing a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteResult {
    /// The batch is written.
    Done(Tally),
    /// Nothing was written, because the partition's progress is not at the batch's first offset. The reader continues
    /// from the offset given.
    Elsewhere {
        /// The next offset to be processed.
        next_offset: i64,
    },
}

/// The numbers of records of a batch, by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events that became coupons.
    pub written: usize,
    /// Events that the log appended too late to count.
    pub void: usize,
    /// Events whose user has a coupon of the template already; usually repeated copies of one event.
    pub duplicates: usize,
    /// Records kept for an operator: unreadable, of a template that is gone, or refused by the database.
    pub parked: usize,
    /// Parked events beyond the issue limit: there are none while the rules hold.
    pub over_limit: usize,
}

/// An issuer's decision over an event of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Skipped: the log appended it too late to count.
    Void,
    /// Skipped: the user has a coupon of the template. If the event was answered with a success, it is this event's own.
    Duplicate,
    /// Kept for an operator, with its place: its template is gone.
    TemplateGone,
    /// Kept for an operator, with its place: the issue limit is reached, which cannot happen while the rules hold.
    OverLimit,
    /// Kept for an operator, with its place: it states a time of acceptance that no partner of ours wrote.
    Misdated,
    /// Becomes a coupon in this state: ISSUED, or DISCARDED if the template was discarded meanwhile.
    Write(CouponStatus),
}

impl Verdict {
    /// Returns the reason why an event with this verdict is kept for an operator; `None` if it is not kept.
    #[must_use]
    pub fn why_parked(self) -> Option<&'static str> {
        match self {
            Self::Void | Self::Duplicate | Self::Write(_) => None,
            Self::TemplateGone => Some("its template is gone"),
            Self::OverLimit => Some("beyond the issue limit"),
            Self::Misdated => Some("the time of acceptance that it states is more than a day off"),
        }
    }
}

/// Decides over an event of the log. `issued` is the number of the template's coupons, including those of the running
/// batch. The event's time of acceptance may differ from its append time by up to `max_acceptance_distance`.
#[must_use]
pub fn judge(
    event: &IssueEvent,
    appended_at: Timestamp,
    template: Option<&Template>,
    user_has_one: bool,
    issued: i64,
    max_acceptance_distance: SignedDuration,
) -> Verdict {
    if !counts(appended_at, event.valid_until) {
        return Verdict::Void;
    }
    let Some(template) = template else {
        return Verdict::TemplateGone;
    };
    if user_has_one {
        return Verdict::Duplicate;
    }
    if template.is_sold_out(issued) {
        return Verdict::OverLimit;
    }
    let distance = event.accepted_at.duration_since(appended_at);
    if distance.unsigned_abs() > max_acceptance_distance.unsigned_abs() {
        return Verdict::Misdated;
    }
    Verdict::Write(match template.status {
        TemplateStatus::Discarded => CouponStatus::Discarded,
        _ => CouponStatus::Issued,
    })
}

/// The templates and coupon holders that a batch concerns, as read from the database. The templates are locked until the
/// batch is written.
#[derive(Debug)]
pub struct Known<'a> {
    /// The batch's templates that exist, with their counts before the batch.
    pub templates: HashMap<TemplateId, Template>,
    /// The batch's pairs of template and user for which a coupon exists.
    pub holders: HashSet<(TemplateId, &'a str)>,
    /// The largest permitted distance of an event's time of acceptance from its append time:
    /// [`super::MAX_ACCEPTANCE_DISTANCE`].
    pub max_acceptance_distance: SignedDuration,
}

/// A coupon that is about to be written.
#[derive(Debug)]
pub struct NewCoupon<'a> {
    /// The coupon, in the state in which it is written.
    pub coupon: Coupon,
    /// The record that it is made from.
    pub record: &'a LogRecord,
    /// The record's event.
    pub event: &'a IssueEvent,
    /// The template's reason for being discarded, if the coupon is discarded at once.
    discard_reason: Option<String>,
}

impl NewCoupon<'_> {
    /// Returns the coupon's ledger entries, each with the time at which it is recorded. `now` is the writer's clock.
    #[must_use]
    pub fn entries(&self, now: Timestamp) -> Vec<(Timestamp, Transition)> {
        let issue = (
            self.coupon.issued_at,
            Transition::bare(HistoryAction::Issue),
        );
        let discard = self.discarded_at(now).map(|at| {
            let transition = Transition {
                reason: self.discard_reason.clone(),
                ..Transition::bare(HistoryAction::Discard)
            };
            (at, transition)
        });
        [issue].into_iter().chain(discard).collect()
    }

    /// Returns the time at which the coupon's last entry is recorded. `now` is the writer's clock.
    #[must_use]
    pub fn changed_at(&self, now: Timestamp) -> Timestamp {
        self.discarded_at(now).unwrap_or(self.coupon.issued_at)
    }

    /// Returns the time of the DISCARD entry of a coupon that is discarded at once: after its ISSUE entry, and not
    /// before `now`.
    fn discarded_at(&self, now: Timestamp) -> Option<Timestamp> {
        let issued_at = self.coupon.issued_at;
        let after_issue = issued_at.checked_add(SignedDuration::from_micros(1));
        (self.coupon.status == CouponStatus::Discarded)
            .then(|| after_issue.unwrap_or(Timestamp::MAX).max(now))
    }
}

/// A record that is kept for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToPark<'a> {
    /// A record that cannot be read.
    Unreadable(&'a LogRecord, &'a Unreadable),
    /// An event, with the reason why it does not become a coupon.
    Event(&'a LogRecord, &'a IssueEvent, &'static str),
}

/// The decisions over a batch.
#[derive(Debug, Default)]
pub struct BatchDecision<'a> {
    /// The coupons to be written, in the order of the log.
    pub coupons: Vec<NewCoupon<'a>>,
    /// The records to be kept for an operator.
    pub parked: Vec<ToPark<'a>>,
    /// The numbers of records that become no coupon. The store adds `written`.
    pub tally: Tally,
}

/// Decides over a batch of records of one partition, in their order.
#[must_use]
pub fn judge_batch<'a>(
    records: &'a [LogRecord],
    mut known: Known<'a>,
    zone: &BusinessZone,
) -> BatchDecision<'a> {
    let mut judged = BatchDecision::default();
    let mut issued = HashMap::<TemplateId, i64>::new();
    for record in records {
        let event = match &record.content {
            LogContent::Tick | LogContent::Foreign(_) => continue,
            LogContent::Unreadable(unreadable) => {
                judged.add_unreadable(record, unreadable);
                continue;
            }
            LogContent::Event(event) => event,
        };
        let template = known.templates.get(&event.template_id);
        let new = issued.entry(event.template_id).or_default();
        let before = template.map_or(0, |template| template.issue_count);
        let holder = (event.template_id, event.user_id.as_str());
        let has_one = known.holders.contains(&holder);
        let verdict = judge(
            event,
            record.appended_at,
            template,
            has_one,
            before + *new,
            known.max_acceptance_distance,
        );
        if let (Verdict::Write(status), Some(template)) = (verdict, template) {
            known.holders.insert(holder);
            *new += 1;
            judged
                .coupons
                .push(new_coupon(record, event, template, status, zone));
        } else {
            judged.add_left_out(record, event, verdict);
        }
    }
    judged
}

impl<'a> BatchDecision<'a> {
    /// Parks a record that cannot be read, unless it is known to be too late to count.
    fn add_unreadable(&mut self, record: &'a LogRecord, unreadable: &'a Unreadable) {
        let is_void = |until: Timestamp| !counts(record.appended_at, until);
        if unreadable.valid_until.is_some_and(is_void) {
            self.tally.void += 1;
        } else {
            self.parked.push(ToPark::Unreadable(record, unreadable));
            self.tally.parked += 1;
        }
    }

    /// Counts an event that becomes no coupon, and parks it if its verdict says so.
    fn add_left_out(&mut self, record: &'a LogRecord, event: &'a IssueEvent, verdict: Verdict) {
        match verdict {
            Verdict::Void => self.tally.void += 1,
            Verdict::Duplicate => self.tally.duplicates += 1,
            verdict => {
                self.tally.over_limit += usize::from(verdict == Verdict::OverLimit);
                if let Some(reason) = verdict.why_parked() {
                    self.parked.push(ToPark::Event(record, event, reason));
                    self.tally.parked += 1;
                }
            }
        }
    }
}

fn new_coupon<'a>(
    record: &'a LogRecord,
    event: &'a IssueEvent,
    template: &Template,
    status: CouponStatus,
    zone: &BusinessZone,
) -> NewCoupon<'a> {
    let is_discarded = status == CouponStatus::Discarded;
    let issued = Coupon::issued(
        event.coupon_id,
        template,
        &event.user_id,
        event.accepted_at,
        zone,
    );
    NewCoupon {
        coupon: Coupon { status, ..issued },
        record,
        event,
        discard_reason: template.discard_reason.clone().filter(|_| is_discarded),
    }
}
