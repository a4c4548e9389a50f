//! Sessions: connections in use, with statements under a time limit, and transactions that are repeated as a whole.

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
    pool::{self, ConnectionPermit},
    script::{self, Script},
};

/// The expression for the database's time in microseconds, at the beginning of the statement.
pub(crate) const NOW: &str = "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)";

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest time of a transaction or read, its repetitions included.
const RUN_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest time of a read of many rows, such as an audit, and of a migration.
const SCAN_TIMEOUT: Duration = Duration::from_secs(600);

/// The most times that a transaction is run.
const MAX_TRIES: u32 = 8;

/// A connection in use. If it is dropped in the middle of a statement or transaction, its connection is closed: the next
/// user must not read an answer that was meant for another, nor commit what another began.
///
/// `'e` is the lifetime of the values that the steps of a transaction borrow from around them. They are given a
/// `&'a mut Session<'e>`, from which the compiler knows that `'e` outlives `'a`. (Async closures would make this
/// unnecessary, but cannot state that their futures are `Send`.)
pub(crate) struct Session<'e> {
    conn: Option<Conn>,
    deadline: Instant,
    is_busy: bool,
    in_transaction: bool,
    /// The store's time when this session began.
    pub(crate) now: Timestamp,
    store: Store,
    // After `conn`, so that the connection is dropped before the permit for it is free.
    _permit: ConnectionPermit,
    _borrows: PhantomData<&'e ()>,
}

/// The steps of a transaction or read, which may be run again: `|session| Box::pin(async move { … })`. The closure must
/// be written in the call itself, because only there the compiler infers its lifetimes.
pub(crate) trait Steps<'e, T>:
    for<'a> FnMut(&'a mut Session<'e>) -> BoxFuture<'a, Result<T>> + Send
{
}

impl<'e, T, F> Steps<'e, T> for F where
    F: for<'a> FnMut(&'a mut Session<'e>) -> BoxFuture<'a, Result<T>> + Send
{
}

/// The transaction in which steps run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isolation {
    /// None, until the steps begin one: each statement is a transaction of its own.
    Statements,
    /// One READ COMMITTED transaction.
    Transaction,
    /// One read-only transaction, whose reads all see the same moment.
    Snapshot,
}

