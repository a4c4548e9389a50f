//! The loops that each partner runs once a second beside its requests: it records that the gates' server lives ([`beat`]),
//! follows the issuers' progress ([`follow_log`]), drives on the gates that are being moved ([`move_on`]), and publishes
//! reservations again that were not confirmed ([`run`]).
//!
//! The server lists the gates that have reservations, so the work grows with these and not with all gates. Every 20 seconds
//! one of all partners looks at each open gate, because programs of the previous version do not list theirs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use goodpon_application::ports::{StoreError, StoreResult};
use goodpon_domain::{
    gate::{self, Epoch, FoldResult, Gate, GateId, GateState, IssueEvent, SALE_OVER_AGE},
    id::TemplateId,
};
use goodpon_supervise::{Ended, Report};
use tokio::{sync::watch, time::Instant};

use super::Partner;
use crate::{opening::NotOpen, ports::GateServer, rounds::Rounds};

/// The interval at which one of all partners looks at all open gates.
const SWEEP_INTERVAL: Duration = Duration::from_secs(20);

/// The time for which a reservation must have been due before this loop publishes it again. It is first due a second after
/// it was made, and again a second after each attempt to help it. A longer time might never pass, because newcomers who
/// try to help and fail make it due later each time.
const LEAST_OVERDUE: Duration = Duration::ZERO;

/// The largest number of one gate's reservations that are published again in a round.
const MAX_HELPED_PER_GATE: usize = 500;

/// The largest number of listed gates that are looked at in a round, the longest due first.
const MAX_BUSY_GATES: usize = 1_000;

/// The number of gates that are read from the database in one statement.
const GATES_PER_PAGE: usize = 1_000;

/// The largest number of gates that are worked on at a time.
const MAX_CONCURRENT_GATES: usize = 8;

/// The time after which a gate is opened anew because of a reservation that this program cannot read. A newer program
/// would have published it long before; evidently none runs any more.
const UNREADABLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The time for which a gate with such a reservation is remembered after its last sighting, and the largest number of such
/// gates.
const SIGHTING_LIFETIME: Duration = Duration::from_secs(120);
const MAX_SIGHTINGS: usize = 1_000;

/// Records once a second that the gates' server lives, until `stop` is true. It is a loop of its own so that no other work
/// delays it.
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

/// Reads the issuers' progress in the log once a second, until `stop` is true.
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

/// Publishes reservations again that were not confirmed, and folds the gates of sales that are over, until `stop` is true.
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

/// The result of a round of the reconciler.
#[derive(Debug, Default)]
pub struct Round {
    /// The number of gates that were looked at.
    pub looked: usize,
    /// The number of reservations that were published again.
    pub helped: usize,
    /// The errors, each of one gate.
    pub troubles: Vec<StoreError>,
}

/// The result of a round at one gate, in numbers of reservations.
#[derive(Default)]
struct GateRound {
    helped: usize,
    unreadable: usize,
}

/// The gates that have reservations that this program cannot read.
#[derive(Default)]
pub struct Unreadable(HashMap<TemplateId, Sighting>);

struct Sighting {
    epoch: Epoch,
    first: Instant,
    last: Instant,
}

impl Unreadable {
    /// Makes a set with one gate, which was first seen so long ago that it counts as stuck.
    #[cfg(test)]
    #[allow(clippy::expect_used)]
    pub(crate) fn since_long(template: TemplateId, epoch: Epoch) -> Self {
        let last = Instant::now();
        let first = last.checked_sub(UNREADABLE_TIMEOUT).expect("a minute ago");
        Self(HashMap::from([(template, Sighting { epoch, first, last })]))
    }

    /// Records that a gate has such a reservation. Returns whether it is to be opened anew because of it.
    fn note(&mut self, template: TemplateId, epoch: Epoch, now: Instant) -> bool {
        self.0
            .retain(|_, seen| now.duration_since(seen.last) < SIGHTING_LIFETIME);
        if self.0.len() >= MAX_SIGHTINGS && !self.0.contains_key(&template) {
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
        now.duration_since(seen.first) >= UNREADABLE_TIMEOUT
    }
}

impl Partner {
    /// Records that the gates' server lives, if it takes writes.
    pub async fn beat(&self) -> StoreResult<()> {
        let server = self.servers.bound()?;
        server.prove_writable().await?;
        self.records.beat(server.server()).await
    }

    /// Does the step that is due at each gate that is being moved.
    pub async fn move_gates_on(&self) -> StoreResult<()> {
        let sealing = self.all_gates_in(GateState::Sealing).await?;
        let steps = sealing.into_iter().map(|(template, gate)| {
            let found = NotOpen::in_database(gate.epoch);
            async move { self.openings.drive(template, found).await }
        });
        let limited = futures::stream::iter(steps).buffer_unordered(MAX_CONCURRENT_GATES);
        limited.collect::<()>().await;
        Ok(())
    }

