//! What each partner does beside its requests, each second: it notes that the gates' server lives ([`beat`]), drives on
//! the gates that are being moved ([`move_on`]), and publishes again what was reserved and not confirmed ([`run`]).
//!
//! The server knows which gates have reservations, so that what this costs grows with those and not with all gates. Every
//! now and then one of all partners looks at each open gate, for programs of the version before do not note theirs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use goodpon_application::ports::{StoreError, StoreResult};
use goodpon_domain::{
    gate::{self, Epoch, Folding, Gate, GateId, GateState, IssueEvent, SALE_OVER_AFTER},
    id::TemplateId,
};
use goodpon_supervise::{Ended, Report};
use tokio::{sync::watch, time::Instant};

use super::Partner;
use crate::{opening::Trouble, ports::GateServer, rounds::Rounds};

/// How often all open gates are looked at, by one of all partners.
const SWEEP_EVERY: Duration = Duration::from_secs(20);

/// How long a reservation must have been due before others publish it. It is first due a second after it was made, and
/// again a second after each try; a longer time might never come where newcomers try and fail.
const DUE_FOR: Duration = Duration::ZERO;

/// Pendings of one gate that are helped at a time.
const HELPED: usize = 500;

/// Gates with reservations that are looked at in a round: those that wait longest.
const BUSY: usize = 1_000;

/// Gates that are read from the database at a time.
const PAGE: usize = 1_000;

/// Gates that are driven on, or helped, at a time.
const DRIVEN: usize = 8;

/// How long a reservation that this program cannot read keeps its place. A newer program would have published it long
/// before; where none runs any more, the gate is opened anew.
const UNREADABLE_FOR: Duration = Duration::from_secs(60);

/// How long a gate with one is remembered after it was seen last, and how many are.
const UNREADABLE_SEEN: Duration = Duration::from_secs(120);
const MOST_UNREADABLE: usize = 1_000;

/// Notes each second that the gates' server lives, until `stop` is true. Nothing else may hold that up.
pub(crate) async fn beat(
    partner: Arc<Partner>,
    report: Report,
    stop: watch::Receiver<bool>,
) -> Ended {
    let mut rounds = Rounds::new("gate_beat", report, stop);
    loop {
        rounds.note(partner.beat().await);
        if !rounds.next().await {
            return Ok(());
        }
    }
}

/// Follows each second how far the log was worked through, until `stop` is true.
pub(crate) async fn follow_log(
    partner: Arc<Partner>,
    report: Report,
    stop: watch::Receiver<bool>,
) -> Ended {
    let mut rounds = Rounds::new("log_follower", report, stop);
    loop {
        let progress = partner.records.progress().await;
        rounds.note(progress.map(|latest| partner.progress.set(latest)));
        if !rounds.next().await {
            return Ok(());
        }
    }
}

/// Drives on the gates that are being moved, until `stop` is true.
pub(crate) async fn move_on(
    partner: Arc<Partner>,
    report: Report,
    stop: watch::Receiver<bool>,
) -> Ended {
    let mut rounds = Rounds::new("gate_mover", report, stop);
    loop {
        rounds.note(partner.move_gates_on().await);
        if !rounds.next().await {
            return Ok(());
        }
    }
}

/// Publishes again what was reserved and not confirmed, and folds the gates of sales that are over, until `stop` is
/// true.
pub(crate) async fn run(
    partner: Arc<Partner>,
    report: Report,
    stop: watch::Receiver<bool>,
) -> Ended {
    let mut rounds = Rounds::new("reconciler", report, stop);
    let mut unreadable = Unreadable::default();
    loop {
        match partner.reconcile(&mut unreadable).await {
            Ok(round) => round
                .troubles
                .into_iter()
                .for_each(|trouble| rounds.note(Err(trouble))),
            Err(error) => rounds.note(Err(error)),
        }
        if !rounds.next().await {
            return Ok(());
        }
    }
}

