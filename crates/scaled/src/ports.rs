//! The ports of the issue path to its three servers: records in a database, gates on a server that makes each decision in
//! one script, and a log of accepted issues. The program implements them with MySQL, Valkey and Kafka (`mysql.rs`,
//! `valkey.rs`, `kafka.rs`); the simulator implements them itself, and drives the code of this crate over them.
//!
//! The request or the reply of any call may be lost. A call that may not simply be repeated says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goodpon_application::{idempotency::Answer, ports::StoreResult};
use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{
        Appended, Closed, Confirmation, Due, Epoch, FoldResult, Gate, GateId, GateRead, GateState,
        Holder, InstallResult, IssueEvent, KeptSuccess, KeyDigests, LogRecord, Look, Opening,
        PollResult, RefusalAnswers, SealResult, Taken, WriteResult,
    },
    id::TemplateId,
};
use jiff::{SignedDuration, Timestamp};

/// The records of gates, coupons and progress, in one database. Each transaction compares before it sets.
#[async_trait]
pub trait GateRecords: Send + Sync {
    /// Reads a template and its gate in one statement, with the database's time. Returns `None` if there is no such
    /// template.
    async fn read_gate(&self, template: TemplateId) -> StoreResult<Option<GateRead>>;
    /// Opens the gate of a template that never had one, at `server` (O1). Returns `None` if another process did.
    async fn open_first(&self, template: TemplateId, server: &str) -> StoreResult<Option<Opening>>;
    /// Gives up an open gate (O2), if that is permitted; `next` is the epoch to come. Returns whether it did.
    async fn bump_gate(
        &self,
        template: TemplateId,
        epoch: Epoch,
        next: Epoch,
        is_missing_there: bool,
    ) -> StoreResult<bool>;
    /// Gives up the gate of a sale that seems to be over, to be folded. Returns whether it did.
    async fn bump_idle_gate(&self, template: TemplateId, epoch: Epoch) -> StoreResult<bool>;
    /// Stamps a gate that was given up, if it has no stamp. Only a process that has read the gate as sealing under that
    /// epoch may do this: the stamp must be later than the moment from which every process reads it so.
    async fn stamp_gate(&self, template: TemplateId, epoch: Epoch) -> StoreResult<()>;
    /// Seals a gate (O3), once no event of an older epoch can become a coupon any more.
    async fn seal_gate(
        &self,
        template: TemplateId,
        epoch: Epoch,
        server: &str,
    ) -> StoreResult<SealResult>;
    /// Opens a folded gate under its next epoch. Returns `None` if another process did.
    async fn open_folded(
        &self,
        template: TemplateId,
        epoch: Epoch,
        server: &str,
    ) -> StoreResult<Option<Opening>>;
    /// Records that the places of that epoch are being brought to the server. Returns whether the gate is still open under
    /// that epoch.
    async fn touch_gate(&self, template: TemplateId, epoch: Epoch) -> StoreResult<bool>;
    /// Records that `server` takes writes now.
    async fn beat(&self, server: &str) -> StoreResult<()>;
    /// Reads up to `limit` holders of a template, in the order of their user ids, after the user id `after` (O4).
    async fn holders(
        &self,
        template: TemplateId,
        after: &str,
        limit: usize,
    ) -> StoreResult<Vec<Holder>>;
    /// Returns whether the user has, or had, a coupon of the template. Coupons that are not yet written are not seen.
    async fn is_holder(&self, template: TemplateId, user_id: &str) -> StoreResult<bool>;
    /// Reads the users of the template's parked events.
    async fn parked_users(&self, template: TemplateId) -> StoreResult<Vec<String>>;
    /// Reads up to `limit` gates in a state, in the order of their template ids, after the template `after`.
    async fn gates_in(
        &self,
        state: GateState,
        after: TemplateId,
        limit: usize,
    ) -> StoreResult<Vec<(TemplateId, Gate)>>;
    /// Reads the gates of these templates, in their order.
    async fn gates_of(&self, templates: &[TemplateId]) -> StoreResult<Vec<Option<Gate>>>;
    /// Counts the written coupons of each of these templates, in their order; 0 for a template that does not exist.
    async fn written_counts(&self, templates: &[TemplateId]) -> StoreResult<Vec<i64>>;
    /// Reads the next offset to be processed of each partition of the log.
    async fn progress(&self) -> StoreResult<BTreeMap<i32, i64>>;
    /// Writes a batch of one partition, whose records follow each other without a gap, in one transaction with the
    /// partition's progress (I2 to I4).
    async fn write_issues(&self, partition: i32, records: &[LogRecord])
    -> StoreResult<WriteResult>;
    /// Parks a record of a partition without processing it: processing it panics.
    async fn park_unread(
        &self,
        partition: i32,
        record: &LogRecord,
        reason: &'static str,
    ) -> StoreResult<WriteResult>;
    /// Returns the number under which the text of an answer is stored; stores the text first if it is new.
    async fn keep_issue_answer(&self, answer: &Answer, is_success: bool) -> StoreResult<u32>;
    /// Reads the text of the answer with this number.
    async fn issue_answer(&self, number: u32) -> StoreResult<Option<Answer>>;
    /// Reads the numbers of all texts that successes ever had, each with the time since which it is used, the earliest
    /// first.
    async fn success_answers(&self) -> StoreResult<Vec<(Timestamp, u32)>>;
    /// Returns whether the times of two clocks, a process's and a server's, differ by no more than `apart`.
    fn is_near(&self, one: Timestamp, other: Timestamp, apart: SignedDuration) -> bool;
}

