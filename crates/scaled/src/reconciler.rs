//! What each partner does beside its requests, each second: it notes that the gates' server lives ([`beat`]), drives on
//! the gates that are being moved ([`move_on`]), and publishes again what was reserved and not confirmed ([`run`]).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt;
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

/// How long a reservation must have been due before others publish it. It is first due a second after it was made, and
/// again a second after each try; a longer time might never come where newcomers try and fail.
const DUE_FOR: Duration = Duration::ZERO;

/// Pendings of one gate that are helped at a time.
const HELPED: usize = 500;

/// Gates that are read from the database at a time.
const PAGE: usize = 1_000;

/// Gates that are driven on at a time.
const DRIVEN: usize = 8;

/// Notes each second that the gates' server lives, until `stop` is true. Nothing else may hold that up.
pub(crate) async fn beat(scaled: Scaled, stop: watch::Receiver<bool>) {
    each_second(stop, "the gates' server is not noted to live", |_| {
        let scaled = scaled.clone();
        async move {
            let bound = scaled.valkey.bound()?;
            bound.prove_writable().await?;
            scaled.store.beat(bound.server()).await
        }
    })
    .await;
}

/// Follows each second how far the log was worked through, until `stop` is true.
pub(crate) async fn follow_log(scaled: Scaled, stop: watch::Receiver<bool>) {
    each_second(
        stop,
        "how far the log was worked through cannot be read",
        |_| {
            let scaled = scaled.clone();
            async move { scaled.read_progress().await }
        },
    )
    .await;
}

/// Drives on the gates that are being moved, until `stop` is true.
pub(crate) async fn move_on(scaled: Scaled, stop: watch::Receiver<bool>) {
    each_second(stop, "gates cannot be moved", |_| {
        let scaled = scaled.clone();
        async move { scaled.move_all_on().await }
    })
    .await;
}

/// Publishes again what was reserved and not confirmed, and folds the gates of sales that are over, until `stop` is
/// true.
pub(crate) async fn run(scaled: Scaled, stop: watch::Receiver<bool>) {
    each_second(stop, "the reconciler cannot work", |round| {
        let scaled = scaled.clone();
        async move { scaled.reconcile(round % ALL_EVERY == 0).await }
    })
    .await;
}

async fn each_second<F>(
    mut stop: watch::Receiver<bool>,
    failed: &str,
    mut run: impl FnMut(u64) -> F,
) where
    F: Future<Output = StoreResult<()>>,
{
    let mut round = 0;
    loop {
        if let Err(error) = run(round).await {
            tracing::debug!(%error, "{failed}");
        }
        round += 1;
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

impl Scaled {
    async fn move_all_on(&self) -> StoreResult<()> {
        let sealing = self.all_gates_in(GateState::Sealing).await?;
        let steps = sealing.into_iter().map(|(template, gate)| {
            let (scaled, trouble) = (
                self.clone(),
                Trouble {
                    epoch: gate.epoch,
                    is_missing_there: false,
                    ahead: None,
                },
            );
            async move { scaled.drive(template, trouble).await }
        });
        let some_at_a_time = futures::stream::iter(steps).buffer_unordered(DRIVEN);
        some_at_a_time.collect::<()>().await;
        Ok(())
    }

    /// One round. `all`: over all open gates.
    async fn reconcile(&self, all: bool) -> StoreResult<()> {
        let bound = self.valkey.bound()?;
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