/// What a round of the reconciler came to.
#[derive(Debug, Default)]
pub struct Round {
    /// Gates that were looked at.
    pub looked: usize,
    /// Reservations that were published again.
    pub helped: usize,
    /// What went wrong with some of the gates.
    pub troubles: Vec<StoreError>,
}

/// What was found of one gate.
#[derive(Default)]
struct Found {
    helped: usize,
    unreadable: usize,
}

/// Gates with reservations that this program cannot read.
#[derive(Default)]
pub struct Unreadable(HashMap<TemplateId, Sighting>);

struct Sighting {
    epoch: Epoch,
    first: Instant,
    last: Instant,
}

impl Unreadable {
    /// With a gate that was first seen to have some as long ago as makes it stuck.
    #[cfg(test)]
    #[allow(clippy::expect_used)]
    pub(crate) fn since_long(template: TemplateId, epoch: Epoch) -> Self {
        let last = Instant::now();
        let first = last.checked_sub(UNREADABLE_FOR).expect("a minute ago");
        Self(HashMap::from([(template, Sighting { epoch, first, last })]))
    }

    /// Notes that a gate has some. Whether it is to be opened anew because of them.
    fn is_stuck(&mut self, template: TemplateId, epoch: Epoch, now: Instant) -> bool {
        self.0
            .retain(|_, seen| now.duration_since(seen.last) < UNREADABLE_SEEN);
        if self.0.len() >= MOST_UNREADABLE && !self.0.contains_key(&template) {
            return false;
        }
        let new = Sighting {
            epoch,
            first: now,
            last: now,
        };
        let seen = self.0.entry(template).or_insert(new);
        if seen.epoch != epoch {
            (seen.epoch, seen.first) = (epoch, now);
        }
        seen.last = now;
        now.duration_since(seen.first) >= UNREADABLE_FOR
    }
}

impl Partner {
    /// Notes that the gates' server lives, if it does.
    pub async fn beat(&self) -> StoreResult<()> {
        let server = self.servers.bound()?;
        server.prove_writable().await?;
        self.records.beat(server.server()).await
    }

    /// Does the step that is due at each gate that is being moved.
    pub async fn move_gates_on(&self) -> StoreResult<()> {
        let sealing = self.all_gates_in(GateState::Sealing).await?;
        let steps = sealing.into_iter().map(|(template, gate)| {
            let trouble = Trouble::known(gate.epoch);
            async move { self.openings.drive(template, trouble).await }
        });
        let some_at_a_time = futures::stream::iter(steps).buffer_unordered(DRIVEN);
        some_at_a_time.collect::<()>().await;
        Ok(())
    }

