//! A cache of templates and their gates, read from the database and used for at most two seconds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use goodpon_application::ports::{IssueStanding, StoreError, StoreResult};
use goodpon_domain::{
    gate::{Gate, GateRead, MAX_GATE_READ_AGE},
    id::TemplateId,
    template::Template,
};
use jiff::Timestamp;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::shared::SharedReading;
use crate::ports::GateRecords;

/// The largest number of templates in the cache.
const MAX_TEMPLATES: usize = 10_000;

/// The age from which an entry that is used is read again in the background.
const REFRESH_AGE: Duration = Duration::from_secs(1);

/// A template and its gate, read at one moment.
#[derive(Debug)]
pub(crate) struct TemplateAndGate {
    pub(crate) template: Arc<Template>,
    /// The gate; `None` if it was never opened.
    pub(crate) gate: Option<Gate>,
    /// The database's time at that moment.
    pub(crate) read_at: Timestamp,
}

/// The result of reading a template and its gate.
#[derive(Debug)]
pub(crate) struct Seen {
    /// `None` if there is no such template.
    pub(crate) read: Option<TemplateAndGate>,
    /// The moment before the read, by this process's monotonic clock: the age counts from it.
    pub(crate) asked: Instant,
}

impl Seen {
    fn is_fresh(&self) -> bool {
        MAX_GATE_READ_AGE.unsigned_abs() > self.asked.elapsed()
    }
}

/// The cache. It does not keep templates that do not exist.
pub(crate) struct GateCache {
    records: Arc<dyn GateRecords>,
    entries: Cache<TemplateId, Arc<CachedTemplate>>,
}

/// The cache's entry of a template.
#[derive(Default)]
struct CachedTemplate {
    state: Mutex<State>,
    readings: Arc<SharedReading<StoreResult<Arc<Seen>>>>,
    /// The numbers of an open gate.
    standings: Arc<SharedReading<Option<IssueStanding>>>,
}

#[derive(Default)]
struct State {
    latest: Option<Arc<Seen>>,
    /// The number of times that the entry was forgotten: the result of a read that began before the last time is not kept.
    forgotten: u64,
}

impl CachedTemplate {
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
            entries: Cache::new(MAX_TEMPLATES),
        }
    }

    fn entry(&self, template: TemplateId) -> Arc<CachedTemplate> {
        let entry = self.entries.get_or_insert_with(&template, || {
            Ok::<_, std::convert::Infallible>(Arc::default())
        });
        match entry {
            Ok(entry) => entry,
            Err(never) => match never {},
        }
    }

    /// Returns a template and its gate, at most two seconds old.
    pub(crate) async fn seen(self: &Arc<Self>, template: TemplateId) -> StoreResult<Arc<Seen>> {
        let entry = self.entry(template);
        let latest = entry.lock().latest.clone();
        match latest.filter(|seen| seen.is_fresh()) {
            Some(seen) => {
                if seen.asked.elapsed() >= REFRESH_AGE {
                    // In the background, so that no request has to wait for it.
                    let readings = Arc::clone(&entry.readings);
                    readings.refresh(self.reading(template, entry));
                }
                Ok(seen)
            }
            None => self.read_by(template, entry).await,
        }
    }

    /// Returns a template and its gate as they are now: read after this was called. One read serves all callers that wait
    /// for it, so a template that many look at costs one statement at a time and not one for each caller.
    pub(crate) async fn read(self: &Arc<Self>, template: TemplateId) -> StoreResult<Arc<Seen>> {
        self.read_by(template, self.entry(template)).await
    }

    async fn read_by(
        self: &Arc<Self>,
        template: TemplateId,
        entry: Arc<CachedTemplate>,
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

    /// Returns the function that reads a template and its gate.
    fn reading(
        self: &Arc<Self>,
        template: TemplateId,
        entry: Arc<CachedTemplate>,
    ) -> impl Fn() -> BoxFuture<'static, StoreResult<Arc<Seen>>> + Clone + Send + 'static {
        let gates = Arc::clone(self);
        move || {
            let (gates, entry) = (Arc::clone(&gates), Arc::clone(&entry));
            Box::pin(async move { gates.read_into(template, &entry).await })
        }
    }

    /// Reads a template and its gate, and keeps the result unless the entry was forgotten meanwhile.
    async fn read_into(
        &self,
        template: TemplateId,
        entry: &CachedTemplate,
    ) -> StoreResult<Arc<Seen>> {
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

    /// Returns the numbers of a template's gate, for no user in particular, as `look` finds them after this was called. One
    /// look serves all callers that wait for it.
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

    /// Forgets a template, because it or its gate has changed.
    pub(crate) fn forget(&self, template: TemplateId) {
        if let Some(entry) = self.entries.get(&template) {
            entry.forget();
        }
    }

    /// Forgets all templates, because messages about changes may have been missed.
    pub(crate) fn forget_all(&self) {
        for (_, entry) in self.entries.iter() {
            entry.forget();
        }
    }
}

impl Seen {
    fn new(read: Option<GateRead>, asked: Instant) -> Self {
        let read = read.map(|read| TemplateAndGate {
            template: Arc::new(read.template),
            gate: read.gate,
            read_at: read.read_at,
        });
        Self { read, asked }
    }
}
