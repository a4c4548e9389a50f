//! What each partner does beside its requests, each second: it notes that the gates' server lives, publishes again
//! what was reserved and not confirmed, and drives on the gates that are being moved or whose sale is over.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use goodpon_application::ports::StoreResult;
use goodpon_domain::{
    gate::{self, Gate, GateState},
    id::TemplateId,
};
use goodpon_mysql::SALE_OVER_AFTER;
use goodpon_valkey::{Bound, Folding};
use tokio::sync::watch;

use crate::{Scaled, gate_of, opening::Trouble};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// Every so many rounds all open gates are looked at, not only those that this process was asked about.
const ALL_EVERY: u64 = 10;

/// How long a reservation is due before others publish it: its own partner has two seconds in all.
const DUE_FOR: Duration = Duration::from_secs(1);

/// Pendings of one gate that are helped at a time.
const HELPED: usize = 500;

/// Gates that are read from the database at a time.
const PAGE: usize = 1_000;

/// Runs until `stop` is true.
pub(crate) async fn run(scaled: Scaled, mut stop: watch::Receiver<bool>) {
    let mut rounds = 0;
    loop {
        if let Err(error) = scaled.reconcile(rounds % ALL_EVERY == 0).await {
            tracing::debug!(%error, "the reconciler cannot work");
        }
        rounds += 1;
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

impl Scaled {
    /// One round. `all`: over all open gates.
    async fn reconcile(&self, all: bool) -> StoreResult<()> {
        for (template, gate) in self.all_gates_in(GateState::Sealing).await? {
            let trouble = Trouble {
                epoch: gate.epoch,
                is_missing_there: false,
            };
            // It goes on by itself; the next round looks again.
            let opening = self.drive(template, trouble);
            let _ = tokio::time::timeout(EVERY, opening).await;
        }
        let bound = self.valkey.bound()?;
        bound.prove_writable().await?;
        self.store.beat(bound.server()).await?;
        let lately: BTreeSet<TemplateId> = self.gates.remembered().into_iter().collect();
        let open = match all {
            true => self.all_gates_in(GateState::Open).await?,
            false => self.open_among(&lately).await?,
        };
        for (template, gate) in open {
            if gate.server.as_deref() != Some(bound.server()) {
                continue;
            }
            self.help(template, &gate, &bound).await?;
            if all {
                self.fold_if_over(template, &gate, &bound).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn all_gates_in(
        &self,
        state: GateState,
    ) -> StoreResult<Vec<(TemplateId, Gate)>> {
        let (mut all, mut after) = (Vec::new(), TemplateId(0));
        loop {
            let page = self.store.gates_in(state, after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(all);
            };
            after = *last;
            all.extend(page);
        }
    }

    async fn open_among(
        &self,
        templates: &BTreeSet<TemplateId>,
    ) -> StoreResult<Vec<(TemplateId, Gate)>> {
        let ids: Vec<TemplateId> = templates.iter().copied().collect();
        let gates = self.store.gates_of(&ids).await?;
        let found = ids.into_iter().zip(gates);
        Ok(found
            .filter_map(|(id, gate)| Some((id, gate?)))
            .filter(|(_, gate)| gate.state == GateState::Open)
            .collect())
    }

    /// Publishes again what was reserved long ago and not confirmed, and confirms what counts of it.
    async fn help(&self, template: TemplateId, gate: &Gate, bound: &Bound) -> StoreResult<()> {
        let asked = Instant::now();
        let Some(read) = self.store.read_gate(template).await? else {
            return Ok(());
        };
        if read.gate.as_ref().map(|read| read.epoch) != Some(gate.epoch) {
            return Ok(());
        }
        let until = gate::valid_until(read.read_at);
        let pending = bound
            .pending(gate_of(template), gate.epoch, DUE_FOR, HELPED, until)
            .await?;
        let events = match pending {
            Ok(events) if !events.is_empty() => events,
            _ => return Ok(()),
        };
        metrics::counter!("goodpon_gate_helps_total", "by" => "reconciler")
            .increment(events.len() as u64);
        let published = events.into_iter().map(async |event| {
            let done = self.publish(&event, asked).await;
            done.map(|()| event)
        });
        let published = futures::future::join_all(published).await;
        let counted: Vec<_> = published.into_iter().filter_map(Result::ok).collect();
        self.confirm_now(counted).await;
        Ok(())
    }

    /// Gives a gate's memory back when its sale is over.
    async fn fold_if_over(
        &self,
        template: TemplateId,
        gate: &Gate,
        bound: &Bound,
    ) -> StoreResult<()> {
        let now = self.clock.now();
        let look = bound
            .look(gate_of(template), gate.epoch, None, None, now)
            .await?;
        let Ok(counts) = look.gate else {
            return Ok(());
        };
        let is_idle = counts
            .confirmed_at
            .is_none_or(|at| now.duration_since(at) > SALE_OVER_AFTER);
        if counts.spent != counts.confirmed || !is_idle {
            return Ok(());
        }
        if !self.store.bump_idle_gate(template, gate.epoch).await? {
            return Ok(());
        }
        self.store.stamp_gate(template, gate.epoch.next()).await?;
        if bound.fold(gate_of(template), gate.epoch).await? == Folding::Done {
            tracing::info!(%template, "the gate's memory is given back");
        }
        Ok(())
    }
}