    /// One round: over the gates that have reservations, and now and then over all. What fails of one gate delays no
    /// other.
    pub async fn reconcile(&self, unreadable: &mut Unreadable) -> StoreResult<Round> {
        let server = self.servers.bound()?;
        let mut round = Round::default();
        let busy = server.busy(BUSY).await?.into_iter();
        let busy = busy.map(|(gate, epoch)| (gate.template, epoch)).collect();
        self.help_all(busy, &*server, unreadable, &mut round).await;
        let swept = match server.may_sweep(SWEEP_EVERY).await {
            Ok(true) => self.sweep(&*server, unreadable, &mut round).await,
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        round.troubles.extend(swept.err());
        Ok(round)
    }

    /// Looks at all open gates of the server.
    async fn sweep(
        &self,
        server: &dyn GateServer,
        unreadable: &mut Unreadable,
        round: &mut Round,
    ) -> StoreResult<()> {
        let open = self.all_gates_in(GateState::Open).await?;
        let here: Vec<(TemplateId, Epoch)> = open
            .into_iter()
            .filter(|(_, gate)| gate.server.as_deref() == Some(server.server()))
            .map(|(template, gate)| (template, gate.epoch))
            .collect();
        self.help_all(here.clone(), server, unreadable, round).await;
        let folds = here.into_iter().map(|(template, epoch)| async move {
            self.fold_if_over(template, epoch, server).await
        });
        let mut folded = futures::stream::iter(folds).buffer_unordered(DRIVEN);
        while let Some(folded) = folded.next().await {
            round.troubles.extend(folded.err());
        }
        Ok(())
    }

    async fn help_all(
        &self,
        gates: Vec<(TemplateId, Epoch)>,
        server: &dyn GateServer,
        unreadable: &mut Unreadable,
        round: &mut Round,
    ) {
        round.looked += gates.len();
        let helps = gates.into_iter().map(|(template, epoch)| async move {
            (template, epoch, self.help(template, epoch, server).await)
        });
        let mut helps = futures::stream::iter(helps).buffer_unordered(DRIVEN);
        while let Some((template, epoch, found)) = helps.next().await {
            let found = found.unwrap_or_else(|error| {
                round.troubles.push(error);
                Found::default()
            });
            round.helped += found.helped;
            if found.unreadable > 0 && unreadable.is_stuck(template, epoch, Instant::now()) {
                tracing::error!(%template, %epoch, "the gate has a reservation that no goodpon which runs can read: it is opened anew");
                let trouble = Trouble {
                    epoch,
                    is_missing_there: true,
                    ahead: None,
                };
                self.openings.drive(template, trouble).await;
            }
        }
    }

    pub(crate) async fn all_gates_in(
        &self,
        state: GateState,
    ) -> StoreResult<Vec<(TemplateId, Gate)>> {
        let (mut all, mut after) = (Vec::new(), TemplateId(0));
        loop {
            let page = self.records.gates_in(state, after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(all);
            };
            after = *last;
            all.extend(page);
        }
    }

    /// Publishes again what was reserved long ago and not confirmed, and confirms what counts of it.
    async fn help(
        &self,
        template: TemplateId,
        epoch: Epoch,
        server: &dyn GateServer,
    ) -> StoreResult<Found> {
        let due = server
            .pending(GateId::of(template), epoch, DUE_FOR, HELPED)
            .await?;
        let Ok(due) = due else {
            return Ok(Found::default());
        };
        let mut found = Found {
            helped: 0,
            unreadable: due.unreadable,
        };
        if due.events.is_empty() {
            return Ok(found);
        }
        let seen = self.gates.seen(template).await?;
        let Some(read) = &seen.read else {
            return Ok(found);
        };
        let is_open = |gate: &Gate| gate.epoch == epoch && gate.state == GateState::Open;
        if !read.gate.as_ref().is_some_and(is_open) {
            return Ok(found);
        }
        found.helped = due.events.len();
        metrics::counter!("goodpon_gate_helps_total", "by" => "reconciler")
            .increment(found.helped as u64);
        let valid_until = gate::valid_until(read.read_at);
        let published = due.events.into_iter().map(async |event| {
            let event = IssueEvent {
                valid_until,
                ..event
            };
            let done = self.publishing.publish(&event, seen.asked).await;
            done.map(|()| event)
        });
        let (mut counted, mut trouble) = (Vec::new(), None);
        for published in futures::future::join_all(published).await {
            match published {
                Ok(event) => counted.push(event),
                Err(error) => trouble = Some(error),
            }
        }
        self.confirm_helped(counted).await?;
        match trouble {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }

    /// Gives a gate's memory back when its sale is over.
    async fn fold_if_over(
        &self,
        template: TemplateId,
        epoch: Epoch,
        server: &dyn GateServer,
    ) -> StoreResult<()> {
        let now = self.clock.now();
        let look = server
            .look(GateId::of(template), epoch, None, None, now)
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
        if !self.records.bump_idle_gate(template, epoch).await? {
            return Ok(());
        }
        self.records.stamp_gate(template, epoch.next()).await?;
        if server.fold(GateId::of(template), epoch).await? == Folding::Done {
            tracing::info!(%template, "the gate's memory is given back");
        }
        Ok(())
    }
}
