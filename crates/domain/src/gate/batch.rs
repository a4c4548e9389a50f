//! A batch of the log of accepted issues, and what an issuer makes of it.

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
pub struct Record {
    /// Its offset in the partition.
    pub offset: i64,
    /// When the log appended it, by the log's clock.
    pub appended_at: Timestamp,
    /// Its content.
    pub content: Content,
}

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An issue was accepted.
    Event(IssueEvent),
    /// Nothing but the log's time, which goes on.
    Tick,
    /// Of the installation with this name, which uses the same topic by mistake: nothing but the log's time to this one.
    Foreign(String),
    /// What this program cannot read.
    Unreadable(Unreadable),
}

/// A record that this program cannot read, with what is known of it all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Why not, for people.
    pub reason: String,
    /// The template that it is about.
    pub template_id: Option<TemplateId>,
    /// The user that it is about.
    pub user_id: Option<String>,
    /// The latest append time at which it counts.
    pub valid_until: Option<Timestamp>,
    /// All of it, to be read by a later program.
    pub raw: Vec<u8>,
}

/// Where and when the log appended something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The log's append time, to the millisecond: the one that the record has, too.
    pub appended_at: Timestamp,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
}

/// The result of a poll of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// The next records of a partition, one after the other without a gap.
    Batch {
        /// The partition.
        partition: i32,
        /// At least one.
        records: Vec<Record>,
    },
    /// Nothing came in time.
    Idle,
    /// The log lacks the record with which a partition is to go on: it was deleted too early, or the topic was made
    /// anew. The partition stands still, and this is reported every three seconds, until the reader is moved elsewhere:
    /// what a log has behind a record that it lost is never read unasked.
    Truncated {
        /// The partition.
        partition: i32,
        /// The offset to go on with.
        wanted: i64,
        /// The first offset that the log has.
        first_there: i64,
        /// The offset behind the last that it has.
        end: i64,
    },
}

/// The result of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is written.
    Done(Tally),
    /// Nothing was written: the partition was worked through up to another offset, where the reader is to go on.
    Elsewhere {
        /// The next offset to be worked through.
        next_offset: i64,
    },
}

/// A batch in numbers of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Became coupons.
    pub written: usize,
    /// Came too late to count.
    pub void: usize,
    /// Of users who have a coupon of the template already; usually repeated copies of one event.
    pub duplicates: usize,
    /// Kept for an operator: unreadable, of a template that is gone, or what the database does not take.
    pub parked: usize,
    /// Of those, beyond the limit: this cannot happen while the rules hold.
    pub over_limit: usize,
}

/// What an issuer does with an event of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it came too late to count.
    Void,
    /// Nothing: the user has a coupon of the template. It is this event's own, if the event was answered.
    Duplicate,
    /// It is kept for an operator, with its place: its template is gone.
    TemplateGone,
    /// It is kept for an operator, with its place: the limit is reached, which cannot happen while the rules hold.
    OverLimit,
    /// It is kept for an operator, with its place: it states a time of acceptance that no partner of ours wrote.
    Misdated,
    /// It becomes a coupon in this state, ISSUED or, where the template was discarded meanwhile, DISCARDED.
    Write(CouponStatus),
}

