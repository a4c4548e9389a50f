//! The numbers of issued coupons, as the gates have them. They include every issue that this process has answered.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use goodpon_application::ports::{Clock, IssueStanding, StoreResult};
use goodpon_domain::{
    gate::{Gate, GateId, GateState, Holding},
    id::TemplateId,
    template::Template,
};

use super::{confirm::Confirmer, gate_cache::GateCache};
use crate::ports::{GateRecords, GateServers};

/// The largest number of gates that are asked at a time for one list of templates, so that issues get their turn at the
/// server in between.
const MAX_CONCURRENT_LOOKS: usize = 16;

/// Reads the numbers of issued coupons.
pub(crate) struct Standings {
    records: Arc<dyn GateRecords>,
    servers: Arc<dyn GateServers>,
    gates: Arc<GateCache>,
    confirmer: Arc<Confirmer>,
    clock: Arc<dyn Clock>,
}

impl Standings {
    pub(crate) fn new(
        records: Arc<dyn GateRecords>,
        servers: Arc<dyn GateServers>,
        gates: Arc<GateCache>,
        confirmer: Arc<Confirmer>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            records,
            servers,
            gates,
            confirmer,
            clock,
        }
    }

    /// Reads the number of a template's issued coupons, and whether `user_id` has one: from its gate, or from the rows if
    /// the gate is not open or does not answer.
    pub(crate) async fn of(
        self: &Arc<Self>,
        template: &Template,
        user_id: Option<&str>,
    ) -> StoreResult<IssueStanding> {
        let id = template.id;
        let standing = match user_id {
            Some(_) => self.by_gate(id, user_id).await?,
            None => {
                let standings = Arc::clone(self);
                let look = move || {
                    let standings = Arc::clone(&standings);
                    async move { standings.by_gate(id, None).await.ok().flatten() }
                };
                self.gates.standing(id, look).await
            }
        };
        match standing {
            Some(standing) => Ok(standing),
            None => self.by_rows(id, user_id).await,
        }
    }

    /// Counts the accepted issues of each of these templates, in their order.
    pub(crate) async fn counts(&self, templates: &[TemplateId]) -> StoreResult<Vec<i64>> {
        self.confirmer.flush(templates).await;
        let mut counts = self.records.written_counts(templates).await?;
        let gates = self.records.gates_of(templates).await?;
        let looks = gates
            .into_iter()
            .zip(templates.to_vec())
            .map(|(gate, id)| async move {
                let gate = gate.filter(|gate| gate.state == GateState::Open)?;
                self.of_open_gate(id, &gate, None).await
            });
        let looks = stream::iter(looks).buffered(MAX_CONCURRENT_LOOKS);
        let looks: Vec<_> = looks.collect().await;
        for (count, standing) in counts.iter_mut().zip(looks) {
            if let Some(standing) = standing {
                *count = standing.issue_count;
            }
        }
        Ok(counts)
    }

    async fn by_rows(
        &self,
        template: TemplateId,
        user_id: Option<&str>,
    ) -> StoreResult<IssueStanding> {
        let counts = self.records.written_counts(&[template]).await?;
        let user_has_one = match user_id {
            None => false,
            Some(user_id) => self.records.is_holder(template, user_id).await?,
        };
        Ok(IssueStanding {
            issue_count: counts.first().copied().unwrap_or_default(),
            user_has_one,
        })
    }

    /// Reads the numbers from the gate; `None` if it is not open or does not answer.
    async fn by_gate(
        &self,
        template: TemplateId,
        user_id: Option<&str>,
    ) -> StoreResult<Option<IssueStanding>> {
        self.confirmer.flush(&[template]).await;
        let seen = self.gates.seen(template).await?;
        let gate = seen.read.as_ref().and_then(|read| read.gate.as_ref());
        match gate.filter(|gate| gate.state == GateState::Open) {
            Some(gate) => Ok(self.of_open_gate(template, gate, user_id).await),
            None => Ok(None),
        }
    }

    async fn of_open_gate(
        &self,
        template: TemplateId,
        gate: &Gate,
        user_id: Option<&str>,
    ) -> Option<IssueStanding> {
        let server = self.servers.bound().ok()?;
        let now = self.clock.now();
        let look = server.look(GateId::of(template), gate.epoch, user_id, None, now);
        let counts = look.await.ok()?.gate.ok()?;
        Some(IssueStanding {
            issue_count: counts.base + counts.confirmed,
            user_has_one: counts.user == Some(Holding::Coupon),
        })
    }
}
