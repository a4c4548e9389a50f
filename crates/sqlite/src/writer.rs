//! The one thread that writes, in groups.
//!
//! It takes what has queued up, runs each request in one transaction and commits once with `synchronous=FULL`; only
//! then are all of them answered. A request that fails is not undone alone: the whole group is rolled back and each
//! request runs again in a transaction of its own, so every request stays all-or-nothing without paying for a
//! savepoint (which copies each page that it touches). Requests are written so that they may run again.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use goodpon_application::ports::{Clock, Random, StoreError, StoreResult};
use goodpon_domain::{
    business_time::BusinessZone,
    id::{CouponId, HistoryId, TemplateId},
    template::Template,
};
use goodpon_supervise::{Report, Supervisor, Task, Thread};
use jiff::Timestamp;
use metrics::{Gauge, Histogram};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{
    activity::Activity,
    book::Book,
    checkpoint,
    common_answers::CommonAnswers,
    coupon_state::States,
    disk::Disk,
    error::{OpenError, store_error},
    holder::Holders,
    holder_filter::HolderFilter,
    key_index::Keys,
    late_index::LateIndex,
    pulse::Pulse,
    template_cache::TemplateCache,
    walk,
};

/// A group is no larger, so that its requests do not wait for too many others.
const MAX_GROUP: usize = 512;
/// More waiting requests than that are refused at once.
const MAX_QUEUE: usize = 32_768;
/// How long a lock of another process (a backup tool, say) is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A log that grew larger is cut back to that once it is begun anew.
const KEPT_LOG_BYTES: i64 = 256 << 20;
/// A clock that steps back by no more than this is waited out, so that entries keep their order.
const CLOCK_TOLERANCE_MICROS: i64 = 60_000_000;

/// What the writer works with.
pub(crate) struct Tools {
    pub(crate) path: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) zone: BusinessZone,
    pub(crate) templates: Arc<TemplateCache>,
    pub(crate) filter: Arc<HolderFilter>,
    pub(crate) disk: Arc<Disk>,
}

/// One request for the writer.
trait Request: Send {
    /// Runs it, anew if it ran before.
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()>;
    /// Tells its caller how it ended.
    fn answer(self: Box<Self>, committed: StoreResult<()>);
}

enum Message {
    Request(Box<dyn Request>, Instant),
    FinishCheckpoint,
    Stop,
}

struct Closure<F, T> {
    run: F,
    result: Option<T>,
    reply: oneshot::Sender<StoreResult<T>>,
}

impl<F, T> Request for Closure<F, T>
where
    F: FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        self.result = None;
        self.result = Some((self.run)(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: StoreResult<()>) {
        let Self { run, result, reply } = *self;
        let result = committed.and_then(|()| {
            result.ok_or_else(|| StoreError::Unexpected("the request left no result".into()))
        });
        // Whoever is answered must find free what the request held on to.
        drop(run);
        // A caller that has gone away needs no answer.
        let _ = reply.send(result);
    }
}

/// The handle to the writer thread. Dropping it lets queued requests finish and ends the thread.
pub(crate) struct Writer {
    queue: Sender<Message>,
    pulse: Arc<Pulse>,
    thread: Option<Thread>,
}

/// Asks the writer for the last step of a checkpoint.
#[derive(Clone)]
pub(crate) struct Handle(Sender<Message>);

impl Handle {
    pub(crate) fn finish_checkpoint(&self) {
        let _ = self.0.send(Message::FinishCheckpoint);
    }
}

impl Writer {
    pub(crate) fn start(
        connection: Connection,
        keys: LateIndex<Keys>,
        holders: LateIndex<Holders>,
        states: LateIndex<States>,
        tools: Tools,
        supervisor: &Supervisor,
    ) -> Result<Self, OpenError> {
        let (queue, requests) = bounded(MAX_QUEUE);
        let last_stamp = last_recorded(&connection)?;
        let pulse = Arc::new(Pulse::default());
        let mut state = State {
            connection,
            runtime: tokio::runtime::Handle::try_current().ok(),
            pulse: Arc::clone(&pulse),
            book: Book::default(),
            activity: Activity::default(),
            answers: CommonAnswers::default(),
            keys,
            holders,
            states,
            last_stamp,
            is_set_back: false,
            last_id: LastId::default(),
            metrics: Metrics::default(),
            tools,
        };
        // Without it nothing is answered; and what a panic leaves of its memory is not to be trusted.
        let task = Task::exit_at_once("writer").ends_by_itself();
        let thread = supervisor.spawn_thread(task, move |report| {
            state.work(&requests, report);
            Ok(())
        });
        let thread = thread.map_err(OpenError::Thread)?;
        Ok(Self {
            queue,
            pulse,
            thread: Some(thread),
        })
    }

