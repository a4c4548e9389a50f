//! Openings of gates (O1 to O5): any process does the step that is due, and whoever pauses in it and goes on later
//! finds that it was done.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use goodpon_application::{idempotency::KEPT_FOR, ports::StoreResult};
use goodpon_domain::{
    gate::{Epoch, Gate, GateState},
    id::TemplateId,
};
use goodpon_mysql::{Holder, Opening, Sealed};
use goodpon_valkey::{Bound, Installation, KeptSuccess, user_digest};
use tokio::time::Instant;

use crate::{Scaled, answers::Successes, gate_of};

/// How long a step that found nothing to do yet keeps others from trying.
const REST: Duration = Duration::from_millis(100);

/// How often it is noted that a gate is being brought to its server.
const TOUCH_EVERY: Duration = Duration::from_secs(1);

/// Holders that are brought at a time.
const PAGE: usize = 5_000;

/// Why a gate is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The epoch that was found closed.
    pub(crate) epoch: Epoch,
    /// Whether its server answers, but has not got it.
    pub(crate) is_missing_there: bool,
    /// A greater one that is there. If the database still does not know of it, it was restored from an older copy.
    pub(crate) ahead: Option<Epoch>,
}

/// The openings that run in this process: one for each template at a time.
#[derive(Default)]
pub(crate) struct Openings(Mutex<HashMap<TemplateId, Shared<BoxFuture<'static, ()>>>>);

impl Scaled {
    /// Does the step that is due at a template's gate, or waits for whoever in this process does it. It goes on where
    /// the caller stops waiting.
    pub(crate) async fn drive(&self, template: TemplateId, trouble: Trouble) {
        let running = {
            let mut all = self.openings.lock();
            match all.get(&template) {
                Some(running) => running.clone(),
                None => {
                    let scaled = self.clone();
                    let step = tokio::spawn(async move { scaled.step(template, trouble).await });
                    let done = step.map(|_| ()).boxed().shared();
                    all.insert(template, done.clone());
                    done
                }
            }
        };
        running.await;
    }

    async fn step(self, template: TemplateId, trouble: Trouble) {
        let _done = Done {
            openings: &self.openings,
            template,
        };
        let done = self.try_step(template, trouble).await;
        self.gates.forget(template);
        if let Err(error) = &done {
            tracing::warn!(%template, %error, "the gate cannot be opened yet");
        }
        if !matches!(done, Ok(true)) {
            tokio::time::sleep(REST).await;
        }
    }

    /// Does one step. Whether there was one to do.
    async fn try_step(&self, template: TemplateId, trouble: Trouble) -> StoreResult<bool> {
        let Some(read) = self.store.read_gate(template).await? else {
            return Ok(false);
        };
        let bound = self.valkey.bound()?;
        let server = bound.server().to_owned();
        let Some(gate) = read.gate else {
            let opening = self.store.open_first(template, &server).await?;
            return self.install_if(template, opening, &bound).await;
        };
        match gate.state {
            GateState::Open => self.step_open(template, &gate, trouble, &bound).await,
            GateState::Sealing => self.step_sealing(template, &gate, &bound).await,
            GateState::Folded => {
                let opening = self
                    .store
                    .open_folded(template, gate.epoch, &server)
                    .await?;
                self.install_if(template, opening, &bound).await
            }
        }
    }

    /// Gives a gate up that is lost, or whose server is dead.
    async fn step_open(
        &self,
        template: TemplateId,
        gate: &Gate,
        trouble: Trouble,
        bound: &Bound,
    ) -> StoreResult<bool> {
        if gate.epoch != trouble.epoch {
            // Somebody has opened it since.
            return Ok(true);
        }
        let is_here = gate.server.as_deref() == Some(bound.server());
        if is_here {
            // Nobody may have been able to note that it lives.
            bound.prove_writable().await?;
            self.store.beat(bound.server()).await?;
        }
        let is_missing = is_here && trouble.is_missing_there;
        let next = gate.epoch.max(trouble.ahead.unwrap_or_default()).next();
        let bumped = self.store.bump_gate(template, gate.epoch, next, is_missing);
        if !bumped.await? {
            return Ok(false);
        }
        metrics::counter!("goodpon_gate_bumps_total").increment(1);
        tracing::warn!(%template, epoch = %gate.epoch, %next, server = gate.server, "the gate is lost: its next epoch is to be opened");
        self.store.stamp_gate(template, next).await?;
        Ok(true)
    }

    /// Seals a gate that was given up, as soon as that can be.
    async fn step_sealing(
        &self,
        template: TemplateId,
        gate: &Gate,
        bound: &Bound,
    ) -> StoreResult<bool> {
        if gate.bumped_at.is_none() {
            self.store.stamp_gate(template, gate.epoch).await?;
            return Ok(true);
        }
        let sealed = self
            .store
            .seal_gate(template, gate.epoch, bound.server())
            .await?;
        match sealed {
            Sealed::Passed => Ok(true),
            Sealed::NotYet { .. } => Ok(false),
            Sealed::Folded => {
                tracing::info!(%template, epoch = %gate.epoch, "the gate is folded: its sale is over");
                Ok(true)
            }
            Sealed::Open(opening) => {
                metrics::counter!("goodpon_gate_seals_total").increment(1);
                self.install_if(template, Some(opening), bound).await
            }
        }
    }

    async fn install_if(
        &self,
        template: TemplateId,
        opening: Option<Opening>,
        bound: &Bound,
    ) -> StoreResult<bool> {
        if let Some(opening) = opening {
            self.install(template, opening, bound).await?;
        }
        Ok(true)
    }

    /// Brings an epoch's places to the server (O4, O5). Only who saw the opening committed may, and once.
    async fn install(
        &self,
        template: TemplateId,
        opening: Opening,
        bound: &Bound,
    ) -> StoreResult<()> {
        let Opening {
            epoch,
            places,
            issued,
        } = opening;
        let loaded = self.load(template, epoch, bound).await?;
        let installed = match loaded {
            Ok(loaded) => {
                let gate = gate_of(template);
                bound.install(gate, epoch, places, issued, loaded).await?
            }
            Err(refused) => refused,
        };
        match installed {
            Installation::Done => {
                metrics::counter!("goodpon_gate_openings_total").increment(1);
                tracing::info!(%template, %epoch, places, issued, server = bound.server(), "the gate is open");
            }
            other => {
                tracing::warn!(%template, %epoch, refused = ?other, "the gate was not installed and is to be opened anew");
            }
        }
        Ok(())
    }

    /// Brings the users who have one, and the keys that still count. Gives how many users, or why not.
    async fn load(
        &self,
        template: TemplateId,
        epoch: Epoch,
        bound: &Bound,
    ) -> StoreResult<Result<usize, Installation>> {
        let gate = gate_of(template);
        let mut users: Vec<[u8; 16]> = Vec::new();
        let mut touched = Instant::now();
        for user in self.store.parked_users(template).await? {
            if !self.store.is_holder(template, &user).await? {
                users.push(user_digest(&user));
            }
            self.touch(template, epoch, &mut touched).await?;
        }
        let mut loaded = users.len();
        let mut refused = bound.load(gate, epoch, &users, &[]).await?;
        let answers = self.answers.successes().await?;
        let mut after = String::new();
        while refused == Installation::Done {
            let page = self.store.holders(template, &after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(Ok(loaded));
            };
            after.clone_from(&last.user_id);
            loaded += page.len();
            let users: Vec<_> = page.iter().map(|one| user_digest(&one.user_id)).collect();
            let successes: Vec<_> = page
                .iter()
                .filter_map(|one| self.success(one, &answers))
                .collect();
            refused = bound.load(gate, epoch, &users, &successes).await?;
            self.touch(template, epoch, &mut touched).await?;
        }
        Ok(Err(refused))
    }

    /// Tells others each second that somebody is at it.
    async fn touch(
        &self,
        template: TemplateId,
        epoch: Epoch,
        touched: &mut Instant,
    ) -> StoreResult<()> {
        if touched.elapsed() >= TOUCH_EVERY {
            self.store.touch_gate(template, epoch).await?;
            *touched = Instant::now();
        }
        Ok(())
    }

    /// What a key must be answered with for the rest of its day.
    fn success(&self, holder: &Holder, answers: &Successes) -> Option<KeptSuccess> {
        let age = self.clock.now().duration_since(holder.issued_at);
        let rest = Duration::try_from(KEPT_FOR - age).ok()?;
        Some(KeptSuccess {
            keyed: holder.keyed?,
            stored_at: holder.issued_at,
            rest,
            answer: answers.at(holder.issued_at),
        })
    }
}

/// Makes room for the next step however this one ends.
struct Done<'a> {
    openings: &'a Openings,
    template: TemplateId,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.openings.lock().remove(&self.template);
    }
}

impl Openings {
    fn lock(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<TemplateId, Shared<BoxFuture<'static, ()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
