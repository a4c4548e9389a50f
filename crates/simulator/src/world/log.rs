//! The log, the network before it, and how far each issuer has read.

use goodpon_application::ports::StoreResult;
use goodpon_domain::gate::{Appended, IssueEvent, LogContent, PollResult};
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    ISSUERS, PARTITIONS, World,
    call::{Actor, CallKind, Caller, Life},
    issuing::describe_event,
    seconds,
};
use crate::guard::Guard;

/// The milliseconds between two ticks of an issuer.
const TICK_EVERY_MS: i64 = 1_000;

/// A record of the log; without an event it is a tick.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    event: Option<IssueEvent>,
    pub(super) appended_at: Timestamp,
}

/// A publish on its way to the log.
pub(crate) struct Message {
    event: IssueEvent,
    partition: i32,
    pub(crate) actor: Actor,
    /// Where the acknowledgement goes; `None` of a copy.
    acknowledged: Option<(Life, oneshot::Sender<StoreResult<Appended>>)>,
}

/// An issuer's place in the log, and the order for its next poll.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reader {
    pub(crate) next: [usize; PARTITIONS],
    limits: [Option<usize>; PARTITIONS],
    is_paused: bool,
    /// The partition that the next poll reads, and the most records.
    asked: Option<(usize, usize)>,
    /// When the latest ticks were sent.
    ticked_ms: Option<i64>,
}

impl World {
    /// Puts a publish on its way.
    pub(crate) fn publish(
        &mut self,
        caller: &Caller,
        event: &IssueEvent,
        partition: i32,
        acknowledged: oneshot::Sender<StoreResult<Appended>>,
    ) {
        let actor = caller.actor();
        self.reached.help |= match actor {
            Actor::Request(number) => super::request_of(event.coupon_id) != number,
            _ => true,
        };
        self.note(|| format!("  {actor} publishes {}", describe_event(event)));
        self.network.push(Message {
            event: event.clone(),
            partition,
            actor,
            acknowledged: Some((caller.life, acknowledged)),
        });
    }

    /// Appends a message. With `and_again` it stays on its way, to arrive once more.
    pub(crate) fn deliver(&mut self, message: usize, and_again: bool) {
        let (actor, event, partition, waiting) = if and_again {
            let copied = &mut self.network[message];
            let waiting = copied.acknowledged.take();
            (
                copied.actor,
                copied.event.clone(),
                copied.partition,
                waiting,
            )
        } else {
            let gone = self.network.remove(message);
            (gone.actor, gone.event, gone.partition, gone.acknowledged)
        };
        let mut appended = self.append(partition, Some(event.clone()));
        self.note(|| {
            let at = seconds(appended.appended_at);
            format!("{} is appended at {at}", describe_event(&event))
        });
        if !self.has(Guard::ValidUntil) {
            appended.appended_at = appended.appended_at.min(event.valid_until);
        }
        if let Some((life, reply)) = waiting {
            let acknowledge = move |_: &mut Self| Ok(appended);
            self.register(
                actor,
                life,
                CallKind::Log,
                "is acknowledged",
                reply,
                acknowledge,
            );
        }
    }

    pub(crate) fn lose(&mut self, message: usize) {
        let lost = self.network.remove(message);
        self.note(|| format!("the publish of {} is lost", describe_event(&lost.event)));
    }

    fn append(&mut self, partition: i32, event: Option<IssueEvent>) -> Appended {
        let index = usize::try_from(partition).unwrap_or(0) % PARTITIONS;
        let appended_at = self.append_time(index);
        let offset = i64::try_from(self.log[index].len()).unwrap_or(i64::MAX);
        self.log[index].push(Record { event, appended_at });
        Appended {
            appended_at,
            partition,
            offset,
        }
    }

    /// Appends a record without content.
    pub(crate) fn tick(&mut self, partition: i32) -> Appended {
        let appended = self.append(partition, None);
        self.note(|| {
            let at = seconds(appended.appended_at);
            format!("  partition {partition} has a tick at {at}")
        });
        appended
    }

    pub(crate) fn is_worked_through(&self, partition: usize) -> bool {
        self.database.progress[partition].next >= self.log[partition].len()
    }

    /// Returns whether an issuer has something to read in a partition.
    pub(crate) fn can_read(&self, issuer: usize, partition: usize) -> bool {
        let reader = &self.readers[issuer];
        !reader.is_paused && reader.next[partition] < self.log[partition].len()
    }

    /// Lets an issuer's reading begin where the database says.
    pub(crate) fn join(&mut self, issuer: usize) {
        let next = self.database.progress.map(|progress| progress.next);
        self.readers[issuer] = Reader {
            next,
            ..Reader::default()
        };
    }

    /// Says what an issuer's next poll reads.
    pub(crate) fn ask(&mut self, issuer: usize, asked: Option<(usize, usize)>) {
        let (is_due, now_ms) = (self.is_poll_due(issuer), self.now_ms);
        let reader = &mut self.readers[issuer];
        reader.asked = asked;
        if is_due {
            reader.ticked_ms = Some(now_ms);
        }
    }

    /// Returns whether a poll would send ticks.
    pub(crate) fn is_poll_due(&self, issuer: usize) -> bool {
        let ticked_ms = self.readers[issuer].ticked_ms;
        ticked_ms.is_none_or(|ticked| self.now_ms - ticked >= TICK_EVERY_MS)
    }

    /// Returns what an issuer's poll finds.
    pub(crate) fn poll(&mut self, issuer: usize) -> PollResult {
        let reader = &mut self.readers[issuer % ISSUERS];
        let Some((partition, most)) = reader.asked.take() else {
            return PollResult::Idle;
        };
        let from = reader.next[partition];
        let most = most.min(reader.limits[partition].unwrap_or(most)).max(1);
        let to = self.log[partition].len().min(from.saturating_add(most));
        if reader.is_paused || from >= to {
            return PollResult::Idle;
        }
        reader.next[partition] = to;
        self.note(|| format!("issuer {issuer} reads {from}..{to} of partition {partition}"));
        if !self.has(Guard::ProgressWithRows) {
            self.advance(partition, from, to);
        }
        let records = self.log[partition][from..to].iter().enumerate();
        PollResult::Batch {
            partition: i32::try_from(partition).unwrap_or_default(),
            records: records
                .map(|(behind, record)| record.read_at(from + behind))
                .collect(),
        }
    }

    pub(crate) fn reader(&mut self, issuer: usize) -> &mut Reader {
        &mut self.readers[issuer % ISSUERS]
    }
}

impl Reader {
    pub(crate) fn seek(&mut self, partition: i32, offset: i64) {
        if let Some(next) = usize::try_from(partition)
            .ok()
            .and_then(|at| self.next.get_mut(at))
        {
            *next = usize::try_from(offset).unwrap_or_default();
        }
    }

    pub(crate) fn limit(&mut self, partition: i32, most: usize) {
        if let Some(limit) = usize::try_from(partition)
            .ok()
            .and_then(|at| self.limits.get_mut(at))
        {
            *limit = Some(most);
        }
    }

    pub(crate) fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }
}

impl Record {
    fn read_at(&self, offset: usize) -> goodpon_domain::gate::LogRecord {
        goodpon_domain::gate::LogRecord {
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
            appended_at: self.appended_at,
            content: self
                .event
                .clone()
                .map_or(LogContent::Tick, LogContent::Event),
        }
    }
}