    /// How the thread is doing.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle(self.queue.clone())
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel();
        let request = Box::new(Closure {
            run,
            result: None,
            reply,
        });
        self.queue
            .try_send(Message::Request(request, Instant::now()))
            .map_err(|error| StoreError::Unavailable {
                reason: match error {
                    TrySendError::Full(_) => "too many writes are waiting".into(),
                    TrySendError::Disconnected(_) => "the store is closing".into(),
                },
                may_have_happened: false,
            })?;
        answer.await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable {
                reason: "the writer ended before it answered".into(),
                may_have_happened: true,
            })
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.queue.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

/// Opens a connection as the writer wants it.
pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    crate::guard::distrust(&connection)?;
    connection.set_prepared_statement_cache_capacity(128);
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "cache_size", -8_192)?;
    connection.pragma_update(None, "journal_size_limit", KEPT_LOG_BYTES)?;
    // The checkpointer does that, beside the writer rather than within a commit.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

/// A time behind the newest entry there is, for a clock that stepped back while the store was closed.
fn last_recorded(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row(
        "SELECT coalesce(max((SELECT max(recorded_at) FROM coupon_histories WHERE template_id = t.id)) + 1, 0)
         FROM coupon_templates t",
        [],
        |row| row.get(0),
    )
}

struct State {
    connection: Connection,
    /// Where the store's callers run, if that is known.
    runtime: Option<tokio::runtime::Handle>,
    book: Book,
    activity: Activity,
    answers: CommonAnswers,
    keys: LateIndex<Keys>,
    holders: LateIndex<Holders>,
    states: LateIndex<States>,
    last_stamp: i64,
    /// Whether the clock was set back for good and the sweeps' walks do not know it yet.
    is_set_back: bool,
    last_id: LastId,
    metrics: Metrics,
    tools: Tools,
    pulse: Arc<Pulse>,
}

struct Metrics {
    batch_size: Histogram,
    wait: Histogram,
    commit: Histogram,
    depth: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            batch_size: metrics::histogram!("goodpon_writer_batch_size"),
            wait: metrics::histogram!("goodpon_writer_wait_seconds"),
            commit: metrics::histogram!("goodpon_writer_commit_seconds"),
            depth: metrics::gauge!("goodpon_writer_queue_depth"),
        }
    }
}

/// The last id that was handed out, and its instant.
type LastId = Cell<Option<(Timestamp, HistoryId)>>;

type Group = Vec<Box<dyn Request>>;

impl State {
    fn work(&mut self, requests: &Receiver<Message>, report: &Report) {
        let mut group: Group = Vec::with_capacity(MAX_GROUP);
        while let Ok(message) = requests.recv() {
            let mut next = Some(message);
            let mut then = None;
            while let Some(message) = next.take() {
                match message {
                    Message::Request(request, queued) => {
                        self.metrics.wait.record(queued.elapsed());
                        group.push(request);
                    }
                    other => {
                        then = Some(other);
                        break;
                    }
                }
                if group.len() < MAX_GROUP {
                    next = requests.try_recv().ok();
                }
            }
            self.metrics.depth.set(requests.len() as f64);
            if !group.is_empty() {
                self.metrics.batch_size.record(group.len() as f64);
                self.run_group(&mut group);
                report.ran();
            }
            if self.tools.disk.has_failed() {
                return;
            }
            match then {
                Some(Message::FinishCheckpoint) => {
                    checkpoint::finish(&self.connection, &self.tools.disk);
                }
                Some(Message::Stop) => return self.close(),
                _ => {}
            }
        }
    }

    /// Leaves the database whole and its log empty.
    fn close(&mut self) {
        if let Err(error) = self.enter_all() {
            if self.tools.disk.ends_with(&error) {
                return;
            }
            self.roll_back();
            tracing::warn!(%error, "late indexes are not whole; the next start reads what they lack");
        }
        checkpoint::close(&self.connection, &self.tools.disk);
    }

