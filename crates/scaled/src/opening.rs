//! Openings of gates (O1 to O5). Any process may do the step that is due. A process that pauses in a step and continues
//! later finds that the step was done, and changes nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use goodpon_application::{
    idempotency::ANSWER_RETENTION,
    ports::{Clock, StoreResult},
};
use goodpon_domain::{
    gate::{
        Epoch, Gate, GateId, GateState, Holder, InstallResult, KeptSuccess, Opening, SealResult,
    },
    id::TemplateId,
};
use goodpon_valkey::user_digest;
use tokio::time::Instant;

use crate::{
    partner::{
        answers::{Answers, Successes},
        gate_cache::GateCache,
    },
    ports::{GateRecords, GateServer, GateServers},
};

/// The pause after a step that had nothing to do or failed, before the next step at the same gate.
const IDLE_STEP_PAUSE: Duration = Duration::from_millis(100);

/// The interval at which a process records that it is bringing a gate to its server.
const TOUCH_INTERVAL: Duration = Duration::from_secs(1);

/// The number of holders that are loaded in one call.
const HOLDERS_PER_PAGE: usize = 5_000;

/// The state of a gate that is not open to the process that asked it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotOpen {
    /// The epoch that was found closed.
    pub(crate) epoch: Epoch,
    /// The epoch's server answers, but does not have it.
    pub(crate) is_missing_there: bool,
    /// A greater epoch that the server has. If the database does not know of it even when it is read again, the database
    /// was restored from an older copy.
    pub(crate) ahead: Option<Epoch>,
}

impl NotOpen {
    /// Describes a gate that is not open according to the database.
    pub(crate) fn in_database(epoch: Epoch) -> Self {
        Self {
            epoch,
            is_missing_there: false,
            ahead: None,
        }
    }
}

type Running = Shared<BoxFuture<'static, ()>>;

/// Opens gates, and moves them to other servers.
pub(crate) struct Openings {
    records: Arc<dyn GateRecords>,
    servers: Arc<dyn GateServers>,
    gates: Arc<GateCache>,
    answers: Arc<Answers>,
    clock: Arc<dyn Clock>,
    /// The steps that run in this process: at most one at a time for each template.
    running: Mutex<HashMap<TemplateId, Running>>,
}