impl Session<'_> {
    /// Runs a statement, and returns the number of rows that it changed.
    pub(crate) async fn run(&mut self, sql: &str, params: impl Into<Params>) -> Result<u64> {
        let params = params.into();
        let (conn, deadline) = self.start()?;
        let statement = async {
            execute(conn, sql, params).await?;
            Ok(conn.affected_rows())
        };
        let ended = timeout_at(deadline, statement).await;
        self.end(ended)
    }

    /// Runs an INSERT, and returns the id that the server assigned.
    pub(crate) async fn insert(&mut self, sql: &str, params: impl Into<Params>) -> Result<i64> {
        let params = params.into();
        let (conn, deadline) = self.start()?;
        let statement = async {
            execute(conn, sql, params).await?;
            let id = conn.last_insert_id().unwrap_or(0);
            Ok(i64::try_from(id).unwrap_or(i64::MAX))
        };
        let ended = timeout_at(deadline, statement).await;
        self.end(ended)
    }

    /// Returns all rows of a query.
    pub(crate) async fn rows<T>(
        &mut self,
        sql: &str,
        params: impl Into<Params>,
        read: impl Fn(&mut Columns) -> Result<T>,
    ) -> Result<Vec<T>> {
        let params = params.into();
        let (conn, deadline) = self.start()?;
        let ended = timeout_at(deadline, execute(conn, sql, params)).await;
        let rows: Vec<Row> = self.end(ended)?;
        rows.into_iter()
            .map(|row| read(&mut Columns::new(row)))
            .collect()
    }

    /// Returns the first row of a query, if there is one.
    pub(crate) async fn first<T>(
        &mut self,
        sql: &str,
        params: impl Into<Params>,
        read: impl Fn(&mut Columns) -> Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.rows(sql, params, read).await?.into_iter().next())
    }

    /// Runs a statement as text, without preparing it: for statements that run once or cannot be prepared.
    pub(crate) async fn run_text(&mut self, sql: &str) -> Result<()> {
        let (conn, deadline) = self.start()?;
        let statement = async { Ok(conn.query_drop(sql).await?) };
        let ended = timeout_at(deadline, statement).await;
        self.end(ended)
    }

    /// Sends the statements of a script in one message, within the transaction; begins one first if none is open.
    ///
    /// # Errors
    /// [`Fault::Overtaken`] if a statement that must change a row changed none, or a row existed already.
    pub(crate) async fn run_script(&mut self, script: &Script) -> Result<()> {
        if script.is_empty() {
            return Ok(());
        }
        if script.is_malformed() {
            return Err(Fault::Script("more or fewer values than question marks"));
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
            // The error of a statement after the first is returned only here.
            results.drop_result().await?;
            Ok(changed)
        };
        let ended = timeout_at(deadline, statements).await;
        let changed = match self.end(ended) {
            Err(fault) if fault.is_duplicate() => return Err(Fault::Overtaken),
            changed => changed?,
        };
        let changed = changed.get(usize::from(!begin.is_empty())..);
        let changed = changed.unwrap_or_default();
        if changed.len() != script.must_change().len() {
            return Err(Fault::Script("more or fewer results than statements"));
        }
        let is_met = |(changed, must_change): (&u64, &bool)| *changed > 0 || !must_change;
        match changed.iter().zip(script.must_change()).all(is_met) {
            true => Ok(()),
            false => Err(Fault::Overtaken),
        }
    }

    /// Marks the session as busy, and returns the connection for a statement with the statement's deadline. If the
    /// statement's future is dropped before [`Self::end`], the session stays busy.
    fn start(&mut self) -> Result<(&mut Conn, Instant)> {
        let conn = self.conn.as_mut().ok_or(Fault::NoConnection)?;
        self.is_busy = true;
        Ok((conn, self.deadline))
    }

    /// Returns the result of the statement. The session stays busy after a statement that timed out, which may still run.
    fn end<T>(&mut self, ended: std::result::Result<Result<T>, Elapsed>) -> Result<T> {
        let done = ended.map_err(|_| Fault::TimedOut)?;
        self.is_busy = matches!(&done, Err(fault) if fault.spoils_connection());
        done
    }

    /// Draws the id of an entry that is recorded at `at`.
    pub(crate) fn history_id(&self, at: Timestamp) -> HistoryId {
        HistoryId::new(at, self.store.random_u64())
    }

    pub(crate) async fn begin(&mut self) -> Result<()> {
        self.in_transaction = true;
        self.run_text("START TRANSACTION").await
    }

    /// Begins a read-only transaction whose reads all see the present moment.
    async fn begin_snapshot(&mut self) -> Result<()> {
        self.in_transaction = true;
        self.run_text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .await?;
        self.run_text("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            .await
    }

    /// Commits the transaction. After [`Fault::Commit`] it is open whether the server did; after any other error it did
    /// not.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        self.run_text("COMMIT")
            .await
            .map_err(|fault| match fault.is_surely_rolled_back() {
                true => fault,
                false => Fault::Commit(Box::new(fault)),
            })?;
        self.in_transaction = false;
        Ok(())
    }

    pub(crate) async fn roll_back(&mut self) -> Result<()> {
        self.run_text("ROLLBACK").await?;
        self.in_transaction = false;
        Ok(())
    }
}