impl Verdict {
    /// Why an event with this verdict is kept for an operator; `None` where it is not kept.
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

/// Decides over an event of the log. `issued` counts the template's coupons with those of the running batch; its time of
/// acceptance may differ from its append time by `accepted_within`.
#[must_use]
pub fn judge(
    event: &IssueEvent,
    appended_at: Timestamp,
    template: Option<&Template>,
    user_has_one: bool,
    issued: i64,
    accepted_within: SignedDuration,
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
    if distance.unsigned_abs() > accepted_within.unsigned_abs() {
        return Verdict::Misdated;
    }
    Verdict::Write(match template.status {
        TemplateStatus::Discarded => CouponStatus::Discarded,
        _ => CouponStatus::Issued,
    })
}

/// What is known of the templates and users that a batch is about, locked until the batch is written.
#[derive(Debug)]
pub struct Known<'a> {
    /// Those of the batch's templates that exist, with their counts before the batch.
    pub templates: HashMap<TemplateId, Template>,
    /// Those of the batch's users who have a coupon of the template.
    pub holders: HashSet<(TemplateId, &'a str)>,
    /// How far an event's time of acceptance may be from its append time: [`super::ACCEPTED_WITHIN`].
    pub accepted_within: SignedDuration,
}

/// A coupon that is about to be written.
#[derive(Debug)]
pub struct NewCoupon<'a> {
    /// It, in the state that it is written in.
    pub coupon: Coupon,
    /// The record that it comes of.
    pub record: &'a Record,
    /// That record's event.
    pub event: &'a IssueEvent,
    /// The template's reason, where the coupon is discarded at once.
    discard_reason: Option<String>,
}

impl NewCoupon<'_> {
    /// Returns its entries, each with the time at which it is recorded. `now` is the writer's clock.
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

    /// Returns when its last entry is recorded. `now` is the writer's clock.
    #[must_use]
    pub fn changed_at(&self, now: Timestamp) -> Timestamp {
        self.discarded_at(now).unwrap_or(self.coupon.issued_at)
    }

    /// When it is discarded, if it is: right behind the ISSUE, and not before `now`.
    fn discarded_at(&self, now: Timestamp) -> Option<Timestamp> {
        let issued_at = self.coupon.issued_at;
        let behind = issued_at.checked_add(SignedDuration::from_micros(1));
        (self.coupon.status == CouponStatus::Discarded)
            .then(|| behind.unwrap_or(Timestamp::MAX).max(now))
    }
}

/// A record that is kept for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToPark<'a> {
    /// One that cannot be read.
    Unreadable(&'a Record, &'a Unreadable),
    /// An event, and why it does not become a coupon.
    Event(&'a Record, &'a IssueEvent, &'static str),
}

/// What becomes of a batch.
#[derive(Debug, Default)]
pub struct Judged<'a> {
    /// The coupons to be written, in the order of the log.
    pub coupons: Vec<NewCoupon<'a>>,
    /// The records to be kept for an operator.
    pub parked: Vec<ToPark<'a>>,
    /// Counts what is neither, and what is parked; `written` is for the store to count.
    pub tally: Tally,
}

/// Decides over a batch of records of one partition, in their order.
#[must_use]
pub fn judge_batch<'a>(
    records: &'a [Record],
    mut known: Known<'a>,
    zone: &BusinessZone,
) -> Judged<'a> {
    let mut judged = Judged::default();
    let mut issued = HashMap::<TemplateId, i64>::new();
    for record in records {
        let event = match &record.content {
            Content::Tick | Content::Foreign(_) => continue,
            Content::Unreadable(unreadable) => {
                judged.unreadable(record, unreadable);
                continue;
            }
            Content::Event(event) => event,
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
            known.accepted_within,
        );
        if let (Verdict::Write(status), Some(template)) = (verdict, template) {
            known.holders.insert(holder);
            *new += 1;
            judged
                .coupons
                .push(new_coupon(record, event, template, status, zone));
        } else {
            judged.left_out(record, event, verdict);
        }
    }
    judged
}

impl<'a> Judged<'a> {
    fn unreadable(&mut self, record: &'a Record, unreadable: &'a Unreadable) {
        let is_void = |until: Timestamp| !counts(record.appended_at, until);
        if unreadable.valid_until.is_some_and(is_void) {
            self.tally.void += 1;
        } else {
            self.parked.push(ToPark::Unreadable(record, unreadable));
            self.tally.parked += 1;
        }
    }

    fn left_out(&mut self, record: &'a Record, event: &'a IssueEvent, verdict: Verdict) {
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
    record: &'a Record,
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
