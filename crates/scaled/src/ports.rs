//! What the issue path needs of its three servers: records in a database, gates on a server that decides each question
//! in one script, and a log of accepted issues. The program's are MySQL, Valkey and Kafka (`mysql.rs`, `valkey.rs`,
//! `kafka.rs`); the simulator has its own, and drives the very code of this crate over them.
//!
//! Every call of these may be lost on its way there or back. Each says what may be done then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goodpon_application::{idempotency::Answer, ports::StoreResult};
use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{
        Appended, Closed, Confirmation, Due, Epoch, Folding, Gate, GateId, GateRead, GateState,
        Holder, Installation, IssueEvent, KeptSuccess, Keyed, Look, Opening, Polled, Record,
        RefusalAnswers, Sealed, Taken, Written,
    },
    id::TemplateId,
};
use jiff::{SignedDuration, Timestamp};

/// The records of gates, coupons and progress: one database, whose transactions compare before they set.
#[async_trait]
pub trait GateRecords: Send + Sync {
    /// Reads a template and its gate as one, with the database's time. `None`: there is no such template.
    async fn read_gate(&self, template: TemplateId) -> StoreResult<Option<GateRead>>;
    /// Opens the gate of a template that never had one, at `server` (O1). `None`: another process did.
    async fn open_first(&self, template: TemplateId, server: &str) -> StoreResult<Option<Opening>>;
    /// Gives an open gate up (O2), if it may be; `next` is the epoch to come. Returns whether it did.
    async fn bump_gate(
        &self,
        template: TemplateId,
        epoch: Epoch,
        next: Epoch,
        is_missing_there: bool,
    ) -> StoreResult<bool>;
    /// Gives up the gate of a sale that seems to be over, to be folded. Returns whether it did.
    async fn bump_idle_gate(&self, template: TemplateId, epoch: Epoch) -> StoreResult<bool>;
    /// Stamps a gate that was given up, where it has no stamp. Only a process that has read it as sealing under that
    /// number may: the stamp must be later than the moment from which on everybody reads it so.
    async fn stamp_gate(&self, template: TemplateId, epoch: Epoch) -> StoreResult<()>;
    /// Seals a gate (O3), once nothing of older epochs can become a coupon any more.
    async fn seal_gate(
        &self,
        template: TemplateId,
        epoch: Epoch,
        server: &str,
    ) -> StoreResult<Sealed>;
    /// Opens a folded gate under its next number. `None`: another process did.
    async fn open_folded(
        &self,
        template: TemplateId,
        epoch: Epoch,
        server: &str,
    ) -> StoreResult<Option<Opening>>;
    /// Notes that the places of that epoch are being brought to the server. Returns whether it is still that epoch's.
    async fn touch_gate(&self, template: TemplateId, epoch: Epoch) -> StoreResult<bool>;
    /// Notes that `server` takes writes.
    async fn beat(&self, server: &str) -> StoreResult<()>;
    /// Reads up to `limit` holders of a template, in the order of their users, behind `after` (O4).
    async fn holders(
        &self,
        template: TemplateId,
        after: &str,
        limit: usize,
    ) -> StoreResult<Vec<Holder>>;
    /// Returns whether that user has, or had, a coupon of the template, as far as it is written.
    async fn is_holder(&self, template: TemplateId, user_id: &str) -> StoreResult<bool>;
    /// Reads the users of the template's parked events.
    async fn parked_users(&self, template: TemplateId) -> StoreResult<Vec<String>>;
    /// Reads up to `limit` gates in a state, in the order of their templates, behind `after`.
    async fn gates_in(
        &self,
        state: GateState,
        after: TemplateId,
        limit: usize,
    ) -> StoreResult<Vec<(TemplateId, Gate)>>;
    /// Reads the gates of these templates, in their order.
    async fn gates_of(&self, templates: &[TemplateId]) -> StoreResult<Vec<Option<Gate>>>;
    /// Counts the coupons written of each of these templates, in their order; 0 for one that is not there.
    async fn written_counts(&self, templates: &[TemplateId]) -> StoreResult<Vec<i64>>;
    /// Reads the next offset of each partition of the log.
    async fn progress(&self) -> StoreResult<BTreeMap<i32, i64>>;
    /// Writes a batch of one partition, whose records follow each other without a gap, as one with the partition's
    /// progress (I2 to I4).
    async fn write_issues(&self, partition: i32, records: &[Record]) -> StoreResult<Written>;
    /// Parks a record of a partition whatever its content, for it cannot be worked on.
    async fn park_unread(
        &self,
        partition: i32,
        record: &Record,
        reason: &'static str,
    ) -> StoreResult<Written>;
    /// Returns the number under which the answer of an issue is kept, and keeps it if it was not.
    async fn keep_issue_answer(&self, answer: &Answer, is_success: bool) -> StoreResult<u32>;
    /// Reads the answer that is kept under a number.
    async fn issue_answer(&self, number: u32) -> StoreResult<Option<Answer>>;
    /// Reads the answers that successes ever had, each with the time from which on, the earliest first.
    async fn success_answers(&self) -> StoreResult<Vec<(Timestamp, u32)>>;
    /// Returns whether two clocks, one of a process and one of a server, are no more than `apart`.
    fn is_near(&self, one: Timestamp, other: Timestamp, apart: SignedDuration) -> bool;
}