    fn enter_all(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        self.keys.enter_all(&self.connection)?;
        self.holders.enter_all(&self.connection)?;
        self.states.enter_all(&self.connection)?;
        self.connection.execute_batch("COMMIT")
    }

    fn run_group(&mut self, group: &mut Group) {
        self.pulse.begin();
        let ran = self.transact(group);
        let outage = matches!(
            ran,
            Err(Failed::Commit(_) | Failed::Before(StoreError::Unavailable { .. }))
        );
        self.pulse.end(outage);
        match ran {
            Ok(()) => self.answer(std::mem::take(group)),
            // The process ends: nobody can be told what came of it.
            Err(Failed::Disk) => group.clear(),
            Err(Failed::Commit(error)) => {
                tracing::error!(%error, requests = group.len(), "group commit failed");
                group.drain(..).for_each(|request| {
                    request.answer(Err(StoreError::Unavailable {
                        reason: error.to_string(),
                        may_have_happened: true,
                    }));
                });
            }
            Err(Failed::Before(error)) if group.len() == 1 => {
                tracing::error!(%error, "write failed");
                group
                    .drain(..)
                    .for_each(|request| request.answer(Err(error.clone())));
            }
            Err(Failed::Before(error @ StoreError::Unavailable { .. })) => {
                tracing::error!(%error, requests = group.len(), "writes failed");
                group
                    .drain(..)
                    .for_each(|request| request.answer(Err(error.clone())));
            }
            Err(Failed::Before(error)) => {
                tracing::warn!(%error, requests = group.len(), "a write failed: each of its group runs alone");
                for request in group.drain(..) {
                    self.run_group(&mut vec![request]);
                }
            }
        }
    }

    /// Answers a group that is durable. Waking its callers is work that need not keep the next group waiting; in two
    /// halves, so that two of the runtime's threads share it.
    fn answer(&self, mut group: Group) {
        let answer = |group: Group| group.into_iter().for_each(|request| request.answer(Ok(())));
        let Some(runtime) = &self.runtime else {
            return answer(group);
        };
        let half = group.split_off(group.len() / 2);
        for half in [group, half] {
            drop(runtime.spawn(async move { answer(half) }));
        }
    }

    /// Runs and commits a group, or leaves nothing of it.
    fn transact(&mut self, group: &mut Group) -> Result<(), Failed> {
        let begun = self.connection.execute_batch("BEGIN IMMEDIATE");
        begun.map_err(|error| self.failed_before(error))?;
        let ran = self.run_all(group);
        if let Err(failed) = ran {
            self.roll_back_after(&failed);
            return Err(failed);
        }
        let started = Instant::now();
        if let Err(error) = self.connection.execute_batch("COMMIT") {
            let failed = match self.tools.disk.ends_with(&error) {
                true => Failed::Disk,
                false => Failed::Commit(error),
            };
            self.roll_back_after(&failed);
            return Err(failed);
        }
        self.metrics.commit.record(started.elapsed());
        self.is_set_back = false;
        // Templates last: whoever sees that one is sold out must find all who hold its coupons. States behind holders:
        // up to the place that these tell, a user's coupons are found as well.
        self.keys.publish();
        self.holders.publish();
        self.states.publish();
        self.book.publish(&self.tools.templates);
        Ok(())
    }

    fn run_all(&mut self, group: &mut Group) -> Result<(), Failed> {
        for request in group.iter_mut() {
            let last_stamp = self.last_stamp;
            let now = stamp(&mut self.last_stamp, self.tools.clock.now());
            self.is_set_back |= self.last_stamp < last_stamp;
            let mut tx = Tx {
                now,
                connection: &self.connection,
                tools: &self.tools,
                last_id: &self.last_id,
                book: &mut self.book,
                activity: &mut self.activity,
                answers: &mut self.answers,
                keys: &mut self.keys,
                holders: &mut self.holders,
                states: &mut self.states,
            };
            let ran = catch_unwind(AssertUnwindSafe(|| request.run(&mut tx)));
            match ran {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(self.failed_before(error)),
                Err(_) => {
                    return Err(Failed::Before(StoreError::Unexpected(
                        "a write panicked".into(),
                    )));
                }
            }
        }
        let flushed = self.book.flush(&self.connection);
        let flushed = flushed.and_then(|()| self.keys.enter_some(&self.connection));
        let flushed = flushed.and_then(|()| self.holders.enter_some(&self.connection));
        let flushed = flushed.and_then(|()| self.states.enter_some(&self.connection));
        let flushed = flushed.and_then(|()| match self.is_set_back {
            true => walk::begin_anew(&self.connection),
            false => Ok(()),
        });
        flushed.map_err(|error| self.failed_before(error))
    }