/// A connection to the server that holds gates. It knows the identity of its server, and never leads to another one.
#[async_trait]
pub trait GateServer: Send + Sync {
    /// Returns the identity of the server that the connection was made to.
    fn server(&self) -> &str;
    /// Checks that the server takes writes and still has the same identity.
    async fn prove_writable(&self) -> StoreResult<()>;
    /// Asks for a place. If there is one, the caller publishes `event`. `verdict` is the template's refusal, if it refuses;
    /// `answers` are remembered with refusals. The call may be repeated with the same event in any case.
    async fn take(
        &self,
        gate: GateId,
        event: &IssueEvent,
        verdict: Option<IssueRefusal>,
        answers: RefusalAnswers,
        now: Timestamp,
    ) -> StoreResult<Taken>;
    /// Confirms the reservations of `epoch` whose published events count. Returns for each event whether its reservation
    /// was there.
    async fn confirm(
        &self,
        gate: GateId,
        epoch: Epoch,
        events: &[Confirmation],
        now: Timestamp,
    ) -> StoreResult<Vec<bool>>;
    /// Remembers a refusal by the template while no gate holds places: `epoch` is 0 or was folded.
    async fn remember(
        &self,
        gate: GateId,
        epoch: Epoch,
        keyed: KeyDigests,
        verdict: IssueRefusal,
        answer: Option<u32>,
        now: Timestamp,
    ) -> StoreResult<Taken>;
    /// Reads the state of a gate, and of `user` and `keyed` if they are given, without changing anything.
    async fn look(
        &self,
        gate: GateId,
        epoch: Epoch,
        user: Option<&str>,
        keyed: Option<KeyDigests>,
        now: Timestamp,
    ) -> StoreResult<Look>;
    /// Hands out up to `limit` events that have been due for help for at least `age`, oldest first.
    async fn pending(
        &self,
        gate: GateId,
        epoch: Epoch,
        age: Duration,
        limit: usize,
    ) -> StoreResult<Result<Due, Closed>>;
    /// Reads up to `limit` gates of this server that may have events due for help.
    async fn busy(&self, limit: usize) -> StoreResult<Vec<(GateId, Epoch)>>;
    /// Returns whether the caller is to look at all gates now, because no process has done so for `within`. At most one
    /// caller gets true in that time.
    async fn may_sweep(&self, within: Duration) -> StoreResult<bool>;
    /// Loads a batch of users, by their digests, and of successes for `epoch`, which is about to be installed.
    async fn load(
        &self,
        gate: GateId,
        epoch: Epoch,
        users: &[[u8; 16]],
        successes: &[KeptSuccess],
    ) -> StoreResult<InstallResult>;
    /// Installs `epoch` with `cap` places, if the server has exactly `loaded` users of it; `base` coupons exist already. No
    /// batch may be loaded between this call and its repetition.
    async fn install(
        &self,
        gate: GateId,
        epoch: Epoch,
        cap: i64,
        base: i64,
        loaded: usize,
    ) -> StoreResult<InstallResult>;
    /// Clears away the gate of `epoch`, if it has no unconfirmed reservation.
    async fn fold(&self, gate: GateId, epoch: Epoch) -> StoreResult<FoldResult>;
}

/// Gives the current connection to the server that holds gates.
pub trait GateServers: Send + Sync {
    /// Returns the current connection.
    ///
    /// # Errors
    /// Unavailable, with the reason why there is none.
    fn bound(&self) -> StoreResult<Arc<dyn GateServer>>;
}

/// The log of accepted issues, to be written.
#[async_trait]
pub trait IssueLog: Send + Sync {
    /// Returns the reason why no event can be published now, if one is known.
    fn problem(&self) -> Option<String>;
    /// Appends a copy of an event and waits until it is durable, for at most `within`. The caller compares whether the copy
    /// counts. After an error the log may have the copy all the same, or still get it.
    async fn append(
        &self,
        event: &IssueEvent,
        partition: i32,
        within: Duration,
    ) -> StoreResult<Appended>;
    /// Records that the log appended an event at an offset that was already processed: the log was made anew or lost
    /// events. Returns a description of this for people.
    fn went_back(&self, partition: i32, offset: i64, worked_through: i64) -> String;
}

/// Keeps the time of the log of accepted issues moving.
#[async_trait]
pub trait LogTime: Send + Sync {
    /// Appends a record without content, which moves the partition's log time.
    async fn tick(&self, partition: i32, within: Duration) -> StoreResult<Appended>;
}

/// The log of accepted issues, to be read: the partitions assigned to one member of the group of issuers.
pub trait LogReader: Send {
    /// Waits for the next batch, for `within` or little longer.
    fn poll(&mut self, within: Duration) -> PollResult;
    /// Continues at `offset` in that partition, if it is assigned to this member.
    fn seek(&mut self, partition: i32, offset: i64);
    /// Limits the batches of a partition to `most` records.
    fn limit_batches(&mut self, partition: i32, most: usize);
    /// Stops handing out batches until [`Self::resume_all`].
    fn pause_all(&mut self);
    /// Hands out batches again.
    fn resume_all(&mut self);
    /// Commits the group's offset in Kafka, for tools that show its lag. Progress itself is in the database.
    fn commit(&mut self, partition: i32, next_offset: i64);
    /// Returns the partitions assigned to this member.
    fn assigned(&self) -> Vec<i32>;
    /// Returns for each assigned partition the number of records after its latest batch, if it is known.
    fn lag(&self) -> Vec<(i32, i64)>;
}
