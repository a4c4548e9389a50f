//! The database, the log, and the issuers between them.

use std::collections::BTreeMap;

use goodpon_domain::{
    gate::{Epoch, Gate, IssueEvent, Keyed, Verdict, judge},
    id::CouponId,
};
use jiff::Timestamp;

use super::{Broken, Guard, PARTITIONS, World, seconds, short, user_of};

/// What is committed.
#[derive(Debug, Clone, Default)]
pub(super) struct Database {
    pub(super) gate: Option<Gate>,
    pub(super) coupons: Vec<Coupon>,
    /// Events over the limit, which cannot come while the rules hold.
    pub(super) parked: Vec<IssueEvent>,
    pub(super) progress: [Progress; PARTITIONS],
    /// When each server was last seen.
    pub(super) seen: BTreeMap<String, Timestamp>,
}

/// A row of a coupon.
#[derive(Debug, Clone)]
pub(super) struct Coupon {
    pub(super) id: CouponId,
    pub(super) user: u8,
    pub(super) keyed: Option<Keyed>,
}

/// How far a partition was worked through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub(super) next: usize,
    pub(super) log_time: Timestamp,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            next: 0,
            log_time: Timestamp::UNIX_EPOCH,
        }
    }
}

/// A record of the log; without an event it is a tick.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) event: Option<IssueEvent>,
    pub(super) appended_at: Timestamp,
}

/// An issuer, with the batch that it has read if there is one.
#[derive(Debug, Clone, Default)]
pub(super) struct Issuer {
    pub(super) batch: Option<Batch>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    partition: usize,
    from: usize,
    to: usize,
}

impl World {
    pub(super) fn is_worked_through(&self, partition: usize) -> bool {
        self.database.progress[partition].next >= self.log[partition].len()
    }

    pub(super) fn tick(&mut self, partition: usize) {
        let appended_at = self.append_time(partition);
        self.log[partition].push(Record {
            event: None,
            appended_at,
        });
    }

    /// Reads a batch; `count` records at most.
    pub(super) fn fetch(&mut self, issuer: usize, partition: usize, count: usize) {
        let from = self.database.progress[partition].next;
        let to = self.log[partition].len().min(from + count);
        self.issuers[issuer].batch = Some(Batch {
            partition,
            from,
            to,
        });
        self.tell(|| format!("issuer {issuer} reads {from}..{to} of partition {partition}"));
        if !self.has(Guard::ProgressWithRows) {
            self.go_on(partition, from, to);
        }
    }

    /// The issuer's one transaction.
    pub(super) fn commit(&mut self, issuer: usize) -> Result<(), Broken> {
        let Some(batch) = self.issuers[issuer].batch.take() else {
            return Ok(());
        };
        let Batch {
            partition,
            from,
            to,
        } = batch;
        let is_behind = self.database.progress[partition].next != from;
        if is_behind && self.has(Guard::ProgressCompared) && self.has(Guard::ProgressWithRows) {
            self.tell(|| format!("issuer {issuer} finds that another one went on"));
            return Ok(());
        }
        for record in from..to {
            self.write(partition, record);
        }
        if self.has(Guard::ProgressWithRows) {
            self.go_on(partition, from, to);
        }
        self.check_rows()
    }

    fn go_on(&mut self, partition: usize, from: usize, to: usize) {
        let progress = &mut self.database.progress[partition];
        progress.next = progress.next.max(to);
        for record in &self.log[partition][from..to] {
            progress.log_time = progress.log_time.max(record.appended_at);
        }
    }

    fn write(&mut self, partition: usize, record: usize) {
        let Record { event, appended_at } = &self.log[partition][record];
        let Some(event) = event.clone() else {
            return;
        };
        let user = user_of(&event.user_id);
        let appended_at = if self.has(Guard::ValidUntil) {
            *appended_at
        } else {
            event.valid_until
        };
        let has_one = self
            .database
            .coupons
            .iter()
            .any(|coupon| coupon.user == user);
        let issued = self.database.coupons.len();
        let verdict = judge(
            &event,
            appended_at,
            Some(&self.template),
            has_one && self.has(Guard::UserRow),
            if self.has(Guard::LimitChecked) {
                i64::try_from(issued).unwrap_or(i64::MAX)
            } else {
                0
            },
        );
        self.tell(|| {
            let (coupon, user, at) = (short(event.coupon_id), &event.user_id, seconds(appended_at));
            let until = seconds(event.valid_until);
            format!("the issuer finds coupon {coupon} of {user}, appended at {at}, good until {until}: {verdict:?}")
        });
        match verdict {
            Verdict::Void => self.reached.void_copy = true,
            Verdict::Held | Verdict::TemplateGone => {}
            Verdict::OverLimit => self.database.parked.push(event),
            Verdict::Write(_) => {
                self.reached.later_coupon |= event.epoch > Epoch(1);
                self.database.coupons.push(Coupon {
                    id: event.coupon_id,
                    user,
                    keyed: event.keyed,
                });
            }
        }
    }
}