    /// What an error before the commit is.
    fn failed_before(&self, error: rusqlite::Error) -> Failed {
        match self.tools.disk.ends_with(&error) {
            true => Failed::Disk,
            false => Failed::Before(store_error(error)),
        }
    }

    /// Rolls back, unless the process ends.
    fn roll_back_after(&mut self, failed: &Failed) {
        if !matches!(failed, Failed::Disk) {
            self.roll_back();
        }
    }

    fn roll_back(&mut self) {
        self.book.forget();
        self.activity.forget();
        self.answers.forget();
        self.keys.forget();
        self.holders.forget();
        self.states.forget();
        let rolled_back =
            self.connection.is_autocommit() || self.connection.execute_batch("ROLLBACK").is_ok();
        if rolled_back && self.connection.is_autocommit() {
            return;
        }
        // A connection that cannot even roll back is of no use any more.
        match connect(&self.tools.path) {
            Ok(connection) => self.connection = connection,
            Err(error) => tracing::error!(%error, "the database cannot be opened again"),
        }
    }
}

enum Failed {
    /// Nothing of it can ever come.
    Before(StoreError),
    /// It may or may not be on the disk.
    Commit(rusqlite::Error),
    /// The disk failed, and the process ends.
    Disk,
}

/// The time of a request: never before the one before it, unless the clock was set back for good.
fn stamp(last: &mut i64, now: Timestamp) -> Timestamp {
    let now_micros = now.as_microsecond();
    if now_micros < *last && *last - now_micros <= CLOCK_TOLERANCE_MICROS {
        return Timestamp::from_microsecond(*last).unwrap_or(now);
    }
    *last = now_micros;
    Timestamp::from_microsecond(now_micros).unwrap_or(now)
}

/// A request's view of the transaction it is in.
pub(crate) struct Tx<'a> {
    /// The connection, within the transaction.
    pub(crate) connection: &'a Connection,
    /// When the request happens: the same instant for all that it records.
    pub(crate) now: Timestamp,
    tools: &'a Tools,
    last_id: &'a LastId,
    book: &'a mut Book,
    /// In which seconds templates recorded something.
    pub(crate) activity: &'a mut Activity,
    /// Answers whose ids are known.
    pub(crate) answers: &'a mut CommonAnswers,
    /// Where records of idempotency keys stand.
    pub(crate) keys: &'a mut LateIndex<Keys>,
    /// Who has a coupon.
    pub(crate) holders: &'a mut LateIndex<Holders>,
    /// What has become of coupons.
    pub(crate) states: &'a mut LateIndex<States>,
}

impl Tx<'_> {
    /// The zone in which days are meant.
    pub(crate) fn zone(&self) -> &BusinessZone {
        &self.tools.zone
    }

    /// Who surely has no coupon.
    pub(crate) fn filter(&self) -> &HolderFilter {
        &self.tools.filter
    }

    /// A fresh id for a coupon of this instant.
    pub(crate) fn coupon_id(&self) -> CouponId {
        CouponId::from_bytes(self.history_id().to_bytes())
    }

    /// A fresh id for an entry of this instant, behind all that this instant had before.
    pub(crate) fn history_id(&self) -> HistoryId {
        let mut bytes = [0; 8];
        self.tools.random.fill(&mut bytes);
        let fresh = HistoryId::new(self.now, u64::from_ne_bytes(bytes));
        let id = match self.last_id.get() {
            Some((at, last)) if at == self.now => fresh.max(last.next()),
            _ => fresh,
        };
        self.last_id.set(Some((self.now, id)));
        id
    }

    /// The template as this transaction sees it.
    pub(crate) fn template(&mut self, id: TemplateId) -> rusqlite::Result<Option<&mut Template>> {
        self.book.open(id, self.connection, &self.tools.templates)
    }
}
