//! A connection in use: statements within a time limit, and transactions that are repeated as a whole.

use std::marker::PhantomData;
use std::time::Duration;

use futures::future::BoxFuture;
use goodpon_application::ports::StoreResult;
use goodpon_domain::id::HistoryId;
use jiff::Timestamp;
use mysql_async::{Conn, Params, Row, prelude::*};
use tokio::time::{Instant, error::Elapsed, timeout_at};

use crate::{
    Store,
    columns::Columns,
    fault::{Fault, Result},
    pool::{self, Place},
    script::{self, Script},
};

/// How long a connection is waited for.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How long a transaction or a read may take in all, its repetitions included.
const RUN_WITHIN: Duration = Duration::from_secs(5);

/// How long what goes through many rows may take: an audit, a load.
const SCAN_WITHIN: Duration = Duration::from_secs(600);

/// How often a transaction is run at the most.
const MOST_TRIES: u32 = 8;

/// A connection in use. Whoever drops it in the middle of something closes it: the next user must not read an answer
/// that was meant for another, nor commit what another began.
///
/// `'e` is what the steps of a transaction may borrow of their surroundings: they are given a `&'a mut Session<'e>`,
/// so it is known to outlive `'a`. (Async closures would say that by themselves, but not that their futures are Send.)
pub(crate) struct Session<'e> {
    conn: Option<Conn>,
    deadline: Instant,
    is_busy: bool,
    in_transaction: bool,
    /// The store's time at the beginning of this run.
    pub(crate) now: Timestamp,
    store: Store,
    // The connection goes first, then the place.
    _place: Place,
    _borrows: PhantomData<&'e ()>,
}

/// The steps of a transaction or a read, which may be run again: `|session| Box::pin(async move { … })`, written in the
/// call itself, for only there the compiler finds its lifetimes.
pub(crate) trait Steps<'e, T>:
    for<'a> FnMut(&'a mut Session<'e>) -> BoxFuture<'a, Result<T>> + Send
{
}

impl<'e, T, F> Steps<'e, T> for F where
    F: for<'a> FnMut(&'a mut Session<'e>) -> BoxFuture<'a, Result<T>> + Send
{
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Each statement for itself, until the steps begin a transaction.
    Statements,
    /// A transaction.
    Transaction,
    /// Reads that all see one moment.
    Snapshot,
}

