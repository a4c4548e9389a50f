//! Hands the entries of a queue to the outside, several at a time, shared out so that no sender's entries hold those of
//! others up for long. Mail is its first user.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goodpon_application::ports::{Backlog, StoreError, StoreResult};
use goodpon_supervise::{Ended, Report};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

/// The pause between two looks into the queue: a new entry waits this long at most.
pub(crate) const POLL: Duration = Duration::from_secs(1);

/// Entries under way at a time.
const MAX_UNDER_WAY: usize = 8;

/// Entries under way to one destination: a server that takes its time leaves the rest to other destinations.
const MAX_TO_ONE_DESTINATION: usize = 4;

/// Entries under way from one origin, to any destinations.
const MAX_FROM_ONE_ORIGIN: usize = 6;

/// Entries that one look into the queue reads, the oldest: origins take turns among them. They may be begun until the
/// next look, which is due after [`POLL`]: by then others may come first, or another process may deliver.
const MAX_READ: usize = 1024;

/// The interval at which the backlog is measured.
const MEASURED_EVERY: Duration = Duration::from_secs(10);

/// A queue of one kind of entries, and their delivery. An entry is delivered at least once: where a process ends between
/// the delivery and the note of it, it goes out again.
#[async_trait]
pub(crate) trait Queue: Send + Sync + 'static {
    /// The thing that is delivered.
    type Entry: Send + Sync + 'static;
    /// The word for an entry in the log.
    const ENTRY: &'static str;
    /// The names of its metrics.
    const METRICS: Metrics;

    /// Returns the number that no other entry has.
    fn id(entry: &Self::Entry) -> i64;
    /// Returns the sender of an entry: origins take turns. Entries without one take turns as one origin.
    fn origin(entry: &Self::Entry) -> Option<&str>;
    /// Returns the receiver of an entry.
    fn destination(entry: &Self::Entry) -> String;

    /// Reads up to `limit` entries that are due, oldest first.
    async fn due(&self, limit: usize) -> StoreResult<Vec<Self::Entry>>;
    /// Counts the entries that are due, and reads since when the oldest is.
    async fn backlog(&self) -> StoreResult<Backlog>;
    /// Reads the clock.
    fn now(&self) -> Timestamp;
    /// Hands an entry over and stores the outcome. Returns it as the label `outcome` of the metric; an entry that fails is
    /// due again later.
    async fn deliver(&self, entry: &Self::Entry) -> StoreResult<&'static str>;
}

/// The names of a queue's metrics.
pub(crate) struct Metrics {
    /// Counts tries, by their outcomes.
    pub(crate) deliveries: &'static str,
    /// Measures the entries that are due.
    pub(crate) due: &'static str,
    /// Measures the seconds for which the entry is due that waits longest.
    pub(crate) oldest: &'static str,
}

/// Delivers the entries of `queue` that are due until `stop` is true or its sender gone. Then it finishes those under
/// way, which the time limit of a conversation bounds.
pub(crate) async fn run<Q: Queue>(queue: Q, report: Report, stop: watch::Receiver<bool>) -> Ended {
    Deliveries::new(queue).run(&report, stop).await;
    Ok(())
}

pub(crate) fn log_unreadable(entry: &'static str, error: &StoreError) {
    tracing::warn!(entry, %error, "a queue could not be read, to be tried again");
}

/// The deliveries of one process.
struct Deliveries<Q: Queue> {
    queue: Arc<Q>,
    /// Entries of the last look that are not begun yet, in turns.
    waiting: VecDeque<Arc<Q::Entry>>,
    looked_at: Instant,
    /// The origin of the entry that was begun last: the origin behind it is next.
    last: Option<String>,
    running: JoinSet<StoreResult<&'static str>>,
    under_way: HashMap<Id, Arc<Q::Entry>>,
    measured_at: Option<Instant>,
}

impl<Q: Queue> Deliveries<Q> {
    fn new(queue: Q) -> Self {
        Self {
            queue: Arc::new(queue),
            waiting: VecDeque::new(),
            looked_at: Instant::now(),
            last: None,
            running: JoinSet::new(),
            under_way: HashMap::new(),
            measured_at: None,
        }
    }