impl Openings {
    pub(crate) fn new(
        records: Arc<dyn GateRecords>,
        servers: Arc<dyn GateServers>,
        gates: Arc<GateCache>,
        answers: Arc<Answers>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            records,
            servers,
            gates,
            answers,
            clock,
            running: Mutex::default(),
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TemplateId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the step that is due at a template's gate, or waits for the task of this process that does it. The step
    /// continues even if the caller stops waiting.
    pub(crate) async fn drive(self: &Arc<Self>, template: TemplateId, found: NotOpen) {
        let running = {
            let mut all = self.running();
            match all.get(&template) {
                Some(running) => running.clone(),
                None => {
                    let openings = Arc::clone(self);
                    let step = tokio::spawn(async move { openings.step(template, found).await });
                    let done = step.map(|_| ()).boxed().shared();
                    all.insert(template, done.clone());
                    done
                }
            }
        };
        running.await;
    }

    async fn step(&self, template: TemplateId, found: NotOpen) {
        let _guard = StepGuard {
            openings: self,
            template,
        };
        let done = self.try_step(template, found).await;
        self.gates.forget(template);
        if let Err(error) = &done {
            tracing::warn!(%template, %error, "the gate cannot be opened yet");
        }
        if !matches!(done, Ok(true)) {
            tokio::time::sleep(IDLE_STEP_PAUSE).await;
        }
    }

    /// Does one step. Returns whether one was due.
    async fn try_step(&self, template: TemplateId, found: NotOpen) -> StoreResult<bool> {
        let Some(read) = self.records.read_gate(template).await? else {
            return Ok(false);
        };
        let server = self.servers.bound()?;
        let Some(gate) = read.gate else {
            let opening = self.records.open_first(template, server.server()).await?;
            return self.install_if(template, opening, &*server).await;
        };
        match gate.state {
            GateState::Open => self.give_up(template, &gate, found, &*server).await,
            GateState::Sealing => self.seal(template, &gate, &*server).await,
            GateState::Folded => {
                let opening = self
                    .records
                    .open_folded(template, gate.epoch, server.server())
                    .await?;
                self.install_if(template, opening, &*server).await
            }
        }
    }

    /// Gives up an open gate that its server has lost, or whose server is dead.
    async fn give_up(
        &self,
        template: TemplateId,
        gate: &Gate,
        found: NotOpen,
        server: &dyn GateServer,
    ) -> StoreResult<bool> {
        if gate.epoch != found.epoch {
            // Another process has opened it since.
            return Ok(true);
        }
        let is_here = gate.server.as_deref() == Some(server.server());
        if is_here {
            // The server lives; it may only be that no process could record so while the database was unavailable.
            server.prove_writable().await?;
            self.records.beat(server.server()).await?;
        }
        let is_missing = is_here && found.is_missing_there;
        let next = gate.epoch.max(found.ahead.unwrap_or_default()).next();
        let bumped = self
            .records
            .bump_gate(template, gate.epoch, next, is_missing);
        if !bumped.await? {
            return Ok(false);
        }
        metrics::counter!("goodpon_gate_bumps_total").increment(1);
        tracing::warn!(%template, epoch = %gate.epoch, %next, server = gate.server, "the gate is lost: its next epoch is to be opened");
        self.records.stamp_gate(template, next).await?;
        Ok(true)
    }

    /// Stamps a gate that was given up, or seals it if that is possible already.
    async fn seal(
        &self,
        template: TemplateId,
        gate: &Gate,
        server: &dyn GateServer,
    ) -> StoreResult<bool> {
        if gate.bumped_at.is_none() {
            self.records.stamp_gate(template, gate.epoch).await?;
            return Ok(true);
        }
        let sealed = self
            .records
            .seal_gate(template, gate.epoch, server.server())
            .await?;
        match sealed {
            SealResult::Passed => Ok(true),
            SealResult::NotYet { .. } => Ok(false),
            SealResult::Folded => {
                tracing::info!(%template, epoch = %gate.epoch, "the gate is folded: its sale is over");
                Ok(true)
            }
            SealResult::Open(opening) => {
                metrics::counter!("goodpon_gate_seals_total").increment(1);
                self.install_if(template, Some(opening), server).await
            }
        }
    }

    /// Installs an opening, if this process got one.
    async fn install_if(
        &self,
        template: TemplateId,
        opening: Option<Opening>,
        server: &dyn GateServer,
    ) -> StoreResult<bool> {
        if let Some(opening) = opening {
            self.install(template, opening, server).await?;
        }
        Ok(true)
    }

    /// Brings an epoch's places to the server (O4, O5). Only the process that saw the opening committed may do this, and
    /// only once.
    async fn install(
        &self,
        template: TemplateId,
        opening: Opening,
        server: &dyn GateServer,
    ) -> StoreResult<()> {
        let Opening {
            epoch,
            places,
            issued,
        } = opening;
        let loaded = self.load(template, epoch, server).await?;
        let installed = match loaded {
            Ok(loaded) => {
                let gate = GateId::of(template);
                server.install(gate, epoch, places, issued, loaded).await?
            }
            Err(refused) => refused,
        };
        match installed {
            InstallResult::Done => {
                metrics::counter!("goodpon_gate_openings_total").increment(1);
                tracing::info!(%template, %epoch, places, issued, server = server.server(), "the gate is open");
            }
            other => {
                tracing::warn!(%template, %epoch, refused = ?other, "the gate was not installed and is to be opened anew");
            }
        }
        Ok(())
    }

    /// Loads the users who have a coupon or a parked event, and the keys that still count. Returns the number of users, or
    /// the server's refusal.
    async fn load(
        &self,
        template: TemplateId,
        epoch: Epoch,
        server: &dyn GateServer,
    ) -> StoreResult<Result<usize, InstallResult>> {
        let gate = GateId::of(template);
        let mut users: Vec<[u8; 16]> = Vec::new();
        let mut touched = Instant::now();
        for user in self.records.parked_users(template).await? {
            if !self.records.is_holder(template, &user).await? {
                users.push(user_digest(&user));
            }
            self.touch(template, epoch, &mut touched).await?;
        }
        let mut loaded = users.len();
        let mut refused = server.load(gate, epoch, &users, &[]).await?;
        let answers = self.answers.successes().await?;
        let mut after = String::new();
        while refused == InstallResult::Done {
            let page = self
                .records
                .holders(template, &after, HOLDERS_PER_PAGE)
                .await?;
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
            refused = server.load(gate, epoch, &users, &successes).await?;
            self.touch(template, epoch, &mut touched).await?;
        }
        Ok(Err(refused))
    }

    /// Records once a second that this process is bringing the places to the server.
    async fn touch(
        &self,
        template: TemplateId,
        epoch: Epoch,
        touched: &mut Instant,
    ) -> StoreResult<()> {
        if touched.elapsed() >= TOUCH_INTERVAL {
            self.records.touch_gate(template, epoch).await?;
            *touched = Instant::now();
        }
        Ok(())
    }

    /// Returns the success that a holder's key must be answered with for the rest of its day; `None` if there is no key or
    /// the day is over.
    fn success(&self, holder: &Holder, answers: &Successes) -> Option<KeptSuccess> {
        let age = self.clock.now().duration_since(holder.issued_at);
        let rest = Duration::try_from(ANSWER_RETENTION - age).ok()?;
        Some(KeptSuccess {
            keyed: holder.keyed?,
            stored_at: holder.issued_at,
            rest,
            answer: answers.at(holder.issued_at),
        })
    }
}

/// Removes a step from the running ones when it ends, even by a panic.
struct StepGuard<'a> {
    openings: &'a Openings,
    template: TemplateId,
}

impl Drop for StepGuard<'_> {
    fn drop(&mut self) {
        self.openings.running().remove(&self.template);
    }
}