impl Session<'_> {
    /// Runs a statement and gives how many rows it changed.
    pub(crate) async fn run(&mut self, sql: &str, params: impl Into<Params>) -> Result<u64> {
        let params = params.into();
        let (conn, deadline) = self.start()?;
        let statement = async {
            ask(conn, sql, params).await?;
            Ok(conn.affected_rows())
        };
        let ended = timeout_at(deadline, statement).await;
        self.end(ended)
    }

    /// Runs an INSERT and gives the id that the server handed out.
    pub(crate) async fn insert(&mut self, sql: &str, params: impl Into<Params>) -> Result<i64> {
        let params = params.into();
        let (conn, deadline) = self.start()?;
        let statement = async {
            ask(conn, sql, params).await?;
            let id = conn.last_insert_id().unwrap_or(0);
            Ok(i64::try_from(id).unwrap_or(i64::MAX))
        };
        let ended = timeout_at(deadline, statement).await;
        self.end(ended)
    }

    /// All rows of a query.
    pub(crate) async fn rows<T>(
        &mut self,
        sql: &str,
        params: impl Into<Params>,
        read: impl Fn(&mut Columns) -> Result<T>,
    ) -> Result<Vec<T>> {
        let params = params.into();
        let (conn, deadline) = self.start()?;
        let ended = timeout_at(deadline, ask(conn, sql, params)).await;
        let rows: Vec<Row> = self.end(ended)?;
        rows.into_iter()
            .map(|row| read(&mut Columns::new(row)))
            .collect()
    }

    /// The first row of a query, if there is one.
    pub(crate) async fn first<T>(
        &mut self,
        sql: &str,
        params: impl Into<Params>,
        read: impl Fn(&mut Columns) -> Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.rows(sql, params, read).await?.into_iter().next())
    }

    /// Runs plain text, without a prepared statement: for what is said once, or cannot be prepared.
    pub(crate) async fn say(&mut self, sql: &str) -> Result<()> {
        let (conn, deadline) = self.start()?;
        let statement = async { Ok(conn.query_drop(sql).await?) };
        let ended = timeout_at(deadline, statement).await;
        self.end(ended)
    }

    /// Sends the statements of a script as one, within the transaction; where none runs, it begins with them.
    ///
    /// # Errors
    /// [`Fault::Overtaken`] where a statement that must change a row changed none, or a row was there already.
    pub(crate) async fn together(&mut self, script: &Script) -> Result<()> {
        if script.is_empty() {
            return Ok(());
        }
        if script.is_wrong() {
            return Err(Fault::Script("a place without a value, or the reverse"));
        }
        let begin = match std::mem::replace(&mut self.in_transaction, true) {
            true => "",
            false => "START TRANSACTION;",
        };
        let sql = format!("{begin}{}", script.sql());
        let (conn, deadline) = self.start()?;
        let statements = async {
            let mut results = conn.query_iter(sql).await?;
            let mut changed = vec![results.affected_rows()];
            while !results.is_empty() {
                results.for_each(drop).await?;
                changed.push(results.affected_rows());
            }
            // An error of any but the first statement waits here to be asked for.
            results.drop_result().await?;
            Ok(changed)
        };
        let ended = timeout_at(deadline, statements).await;
        let changed = match self.end(ended) {
            Err(fault) if fault.is_duplicate() => return Err(Fault::Overtaken),
            changed => changed?,
        };
        let said = changed.get(usize::from(!begin.is_empty())..);
        let said = said.unwrap_or_default();
        if said.len() != script.musts().len() {
            return Err(Fault::Script("more or fewer results than statements"));
        }
        let is_kept = |(changed, must): (&u64, &bool)| *changed > 0 || !must;
        match said.iter().zip(script.musts()).all(is_kept) {
            true => Ok(()),
            false => Err(Fault::Overtaken),
        }
    }

    /// The connection for a statement, and until when that may take. Whoever is dropped before [`Self::end`] leaves
    /// the session busy.
    fn start(&mut self) -> Result<(&mut Conn, Instant)> {
        let conn = self.conn.as_mut().ok_or(Fault::NoConnection)?;
        self.is_busy = true;
        Ok((conn, self.deadline))
    }

    /// What became of the statement. One that took too long is still under way.
    fn end<T>(&mut self, ended: std::result::Result<Result<T>, Elapsed>) -> Result<T> {
        let done = ended.map_err(|_| Fault::TimedOut)?;
        self.is_busy = matches!(&done, Err(fault) if fault.spoils_connection());
        done
    }

    /// The id of an entry that is recorded at `at`.
    pub(crate) fn history_id(&self, at: Timestamp) -> HistoryId {
        HistoryId::new(at, self.store.random_u64())
    }

    pub(crate) async fn begin(&mut self) -> Result<()> {
        self.in_transaction = true;
        self.say("START TRANSACTION").await
    }

    /// Begins a transaction whose reads all see the present moment.
    async fn begin_snapshot(&mut self) -> Result<()> {
        self.in_transaction = true;
        self.say("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .await?;
        self.say("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            .await
    }

    /// After an error the outcome is open, unless the server itself says that it did not commit.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        self.say("COMMIT")
            .await
            .map_err(|fault| match fault.is_surely_undone() {
                true => fault,
                false => Fault::Commit(Box::new(fault)),
            })?;
        self.in_transaction = false;
        Ok(())
    }

    pub(crate) async fn roll_back(&mut self) -> Result<()> {
        self.say("ROLLBACK").await?;
        self.in_transaction = false;
        Ok(())
    }
}

/// Sends a statement with its values, prepared; as text where the server has no room for one more prepared statement.
async fn ask(conn: &mut Conn, sql: &str, params: Params) -> Result<Vec<Row>> {
    match conn.prep(sql).await.map_err(Fault::from) {
        Ok(statement) => Ok(conn.exec(&statement, params).await?),
        Err(fault) if fault.is_about_preparing() => {
            let text = script::in_text(sql, &params).ok_or(fault)?;
            metrics::counter!("goodpon_database_unprepared_total").increment(1);
            Ok(conn.query(text).await?)
        }
        Err(fault) => Err(fault),
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else {
            return;
        };
        match self.is_busy || self.in_transaction {
            true => pool::close(conn),
            false => self.store.inner.pool.give_back(conn),
        }
    }
}

