//! The records of gates on MySQL.

use std::collections::BTreeMap;

use async_trait::async_trait;
use goodpon_application::{idempotency::Answer, ports::StoreResult};
use goodpon_domain::{
    gate::{Epoch, Gate, GateRead, GateState, Holder, LogRecord, Opening, SealResult, WriteResult},
    id::TemplateId,
};
use goodpon_mysql::Store;
use jiff::{SignedDuration, Timestamp};

use crate::ports::GateRecords;

#[async_trait]
impl GateRecords for Store {
    async fn read_gate(&self, template: TemplateId) -> StoreResult<Option<GateRead>> {
        Store::read_gate(self, template).await
    }

    async fn open_first(&self, template: TemplateId, server: &str) -> StoreResult<Option<Opening>> {
        Store::open_first(self, template, server).await
    }

    async fn bump_gate(
        &self,
        template: TemplateId,
        epoch: Epoch,
        next: Epoch,
        is_missing_there: bool,
    ) -> StoreResult<bool> {
        Store::bump_gate(self, template, epoch, next, is_missing_there).await
    }

    async fn bump_idle_gate(&self, template: TemplateId, epoch: Epoch) -> StoreResult<bool> {
        Store::bump_idle_gate(self, template, epoch).await
    }

    async fn stamp_gate(&self, template: TemplateId, epoch: Epoch) -> StoreResult<()> {
        Store::stamp_gate(self, template, epoch).await
    }

    async fn seal_gate(
        &self,
        template: TemplateId,
        epoch: Epoch,
        server: &str,
    ) -> StoreResult<SealResult> {
        Store::seal_gate(self, template, epoch, server).await
    }

    async fn open_folded(
        &self,
        template: TemplateId,
        epoch: Epoch,
        server: &str,
    ) -> StoreResult<Option<Opening>> {
        Store::open_folded(self, template, epoch, server).await
    }

    async fn touch_gate(&self, template: TemplateId, epoch: Epoch) -> StoreResult<bool> {
        Store::touch_gate(self, template, epoch).await
    }

    async fn beat(&self, server: &str) -> StoreResult<()> {
        Store::beat(self, server).await
    }

    async fn holders(
        &self,
        template: TemplateId,
        after: &str,
        limit: usize,
    ) -> StoreResult<Vec<Holder>> {
        Store::holders(self, template, after, limit).await
    }

    async fn is_holder(&self, template: TemplateId, user_id: &str) -> StoreResult<bool> {
        Store::is_holder(self, template, user_id).await
    }

    async fn parked_users(&self, template: TemplateId) -> StoreResult<Vec<String>> {
        Store::parked_users(self, template).await
    }

    async fn gates_in(
        &self,
        state: GateState,
        after: TemplateId,
        limit: usize,
    ) -> StoreResult<Vec<(TemplateId, Gate)>> {
        Store::gates_in(self, state, after, limit).await
    }

    async fn gates_of(&self, templates: &[TemplateId]) -> StoreResult<Vec<Option<Gate>>> {
        Store::gates_of(self, templates).await
    }

    async fn written_counts(&self, templates: &[TemplateId]) -> StoreResult<Vec<i64>> {
        Store::written_counts(self, templates).await
    }

    async fn progress(&self) -> StoreResult<BTreeMap<i32, i64>> {
        Store::progress(self).await
    }

    async fn write_issues(
        &self,
        partition: i32,
        records: &[LogRecord],
    ) -> StoreResult<WriteResult> {
        Store::write_issues(self, partition, records, goodpon_kafka::keep).await
    }

    async fn park_unread(
        &self,
        partition: i32,
        record: &LogRecord,
        reason: &'static str,
    ) -> StoreResult<WriteResult> {
        Store::park_unread(self, partition, record, reason, goodpon_kafka::keep).await
    }

    async fn keep_issue_answer(&self, answer: &Answer, is_success: bool) -> StoreResult<u32> {
        Store::keep_issue_answer(self, answer, is_success).await
    }

    async fn issue_answer(&self, number: u32) -> StoreResult<Option<Answer>> {
        Store::issue_answer(self, number).await
    }

    async fn success_answers(&self) -> StoreResult<Vec<(Timestamp, u32)>> {
        Store::success_answers(self).await
    }

    fn is_near(&self, one: Timestamp, other: Timestamp, apart: SignedDuration) -> bool {
        Store::is_near(self, one, other, apart)
    }
}