/// A connection to the server that holds gates. It knows which server it was made to, and never leads to another.
#[async_trait]
pub trait GateServer: Send + Sync {
    /// Returns the server that it was made to.
    fn server(&self) -> &str;
    /// Proves that the server takes writes and is still the one that it was.
    async fn prove_writable(&self) -> StoreResult<()>;
    /// Asks for a place. `event` is what is published if there is one, `verdict` the template's refusal, if it refuses;
    /// `answers` are remembered with refusals. It may be asked again with the same event in any case.
    async fn take(
        &self,
        gate: GateId,
        event: &IssueEvent,
        verdict: Option<IssueRefusal>,
        answers: RefusalAnswers,
        now: Timestamp,
    ) -> StoreResult<Taken>;
    /// Reports which events of `epoch` are published and count. Returns for each whether its reservation was there.
    async fn confirm(
        &self,
        gate: GateId,
        epoch: Epoch,
        events: &[Confirmation],
        now: Timestamp,
    ) -> StoreResult<Vec<bool>>;
    /// Remembers a refusal by the template where no gate holds places: `epoch` is 0 or was folded.
    async fn remember(
        &self,
        gate: GateId,
        epoch: Epoch,
        keyed: Keyed,
        verdict: IssueRefusal,
        answer: Option<u32>,
        now: Timestamp,
    ) -> StoreResult<Taken>;
    /// Reads how a gate stands, for `user` and `keyed` if they are given, changing nothing.
    async fn look(
        &self,
        gate: GateId,
        epoch: Epoch,
        user: Option<&str>,
        keyed: Option<Keyed>,
        now: Timestamp,
    ) -> StoreResult<Look>;
    /// Hands out up to `limit` events that have been due for help for `age`, oldest first.
    async fn pending(
        &self,
        gate: GateId,
        epoch: Epoch,
        age: Duration,
        limit: usize,
    ) -> StoreResult<Result<Due, Closed>>;
    /// Reads up to `limit` gates of this server that may have events due for help.
    async fn busy(&self, limit: usize) -> StoreResult<Vec<(GateId, Epoch)>>;
    /// Returns whether the caller is the one to look at all gates now: no process did for `within`.
    async fn may_sweep(&self, within: Duration) -> StoreResult<bool>;
    /// Brings a batch of users, by their digests, and of successes for `epoch`, which is about to be installed.
    async fn load(
        &self,
        gate: GateId,
        epoch: Epoch,
        users: &[[u8; 16]],
        successes: &[KeptSuccess],
    ) -> StoreResult<Installation>;
    /// Installs `epoch` with `cap` places, if the `loaded` users are all there; `base` coupons existed before.
    async fn install(
        &self,
        gate: GateId,
        epoch: Epoch,
        cap: i64,
        base: i64,
        loaded: usize,
    ) -> StoreResult<Installation>;
    /// Clears away the gate of `epoch`, if nothing of it is pending.
    async fn fold(&self, gate: GateId, epoch: Epoch) -> StoreResult<Folding>;
}

/// The way to the server that holds gates.
pub trait GateServers: Send + Sync {
    /// Returns the present connection.
    ///
    /// # Errors
    /// Unavailable, with the reason for which there is none.
    fn bound(&self) -> StoreResult<Arc<dyn GateServer>>;
}

/// The log of accepted issues, to be written.
#[async_trait]
pub trait IssueLog: Send + Sync {
    /// Returns why no event can be published now, as far as that is known.
    fn problem(&self) -> Option<String>;
    /// Appends a copy of an event and waits until it is durable, `within` at most. Whether the copy counts is for the
    /// caller to compare. After an error the log may have it all the same, or still get it.
    async fn append(
        &self,
        event: &IssueEvent,
        partition: i32,
        within: Duration,
    ) -> StoreResult<Appended>;
    /// Notes that the log appended an event where the partition was worked through already: it was made anew, or went
    /// back. Returns that in words.
    fn went_back(&self, partition: i32, offset: i64, worked_through: i64) -> String;
}

/// The time of the log of accepted issues.
#[async_trait]
pub trait LogTime: Send + Sync {
    /// Appends a record without content, which moves the partition's log time.
    async fn tick(&self, partition: i32, within: Duration) -> StoreResult<Appended>;
}

/// The log of accepted issues, to be read: one member's share of the partitions.
pub trait LogReader: Send {
    /// Waits for the next batch, `within` at most or little longer.
    fn poll(&mut self, within: Duration) -> Polled;
    /// Goes on with `offset` in that partition, if it is this member's.
    fn seek(&mut self, partition: i32, offset: i64);
    /// Bounds the batches of a partition, in records.
    fn limit_batches(&mut self, partition: i32, most: usize);
    /// Hands out no batches until [`Self::resume_all`].
    fn pause_all(&mut self);
    /// Hands out batches again.
    fn resume_all(&mut self);
    /// Notes how far this group is, for tools that show its lag.
    fn commit(&mut self, partition: i32, next_offset: i64);
    /// Returns the partitions that are this member's.
    fn assigned(&self) -> Vec<i32>;
    /// Returns the number of records that each of these has behind its latest batch, where that is known.
    fn lag(&self) -> Vec<(i32, i64)>;
}