    async fn run(mut self, report: &Report, mut stop: watch::Receiver<bool>) {
        loop {
            match self.begin_due().await {
                Ok(()) => report.ran(),
                Err(error) => {
                    report.trouble(&error);
                    log_unreadable(Q::ENTRY, &error);
                }
            }
            self.measure().await;
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(ended) = self.running.join_next_with_id() => self.end(ended),
                () = tokio::time::sleep(POLL) => {}
            }
        }
        while let Some(ended) = self.running.join_next_with_id().await {
            self.end(ended);
        }
    }

    async fn begin_due(&mut self) -> StoreResult<()> {
        if self.looked_at.elapsed() < POLL {
            self.begin_waiting();
        }
        if self.under_way.len() < MAX_UNDER_WAY {
            let looked_at = Instant::now();
            let due = self.queue.due(MAX_READ + self.under_way.len()).await?;
            let due = due.into_iter().filter(|entry| !self.has(Q::id(entry)));
            self.waiting = in_turns::<Q>(due.map(Arc::new), self.last.as_deref());
            self.looked_at = looked_at;
            self.begin_waiting();
        }
        Ok(())
    }

    fn has(&self, id: i64) -> bool {
        self.under_way.values().any(|other| Q::id(other) == id)
    }

    fn begin_waiting(&mut self) {
        while self.under_way.len() < MAX_UNDER_WAY {
            let next = self.waiting.iter().position(|entry| self.may_begin(entry));
            let Some(entry) = next.and_then(|index| self.waiting.remove(index)) else {
                return;
            };
            self.begin(entry);
        }
    }

    fn may_begin(&self, entry: &Q::Entry) -> bool {
        let under_way = |is_like: &dyn Fn(&Q::Entry) -> bool| {
            let all = self.under_way.values();
            all.filter(|other| is_like(other)).count()
        };
        let (origin, destination) = (Q::origin(entry), Q::destination(entry));
        under_way(&|other| Q::origin(other) == origin) < MAX_FROM_ONE_ORIGIN
            && under_way(&|other| Q::destination(other) == destination) < MAX_TO_ONE_DESTINATION
    }

    fn begin(&mut self, entry: Arc<Q::Entry>) {
        self.last = Q::origin(&entry).map(str::to_owned);
        let (queue, delivered) = (Arc::clone(&self.queue), Arc::clone(&entry));
        let task = self
            .running
            .spawn(async move { queue.deliver(&delivered).await });
        self.under_way.insert(task.id(), entry);
    }

    fn end(&mut self, ended: Result<(Id, StoreResult<&'static str>), JoinError>) {
        let entry = Q::ENTRY;
        let (id, outcome) = match ended {
            Ok((id, Ok(outcome))) => (id, outcome),
            Ok((id, Err(error))) => {
                tracing::warn!(entry, %error, "what came of a delivery could not be noted: it may go out again");
                (id, "unnoted")
            }
            Err(error) => {
                tracing::error!(entry, %error, "a delivery panicked: it is tried again");
                (error.id(), "panicked")
            }
        };
        self.under_way.remove(&id);
        metrics::counter!(Q::METRICS.deliveries, "outcome" => outcome).increment(1);
    }

    async fn measure(&mut self) {
        if self
            .measured_at
            .is_some_and(|at| at.elapsed() < MEASURED_EVERY)
        {
            return;
        }
        self.measured_at = Some(Instant::now());
        match self.queue.backlog().await {
            Ok(backlog) => {
                let now = self.queue.now();
                let waits = backlog.oldest.map(|since| now.duration_since(since));
                metrics::gauge!(Q::METRICS.due).set(backlog.due as f64);
                metrics::gauge!(Q::METRICS.oldest)
                    .set(waits.map_or(0.0, |waits| waits.as_secs_f64().max(0.0)));
            }
            Err(error) => log_unreadable(Q::ENTRY, &error),
        }
    }
}

/// Puts first the oldest entry of each origin, in the order of the origins' names, beginning behind `last`; then the
/// second of each, and so on: however many entries one origin has, the first of another comes before its second.
fn in_turns<Q: Queue>(
    due: impl Iterator<Item = Arc<Q::Entry>>,
    last: Option<&str>,
) -> VecDeque<Arc<Q::Entry>> {
    let mut of_origin = HashMap::<Option<String>, usize>::new();
    let mut turns: Vec<_> = due
        .map(|entry| {
            let origin = Q::origin(&entry).map(str::to_owned);
            let turn = of_origin.entry(origin.clone()).or_default();
            *turn += 1;
            (*turn, origin.as_deref() <= last, origin, entry)
        })
        .collect();
    turns.sort_by(
        |(turn, came, origin, _), (other_turn, other_came, other, _)| {
            (turn, came, origin).cmp(&(other_turn, other_came, other))
        },
    );
    turns.into_iter().map(|(.., entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries that are an id and an origin.
    struct Ids;

    #[async_trait]
    impl Queue for Ids {
        type Entry = (i64, &'static str);
        const ENTRY: &'static str = "id";
        const METRICS: Metrics = Metrics {
            deliveries: "deliveries",
            due: "due",
            oldest: "oldest",
        };

        fn id((id, _): &Self::Entry) -> i64 {
            *id
        }
        fn origin((_, origin): &Self::Entry) -> Option<&str> {
            (!origin.is_empty()).then_some(*origin)
        }
        fn destination(_: &Self::Entry) -> String {
            String::new()
        }
        async fn due(&self, _: usize) -> StoreResult<Vec<Self::Entry>> {
            Ok(Vec::new())
        }
        async fn backlog(&self) -> StoreResult<Backlog> {
            Ok(Backlog::default())
        }
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
        async fn deliver(&self, _: &Self::Entry) -> StoreResult<&'static str> {
            Ok("sent")
        }
    }

    #[test]
    fn origins_take_turns() {
        let due = [
            (1, "a"),
            (2, "a"),
            (3, "a"),
            (4, "a"),
            (5, "b"),
            (6, "c"),
            (7, ""),
            (8, "c"),
        ];
        let ids = |last: Option<&str>| {
            let turns = in_turns::<Ids>(due.into_iter().map(Arc::new), last);
            turns.iter().map(|entry| entry.0).collect::<Vec<_>>()
        };
        assert_eq!(ids(None), [1, 5, 6, 7, 2, 8, 3, 4]);
        assert_eq!(ids(Some("a")), [5, 6, 7, 1, 8, 2, 3, 4]);
        assert_eq!(ids(Some("c")), [7, 1, 5, 6, 2, 8, 3, 4]);
    }
}
