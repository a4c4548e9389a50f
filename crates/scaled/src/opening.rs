//! Openings of gates (O1 to O5): any process does the step that is due, and whoever pauses in it and goes on later
//! finds that it was done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use goodpon_application::{
    idempotency::KEPT_FOR,
    ports::{Clock, StoreResult},
};
use goodpon_domain::{
    gate::{Epoch, Gate, GateId, GateState, Holder, Installation, KeptSuccess, Opening, Sealed},
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

impl Trouble {
    /// The database has the gate as not open.
    pub(crate) fn known(epoch: Epoch) -> Self {
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
    /// The steps that run in this process: one for each template at a time.
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

    /// Does the step that is due at a template's gate, or waits for the task of this process that does it. The step goes
    /// on where the caller stops waiting.
    pub(crate) async fn drive(self: &Arc<Self>, template: TemplateId, trouble: Trouble) {
        let running = {
            let mut all = self.running();
            match all.get(&template) {
                Some(running) => running.clone(),
                None => {
                    let openings = Arc::clone(self);
                    let step = tokio::spawn(async move { openings.step(template, trouble).await });
                    let done = step.map(|_| ()).boxed().shared();
                    all.insert(template, done.clone());
                    done
                }
            }
        };
        running.await;
    }

    async fn step(&self, template: TemplateId, trouble: Trouble) {
        let _done = Done {
            openings: self,
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
        let Some(read) = self.records.read_gate(template).await? else {
            return Ok(false);
        };
        let server = self.servers.bound()?;
        let Some(gate) = read.gate else {
            let opening = self.records.open_first(template, server.server()).await?;
            return self.install_if(template, opening, &*server).await;
        };
        match gate.state {
            GateState::Open => self.step_open(template, &gate, trouble, &*server).await,
            GateState::Sealing => self.step_sealing(template, &gate, &*server).await,
            GateState::Folded => {
                let opening = self
                    .records
                    .open_folded(template, gate.epoch, server.server())
                    .await?;
                self.install_if(template, opening, &*server).await
            }
        }
    }

    /// Gives a gate up that is lost, or whose server is dead.
    async fn step_open(
        &self,
        template: TemplateId,
        gate: &Gate,
        trouble: Trouble,
        server: &dyn GateServer,
    ) -> StoreResult<bool> {
        if gate.epoch != trouble.epoch {
            // Somebody has opened it since.
            return Ok(true);
        }
        let is_here = gate.server.as_deref() == Some(server.server());
        if is_here {
            // Nobody may have been able to note that it lives.
            server.prove_writable().await?;
            self.records.beat(server.server()).await?;
        }
        let is_missing = is_here && trouble.is_missing_there;
        let next = gate.epoch.max(trouble.ahead.unwrap_or_default()).next();
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

    /// Seals a gate that was given up, as soon as that can be.
    async fn step_sealing(
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
            Sealed::Passed => Ok(true),
            Sealed::NotYet { .. } => Ok(false),
            Sealed::Folded => {
                tracing::info!(%template, epoch = %gate.epoch, "the gate is folded: its sale is over");
                Ok(true)
            }
            Sealed::Open(opening) => {
                metrics::counter!("goodpon_gate_seals_total").increment(1);
                self.install_if(template, Some(opening), server).await
            }
        }
    }

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

    /// Brings an epoch's places to the server (O4, O5). Only who saw the opening committed may, and once.
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
            Installation::Done => {
                metrics::counter!("goodpon_gate_openings_total").increment(1);
                tracing::info!(%template, %epoch, places, issued, server = server.server(), "the gate is open");
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
        server: &dyn GateServer,
    ) -> StoreResult<Result<usize, Installation>> {
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
        while refused == Installation::Done {
            let page = self.records.holders(template, &after, PAGE).await?;
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

    /// Tells others each second that somebody is at it.
    async fn touch(
        &self,
        template: TemplateId,
        epoch: Epoch,
        touched: &mut Instant,
    ) -> StoreResult<()> {
        if touched.elapsed() >= TOUCH_EVERY {
            self.records.touch_gate(template, epoch).await?;
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
        self.openings.running().remove(&self.template);
    }
}
