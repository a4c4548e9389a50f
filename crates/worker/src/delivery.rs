//! Entries of a queue are handed to the outside, several at a time, shared out so that no sender's entries hold those of
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

/// How soon a new entry is noticed.
pub(crate) const POLL: Duration = Duration::from_secs(1);

/// How many entries are under way at a time.
const UNDER_WAY: usize = 8;

/// How many of them may go to one destination: a server that takes its time leaves the other places to others.
const UNDER_WAY_TO_ONE_DESTINATION: usize = 4;

/// How many of them may come from one origin, to however many destinations.
const UNDER_WAY_FROM_ONE_ORIGIN: usize = 6;

/// How many entries a look into the queue takes out, the oldest: origins take turns among them. They may be begun until
/// the next look, which is due after [`POLL`]: by then others may come first, or another process may deliver.
const TAKEN: usize = 1024;

/// How often it is measured how much waits.
const MEASURED_EVERY: Duration = Duration::from_secs(10);

/// A queue of one kind of entries, and the way out for them. An entry is delivered at least once: where a process ends
/// between the handing over and the note of it, it goes out again.
#[async_trait]
pub(crate) trait Queue: Send + Sync + 'static {
    /// What is delivered.
    type Entry: Send + Sync + 'static;
    /// What an entry is called in the log.
    const ENTRY: &'static str;
    /// The names of its metrics.
    const METRICS: Metrics;

    /// Tells entries apart.
    fn id(entry: &Self::Entry) -> i64;
    /// Whose it is: origins take turns. Entries without one take turns as one.
    fn origin(entry: &Self::Entry) -> Option<&str>;
    /// Where it goes.
    fn destination(entry: &Self::Entry) -> String;

    /// Up to `limit` entries that are due, oldest first.
    async fn due(&self, limit: usize) -> StoreResult<Vec<Self::Entry>>;
    /// How much is due.
    async fn backlog(&self) -> StoreResult<Backlog>;
    /// The present instant.
    fn now(&self) -> Timestamp;
    /// Hands one over and notes what came of it, as the label `outcome` of its metric; one that fails is due again later.
    async fn deliver(&self, entry: &Self::Entry) -> StoreResult<&'static str>;
}

/// The names of a queue's metrics.
pub(crate) struct Metrics {
    /// Counts tries, by what came of them.
    pub(crate) deliveries: &'static str,
    /// How many entries are due.
    pub(crate) due: &'static str,
    /// How long, in seconds, the entry is due that waits longest.
    pub(crate) oldest: &'static str,
}

/// Delivers what is due of `queue` until `stop` is true or its sender gone, and then finishes what is under way, which the
/// time limit of a conversation bounds.
pub(crate) async fn run<Q: Queue>(queue: Q, report: Report, stop: watch::Receiver<bool>) -> Ended {
    Deliveries::new(queue).run(&report, stop).await;
    Ok(())
}

pub(crate) fn could_not_be_read(entry: &'static str, error: &StoreError) {
    tracing::warn!(entry, %error, "a queue could not be read, to be tried again");
}

/// The deliveries of one process.
struct Deliveries<Q: Queue> {
    queue: Arc<Q>,
    taken: VecDeque<Arc<Q::Entry>>,
    taken_at: Instant,
    /// The origin of the entry that was begun last: that behind it is next.
    last: Option<String>,
    running: JoinSet<StoreResult<&'static str>>,
    under_way: HashMap<Id, Arc<Q::Entry>>,
    measured_at: Option<Instant>,
}

impl<Q: Queue> Deliveries<Q> {
    fn new(queue: Q) -> Self {
        Self {
            queue: Arc::new(queue),
            taken: VecDeque::new(),
            taken_at: Instant::now(),
            last: None,
            running: JoinSet::new(),
            under_way: HashMap::new(),
            measured_at: None,
        }
    }

    async fn run(mut self, report: &Report, mut stop: watch::Receiver<bool>) {
        loop {
            match self.begin_what_is_due().await {
                Ok(()) => report.ran(),
                Err(error) => {
                    report.trouble(&error);
                    could_not_be_read(Q::ENTRY, &error);
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

    async fn begin_what_is_due(&mut self) -> StoreResult<()> {
        if self.taken_at.elapsed() < POLL {
            self.begin_what_was_taken();
        }
        if self.under_way.len() < UNDER_WAY {
            let taken_at = Instant::now();
            let due = self.queue.due(TAKEN + self.under_way.len()).await?;
            let due = due.into_iter().filter(|entry| !self.has(Q::id(entry)));
            self.taken = in_turns::<Q>(due.map(Arc::new), self.last.as_deref());
            self.taken_at = taken_at;
            self.begin_what_was_taken();
        }
        Ok(())
    }

    fn has(&self, id: i64) -> bool {
        self.under_way.values().any(|other| Q::id(other) == id)
    }

    fn begin_what_was_taken(&mut self) {
        while self.under_way.len() < UNDER_WAY {
            let next = self
                .taken
                .iter()
                .position(|entry| self.has_place_for(entry));
            let Some(entry) = next.and_then(|index| self.taken.remove(index)) else {
                return;
            };
            self.begin(entry);
        }
    }

    fn has_place_for(&self, entry: &Q::Entry) -> bool {
        let under_way = |is_like: &dyn Fn(&Q::Entry) -> bool| {
            let all = self.under_way.values();
            all.filter(|other| is_like(other)).count()
        };
        let (origin, destination) = (Q::origin(entry), Q::destination(entry));
        under_way(&|other| Q::origin(other) == origin) < UNDER_WAY_FROM_ONE_ORIGIN
            && under_way(&|other| Q::destination(other) == destination)
                < UNDER_WAY_TO_ONE_DESTINATION
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
            Err(error) => could_not_be_read(Q::ENTRY, &error),
        }
    }
}

/// First the oldest entry of each origin, in the order of the origins' names, which begins behind `last` and comes
/// round; then the second of each, and so on: however many one of them sent, another's first comes before its second.
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
