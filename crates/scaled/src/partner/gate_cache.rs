//! What this process believes of templates and their gates: read from the database, used for two seconds at most.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use goodpon_application::ports::{IssueStanding, StoreError, StoreResult};
use goodpon_domain::{
    gate::{Gate, GateRead, READ_BELIEVED},
    id::TemplateId,
    template::Template,
};
use jiff::Timestamp;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::shared::SharedReading;
use crate::ports::GateRecords;

/// Templates that are remembered at a time.
const REMEMBERED: usize = 10_000;

/// From this age on what is used is read anew beside.
const REFRESHED_AFTER: Duration = Duration::from_secs(1);

/// A template and its gate, as they were at one moment.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) template: Arc<Template>,
    /// `None`: it was never opened.
    pub(crate) gate: Option<Gate>,
    /// The database's time at that moment.
    pub(crate) read_at: Timestamp,
}

/// What was read of a template and its gate.
#[derive(Debug)]
pub(crate) struct Seen {
    /// `None`: there is no such template.
    pub(crate) read: Option<Read>,
    /// When it was asked for, by this process's own clock: its age counts from before it was read.
    pub(crate) asked: Instant,
}

impl Seen {
    fn is_fresh(&self) -> bool {
        READ_BELIEVED.unsigned_abs() > self.asked.elapsed()
    }
}

/// What this process has seen of gates. Templates that do not exist are not remembered.
pub(crate) struct GateCache {
    records: Arc<dyn GateRecords>,
    entries: Cache<TemplateId, Arc<Entry>>,
}

/// A template's place.
#[derive(Default)]
struct Entry {
    state: Mutex<State>,
    readings: Arc<SharedReading<StoreResult<Arc<Seen>>>>,
    /// How the gate stands, as far as it is open.
    standings: Arc<SharedReading<Option<IssueStanding>>>,
}

#[derive(Default)]
struct State {
    latest: Option<Arc<Seen>>,
    /// Counts what makes older reads worthless: one that began before it must not be remembered.
    forgotten: u64,
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        let mut state = self.lock();
        state.forgotten += 1;
        state.latest = None;
    }
}

impl GateCache {
    pub(crate) fn new(records: Arc<dyn GateRecords>) -> Self {
        Self {
            records,
            entries: Cache::new(REMEMBERED),
        }
    }

    fn entry(&self, template: TemplateId) -> Arc<Entry> {
        let entry = self.entries.get_or_insert_with(&template, || {
            Ok::<_, std::convert::Infallible>(Arc::default())
        });
        match entry {
            Ok(entry) => entry,
            Err(never) => match never {},
        }
    }

    /// What is known of a template and its gate, at most two seconds old.
    pub(crate) async fn seen(self: &Arc<Self>, template: TemplateId) -> StoreResult<Arc<Seen>> {
        let entry = self.entry(template);
        let latest = entry.lock().latest.clone();
        match latest.filter(|seen| seen.is_fresh()) {
            Some(seen) => {
                if seen.asked.elapsed() >= REFRESHED_AFTER {
                    // In the background, so that nobody who comes has to wait for it.
                    let readings = Arc::clone(&entry.readings);
                    readings.refresh(self.reading(template, entry));
                }
                Ok(seen)
            }
            None => self.read_by(template, entry).await,
        }
    }

    /// A template and its gate as they are now: read after this was called. One reading serves all who ask at a time,
    /// so that a template that everybody looks at costs one statement after the other and not one for each.
    pub(crate) async fn read(self: &Arc<Self>, template: TemplateId) -> StoreResult<Arc<Seen>> {
        self.read_by(template, self.entry(template)).await
    }

    async fn read_by(
        self: &Arc<Self>,
        template: TemplateId,
        entry: Arc<Entry>,
    ) -> StoreResult<Arc<Seen>> {
        let readings = Arc::clone(&entry.readings);
        let read = readings.ask(self.reading(template, entry)).await;
        read.unwrap_or_else(|| {
            Err(StoreError::Unavailable {
                reason: "the reading of a template was broken off".into(),
                may_have_happened: false,
            })
        })
    }

    /// How a template and its gate are read.
    fn reading(
        self: &Arc<Self>,
        template: TemplateId,
        entry: Arc<Entry>,
    ) -> impl Fn() -> BoxFuture<'static, StoreResult<Arc<Seen>>> + Clone + Send + 'static {
        let gates = Arc::clone(self);
        move || {
            let (gates, entry) = (Arc::clone(&gates), Arc::clone(&entry));
            Box::pin(async move { gates.read_into(template, &entry).await })
        }
    }

    async fn read_into(&self, template: TemplateId, entry: &Entry) -> StoreResult<Arc<Seen>> {
        let before = entry.lock().forgotten;
        let asked = Instant::now();
        let read = self
            .records
            .read_gate(template)
            .await
            .inspect_err(|error| tracing::debug!(%template, %error, "a gate cannot be read"))?;
        let seen = Arc::new(Seen::new(read, asked));
        if seen.read.is_none() {
            self.entries.remove(&template);
        } else {
            let mut state = entry.lock();
            if state.forgotten == before {
                state.latest = Some(Arc::clone(&seen));
            }
        }
        Ok(seen)
    }

    /// How the gate of a template stands for nobody in particular, as `look` finds it after this was called. One look
    /// serves all who ask at a time.
    pub(crate) async fn standing<F>(
        &self,
        template: TemplateId,
        look: impl Fn() -> F + Clone + Send + 'static,
    ) -> Option<IssueStanding>
    where
        F: Future<Output = Option<IssueStanding>> + Send + 'static,
    {
        let standings = Arc::clone(&self.entry(template).standings);
        standings.ask(look).await.flatten()
    }

    /// Forgets a template, for it or its gate has changed.
    pub(crate) fn forget(&self, template: TemplateId) {
        if let Some(entry) = self.entries.get(&template) {
            entry.forget();
        }
    }

    /// Forgets all: something may have changed unheard.
    pub(crate) fn forget_all(&self) {
        for (_, entry) in self.entries.iter() {
            entry.forget();
        }
    }
}

impl Seen {
    fn new(read: Option<GateRead>, asked: Instant) -> Self {
        let read = read.map(|read| Read {
            template: Arc::new(read.template),
            gate: read.gate,
            read_at: read.read_at,
        });
        Self { read, asked }
    }
}