impl Store {
    /// A connection for what may take long.
    pub(crate) async fn scan_session(&self) -> Result<Session<'static>> {
        self.session(Instant::now() + SCAN_WITHIN).await
    }

    async fn session<'e>(&self, deadline: Instant) -> Result<Session<'e>> {
        let connect_by = deadline.min(Instant::now() + CONNECT_WITHIN);
        let (conn, place) = timeout_at(connect_by, self.inner.pool.take())
            .await
            .map_err(|_| Fault::NoConnection)??;
        Ok(Session {
            conn: Some(conn),
            deadline,
            is_busy: false,
            in_transaction: false,
            now: self.inner.clock.now(),
            store: self.clone(),
            _place: place,
            _borrows: PhantomData,
        })
    }

    /// Runs `steps` in a transaction (READ COMMITTED) and commits it where they succeed. The whole is repeated, a
    /// bounded number of times, after a deadlock, a lock that was waited for too long, a lost connection, or
    /// [`Fault::Overtaken`]; so `steps` may run more than once, but only their last run counts.
    pub(crate) async fn transact<'e, T>(&self, steps: impl Steps<'e, T>) -> StoreResult<T> {
        self.repeated(Purpose::Transaction, RUN_WITHIN, steps).await
    }

    /// As [`Self::transact`], but the transaction begins only where `steps` begin it, or with the first
    /// [`Session::together`]; what is read before is read as it was committed last, without a lock.
    pub(crate) async fn transact_late<'e, T>(&self, steps: impl Steps<'e, T>) -> StoreResult<T> {
        self.repeated(Purpose::Statements, RUN_WITHIN, steps).await
    }

    /// Reads, each statement for itself. Repeated as a transaction is.
    pub(crate) async fn read<'e, T>(&self, steps: impl Steps<'e, T>) -> StoreResult<T> {
        self.repeated(Purpose::Statements, RUN_WITHIN, steps).await
    }

    /// As [`Self::read`], for what goes through many rows.
    pub(crate) async fn scan<'e, T>(&self, steps: impl Steps<'e, T>) -> StoreResult<T> {
        self.repeated(Purpose::Statements, SCAN_WITHIN, steps).await
    }

    /// As [`Self::read`], but all statements see one moment.
    pub(crate) async fn read_at_once<'e, T>(&self, steps: impl Steps<'e, T>) -> StoreResult<T> {
        self.repeated(Purpose::Snapshot, RUN_WITHIN, steps).await
    }

    /// As [`Self::read_at_once`], for what goes through many rows.
    pub(crate) async fn scan_at_once<'e, T>(&self, steps: impl Steps<'e, T>) -> StoreResult<T> {
        self.repeated(Purpose::Snapshot, SCAN_WITHIN, steps).await
    }

    async fn repeated<'e, T>(
        &self,
        purpose: Purpose,
        within: Duration,
        mut steps: impl Steps<'e, T>,
    ) -> StoreResult<T> {
        let deadline = Instant::now() + within;
        let mut tries = 0;
        loop {
            tries += 1;
            let done = match self.session(deadline).await {
                Ok(mut session) => run(&mut session, purpose, &mut steps).await,
                Err(fault) => Err(fault),
            };
            let fault = match done {
                Ok(done) => return Ok(done),
                Err(fault) => fault,
            };
            if fault.concerns_all_connections() {
                self.inner.pool.close_idle();
            }
            let pause = Fault::pause_before_retry(tries);
            let is_last = tries == MOST_TRIES || Instant::now() + pause >= deadline;
            if is_last || !fault.may_be_repeated() {
                return Err(fault.into());
            }
            metrics::counter!("goodpon_database_retries_total").increment(1);
            tokio::time::sleep(pause).await;
        }
    }
}

/// Runs `steps`, and ends the transaction that was begun for them or by them.
async fn run<'e, T>(
    session: &mut Session<'e>,
    purpose: Purpose,
    steps: &mut impl Steps<'e, T>,
) -> Result<T> {
    match purpose {
        Purpose::Statements => {}
        Purpose::Transaction => session.begin().await?,
        Purpose::Snapshot => session.begin_snapshot().await?,
    }
    match steps(session).await {
        Ok(done) => {
            // What was read at once is complete, however its transaction ends.
            if purpose == Purpose::Snapshot {
                let _ = session.roll_back().await;
            } else if session.in_transaction {
                session.commit().await?;
            }
            Ok(done)
        }
        Err(fault) => {
            // Where that fails too, the connection is closed, which rolls back as well.
            if session.in_transaction && !session.is_busy {
                let _ = session.roll_back().await;
            }
            Err(fault)
        }
    }
}
