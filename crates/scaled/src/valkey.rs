//! Gates on Valkey.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goodpon_application::ports::StoreResult;
use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{
        Closed, Confirmation, Due, Epoch, FoldResult, GateId, InstallResult, IssueEvent,
        KeptSuccess, KeyDigests, Look, RefusalAnswers, Taken,
    },
};
use goodpon_valkey::{Bound, Valkey};
use jiff::Timestamp;

use crate::ports::{GateServer, GateServers};

impl GateServers for Valkey {
    fn bound(&self) -> StoreResult<Arc<dyn GateServer>> {
        Ok(Arc::new(Valkey::bound(self)?))
    }
}

#[async_trait]
impl GateServer for Bound {
    fn server(&self) -> &str {
        Bound::server(self)
    }

    async fn prove_writable(&self) -> StoreResult<()> {
        Bound::prove_writable(self).await
    }

    async fn take(
        &self,
        gate: GateId,
        event: &IssueEvent,
        verdict: Option<IssueRefusal>,
        answers: RefusalAnswers,
        now: Timestamp,
    ) -> StoreResult<Taken> {
        Bound::take(self, gate, event, verdict, answers, now).await
    }

    async fn confirm(
        &self,
        gate: GateId,
        epoch: Epoch,
        events: &[Confirmation],
        now: Timestamp,
    ) -> StoreResult<Vec<bool>> {
        Bound::confirm(self, gate, epoch, events, now).await
    }

    async fn remember(
        &self,
        gate: GateId,
        epoch: Epoch,
        keyed: KeyDigests,
        verdict: IssueRefusal,
        answer: Option<u32>,
        now: Timestamp,
    ) -> StoreResult<Taken> {
        Bound::remember(self, gate, epoch, keyed, verdict, answer, now).await
    }

    async fn look(
        &self,
        gate: GateId,
        epoch: Epoch,
        user: Option<&str>,
        keyed: Option<KeyDigests>,
        now: Timestamp,
    ) -> StoreResult<Look> {
        Bound::look(self, gate, epoch, user, keyed, now).await
    }

    async fn pending(
        &self,
        gate: GateId,
        epoch: Epoch,
        age: Duration,
        limit: usize,
    ) -> StoreResult<Result<Due, Closed>> {
        Bound::pending(self, gate, epoch, age, limit).await
    }

    async fn busy(&self, limit: usize) -> StoreResult<Vec<(GateId, Epoch)>> {
        Bound::busy(self, limit).await
    }

    async fn may_sweep(&self, within: Duration) -> StoreResult<bool> {
        Bound::may_sweep(self, within).await
    }

    async fn install(
        &self,
        gate: GateId,
        epoch: Epoch,
        cap: i64,
        base: i64,
        loaded: usize,
    ) -> StoreResult<InstallResult> {
        Bound::install(self, gate, epoch, cap, base, loaded).await
    }

    async fn fold(&self, gate: GateId, epoch: Epoch) -> StoreResult<FoldResult> {
        Bound::fold(self, gate, epoch).await
    }

    async fn load(
        &self,
        gate: GateId,
        epoch: Epoch,
        users: &[[u8; 16]],
        successes: &[KeptSuccess],
    ) -> StoreResult<InstallResult> {
        Bound::load(self, gate, epoch, users, successes).await
    }
}
