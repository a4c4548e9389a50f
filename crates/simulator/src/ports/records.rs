//! The records on the simulated database.

use std::collections::BTreeMap;

use async_trait::async_trait;
use goodpon_application::{idempotency::Answer, ports::StoreResult};
use goodpon_domain::{
    gate::{Epoch, Gate, GateRead, GateState, Holder, LogRecord, Opening, SealResult, WriteResult},
    id::TemplateId,
};
use goodpon_scaled::ports::GateRecords;
use jiff::{SignedDuration, Timestamp};

use crate::world::{
    TEMPLATE, World,
    call::{CallKind, Caller},
};

/// A process's way to the database.
pub(crate) struct Records(pub(crate) Caller);

impl Records {
    /// Runs a transaction, when the schedule lets it happen.
    async fn transact<T: Send + 'static>(
        &self,
        name: &'static str,
        mut effect: impl FnMut(&mut World) -> T + Send + 'static,
    ) -> StoreResult<T> {
        self.0
            .call(CallKind::Transaction, name, move |world| Ok(effect(world)))
            .await
    }

    /// Answers what belongs to no step of the protocol, at once.
    fn now<T>(&self, read: impl FnOnce(&World) -> T) -> StoreResult<T> {
        Ok(read(&self.0.shared.world()))
    }
}

#[async_trait]
impl GateRecords for Records {
    async fn read_gate(&self, template: TemplateId) -> StoreResult<Option<GateRead>> {
        let process = self.0.process;
        self.transact("reads the gate", move |world| {
            (template == TEMPLATE).then(|| world.read_gate(process))
        })
        .await
    }

    async fn open_first(&self, _: TemplateId, server: &str) -> StoreResult<Option<Opening>> {
        let server = server.to_owned();
        self.transact("opens the first epoch", move |world| {
            world.open_first(&server)
        })
        .await
    }

    async fn bump_gate(
        &self,
        _: TemplateId,
        epoch: Epoch,
        next: Epoch,
        is_missing_there: bool,
    ) -> StoreResult<bool> {
        let begun_at = self.0.shared.world().database_time();
        self.transact("gives the gate up if it may", move |world| {
            world.bump_gate(epoch, next, is_missing_there, begun_at)
        })
        .await
    }

    async fn bump_idle_gate(&self, _: TemplateId, epoch: Epoch) -> StoreResult<bool> {
        self.transact("gives the gate up if its sale is over", move |world| {
            world.bump_idle_gate(epoch)
        })
        .await
    }

    async fn stamp_gate(&self, _: TemplateId, epoch: Epoch) -> StoreResult<()> {
        self.transact("stamps the gate", move |world| world.stamp_gate(epoch))
            .await
    }

    async fn seal_gate(
        &self,
        _: TemplateId,
        epoch: Epoch,
        server: &str,
    ) -> StoreResult<SealResult> {
        let server = server.to_owned();
        self.transact("seals the gate if it may", move |world| {
            world.seal_gate(epoch, &server)
        })
        .await
    }

    async fn open_folded(
        &self,
        _: TemplateId,
        epoch: Epoch,
        server: &str,
    ) -> StoreResult<Option<Opening>> {
        let server = server.to_owned();
        self.transact("opens the folded gate", move |world| {
            world.open_folded(epoch, &server)
        })
        .await
    }

    async fn touch_gate(&self, _: TemplateId, epoch: Epoch) -> StoreResult<bool> {
        self.transact("touches the gate", move |world| world.touch_gate(epoch))
            .await
    }

    async fn beat(&self, server: &str) -> StoreResult<()> {
        let server = server.to_owned();
        self.transact("notes that the server lives", move |world| {
            world.note_beat(&server);
        })
        .await
    }

    async fn holders(&self, _: TemplateId, after: &str, limit: usize) -> StoreResult<Vec<Holder>> {
        let after = after.to_owned();
        self.transact("reads holders", move |world| world.holders(&after, limit))
            .await
    }

    async fn is_holder(&self, _: TemplateId, user_id: &str) -> StoreResult<bool> {
        let user_id = user_id.to_owned();
        self.transact("looks a holder up", move |world| world.has_coupon(&user_id))
            .await
    }

    async fn parked_users(&self, _: TemplateId) -> StoreResult<Vec<String>> {
        self.transact("reads parked users", |world| world.parked_users())
            .await
    }

    async fn gates_in(
        &self,
        state: GateState,
        after: TemplateId,
        _: usize,
    ) -> StoreResult<Vec<(TemplateId, Gate)>> {
        let process = self.0.process;
        if after >= TEMPLATE {
            // The page behind the only gate.
            return Ok(Vec::new());
        }
        self.transact("reads gates", move |world| {
            world.gates_in(process, state, after)
        })
        .await
    }

    async fn gates_of(&self, templates: &[TemplateId]) -> StoreResult<Vec<Option<Gate>>> {
        let count = templates.len();
        self.transact("reads gates", move |world| {
            vec![world.gate().cloned(); count]
        })
        .await
    }

    async fn written_counts(&self, templates: &[TemplateId]) -> StoreResult<Vec<i64>> {
        let count = templates.len();
        self.transact("counts coupons", move |world| {
            vec![world.coupon_count(); count]
        })
        .await
    }

    async fn progress(&self) -> StoreResult<BTreeMap<i32, i64>> {
        self.transact("reads the progress", |world| world.next_offsets())
            .await
    }

    async fn write_issues(
        &self,
        partition: i32,
        records: &[LogRecord],
    ) -> StoreResult<WriteResult> {
        let records = records.to_vec();
        let write = move |world: &mut World| world.write_issues(partition, &records);
        self.0
            .call(CallKind::Transaction, "writes a batch", write)
            .await
    }

    async fn park_unread(
        &self,
        partition: i32,
        record: &LogRecord,
        _: &'static str,
    ) -> StoreResult<WriteResult> {
        let record = record.clone();
        let park = move |world: &mut World| world.park_unread(partition, &record);
        self.0
            .call(CallKind::Transaction, "parks a record", park)
            .await
    }

    async fn keep_issue_answer(&self, _: &Answer, _: bool) -> StoreResult<u32> {
        self.now(|_| 0)
    }

    async fn issue_answer(&self, _: u32) -> StoreResult<Option<Answer>> {
        self.now(|_| None)
    }

    async fn success_answers(&self) -> StoreResult<Vec<(Timestamp, u32)>> {
        self.now(|_| Vec::new())
    }

    fn is_near(&self, one: Timestamp, other: Timestamp, apart: SignedDuration) -> bool {
        one.duration_since(other).abs() <= apart
    }
}