/// Runs a statement prepared, or as text if the server cannot prepare it or has too many prepared statements.
async fn execute(conn: &mut Conn, sql: &str, params: Params) -> Result<Vec<Row>> {
    match conn.prep(sql).await.map_err(Fault::from) {
        Ok(statement) => Ok(conn.exec(&statement, params).await?),
        Err(fault) if fault.is_failed_prepare() => {
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
    /// Opens a session with the time limit of scans.
    pub(crate) async fn scan_session(&self) -> Result<Session<'static>> {
        self.session(Instant::now() + SCAN_TIMEOUT).await
    }

    async fn session<'e>(&self, deadline: Instant) -> Result<Session<'e>> {
        let connect_by = deadline.min(Instant::now() + CONNECT_TIMEOUT);
        let (conn, permit) = timeout_at(connect_by, self.inner.pool.take())
            .await
            .map_err(|_| Fault::NoConnection)??;
        Ok(Session {
            conn: Some(conn),
            deadline,
            is_busy: false,
            in_transaction: false,
            now: self.inner.clock.now(),
            store: self.clone(),
            _permit: permit,
            _borrows: PhantomData,
        })
    }

    /// Runs `steps` in a READ COMMITTED transaction, and commits it if they succeed. After a deadlock, a lock timeout, a
    /// lost connection or [`Fault::Overtaken`] the whole is repeated, up to [`MAX_TRIES`] times: `steps` may run more
    /// than once, but only their last run has an effect.
    pub(crate) async fn transact<'e, T>(&self, steps: impl Steps<'e, T>) -> StoreResult<T> {
        self.repeat(Isolation::Transaction, RUN_TIMEOUT, steps)
            .await
    }

    /// Like [`Self::transact`], but the transaction begins only when `steps` begin it, or with the first
    /// [`Session::run_script`]. Reads before that see the last commit, and take no lock.
    pub(crate) async fn transact_late<'e, T>(&self, steps: impl Steps<'e, T>) -> StoreResult<T> {
        self.repeat(Isolation::Statements, RUN_TIMEOUT, steps).await
    }

    /// Runs `steps`, each statement in a transaction of its own. Repeats them like [`Self::transact`].
    pub(crate) async fn read<'e, T>(&self, steps: impl Steps<'e, T>) -> StoreResult<T> {
        self.repeat(Isolation::Statements, RUN_TIMEOUT, steps).await
    }

    /// Like [`Self::read`], with the time limit of scans.
    pub(crate) async fn scan<'e, T>(&self, steps: impl Steps<'e, T>) -> StoreResult<T> {
        self.repeat(Isolation::Statements, SCAN_TIMEOUT, steps)
            .await
    }

    /// Like [`Self::read`], but all statements see one moment.
    pub(crate) async fn read_snapshot<'e, T>(&self, steps: impl Steps<'e, T>) -> StoreResult<T> {
        self.repeat(Isolation::Snapshot, RUN_TIMEOUT, steps).await
    }

    /// Like [`Self::read_snapshot`], with the time limit of scans.
    pub(crate) async fn scan_snapshot<'e, T>(&self, steps: impl Steps<'e, T>) -> StoreResult<T> {
        self.repeat(Isolation::Snapshot, SCAN_TIMEOUT, steps).await
    }

    async fn repeat<'e, T>(
        &self,
        isolation: Isolation,
        timeout: Duration,
        mut steps: impl Steps<'e, T>,
    ) -> StoreResult<T> {
        let deadline = Instant::now() + timeout;
        let mut tries = 0;
        loop {
            tries += 1;
            let done = match self.session(deadline).await {
                Ok(mut session) => run(&mut session, isolation, &mut steps).await,
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
            let is_last = tries == MAX_TRIES || Instant::now() + pause >= deadline;
            if is_last || !fault.may_be_repeated() {
                return Err(fault.into());
            }
            metrics::counter!("goodpon_database_retries_total").increment(1);
            tokio::time::sleep(pause).await;
        }
    }
}

/// Runs `steps`, and ends the transaction that was begun before them or by them.
async fn run<'e, T>(
    session: &mut Session<'e>,
    isolation: Isolation,
    steps: &mut impl Steps<'e, T>,
) -> Result<T> {
    match isolation {
        Isolation::Statements => {}
        Isolation::Transaction => session.begin().await?,
        Isolation::Snapshot => session.begin_snapshot().await?,
    }
    match steps(session).await {
        Ok(done) => {
            // The reads of a snapshot are complete, even if the rollback fails.
            if isolation == Isolation::Snapshot {
                let _ = session.roll_back().await;
            } else if session.in_transaction {
                session.commit().await?;
            }
            Ok(done)
        }
        Err(fault) => {
            // If this fails too, the connection is closed, which rolls back as well.
            if session.in_transaction && !session.is_busy {
                let _ = session.roll_back().await;
            }
            Err(fault)
        }
    }
}