    /// Does one round: over the gates that have reservations, and if it is due over all gates. An error at one gate delays
    /// no other.
    pub async fn reconcile(&self, unreadable: &mut Unreadable) -> StoreResult<Round> {
        let server = self.servers.bound()?;
        let mut round = Round::default();
        let busy = server.busy(MAX_BUSY_GATES).await?.into_iter();
        let busy = busy.map(|(gate, epoch)| (gate.template, epoch)).collect();
        self.help_all(busy, &*server, unreadable, &mut round).await;
        let swept = match server.may_sweep(SWEEP_INTERVAL).await {
            Ok(true) => self.sweep(&*server, unreadable, &mut round).await,
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        round.troubles.extend(swept.err());
        Ok(round)
    }

    /// Helps at all open gates of the server, and folds those whose sale is over.
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
        let mut folded = futures::stream::iter(folds).buffer_unordered(MAX_CONCURRENT_GATES);
        while let Some(folded) = folded.next().await {
            round.troubles.extend(folded.err());
        }
        Ok(())
    }

    /// Publishes the due reservations of these gates again, and opens a gate anew that has had an unreadable one too long.
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
        let mut helps = futures::stream::iter(helps).buffer_unordered(MAX_CONCURRENT_GATES);
        while let Some((template, epoch, done)) = helps.next().await {
            let done = done.unwrap_or_else(|error| {
                round.troubles.push(error);
                GateRound::default()
            });
            round.helped += done.helped;
            if done.unreadable > 0 && unreadable.note(template, epoch, Instant::now()) {
                tracing::error!(%template, %epoch, "the gate has a reservation that no goodpon which runs can read: it is opened anew");
                let found = NotOpen {
                    epoch,
                    is_missing_there: true,
                    ahead: None,
                };
                self.openings.drive(template, found).await;
            }
        }
    }

    pub(crate) async fn all_gates_in(
        &self,
        state: GateState,
    ) -> StoreResult<Vec<(TemplateId, Gate)>> {
        let (mut all, mut after) = (Vec::new(), TemplateId(0));
        loop {
            let page = self.records.gates_in(state, after, GATES_PER_PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(all);
            };
            after = *last;
            all.extend(page);
        }
    }

    /// Publishes a gate's due reservations again, and confirms those whose copies count.
    async fn help(
        &self,
        template: TemplateId,
        epoch: Epoch,
        server: &dyn GateServer,
    ) -> StoreResult<GateRound> {
        let due = server
            .pending(
                GateId::of(template),
                epoch,
                LEAST_OVERDUE,
                MAX_HELPED_PER_GATE,
            )
            .await?;
        let Ok(due) = due else {
            return Ok(GateRound::default());
        };
        let mut done = GateRound {
            helped: 0,
            unreadable: due.unreadable,
        };
        if due.events.is_empty() {
            return Ok(done);
        }
        let seen = self.gates.seen(template).await?;
        let Some(read) = &seen.read else {
            return Ok(done);
        };
        let is_open = |gate: &Gate| gate.epoch == epoch && gate.state == GateState::Open;
        if !read.gate.as_ref().is_some_and(is_open) {
            return Ok(done);
        }
        done.helped = due.events.len();
        metrics::counter!("goodpon_gate_helps_total", "by" => "reconciler")
            .increment(done.helped as u64);
        let valid_until = gate::valid_until(read.read_at);
        let published = due.events.into_iter().map(async |event| {
            let event = IssueEvent {
                valid_until,
                ..event
            };
            let published = self.publishing.publish(&event, seen.asked).await;
            published.map(|()| event)
        });
        let (mut counted, mut last_error) = (Vec::new(), None);
        for published in futures::future::join_all(published).await {
            match published {
                Ok(event) => counted.push(event),
                Err(error) => last_error = Some(error),
            }
        }
        self.confirm_helped(counted).await?;
        match last_error {
            Some(error) => Err(error),
            None => Ok(done),
        }
    }

    /// Folds a gate whose sale is over, which gives its memory back.
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
            .is_none_or(|at| now.duration_since(at) > SALE_OVER_AGE);
        if counts.spent != counts.confirmed || !is_idle {
            return Ok(());
        }
        if !self.records.bump_idle_gate(template, epoch).await? {
            return Ok(());
        }
        self.records.stamp_gate(template, epoch.next()).await?;
        if server.fold(GateId::of(template), epoch).await? == FoldResult::Done {
            tracing::info!(%template, "the gate's memory is given back");
        }
        Ok(())
    }
}
