//! What this process believes of templates and their gates: read from the database, used for two seconds at most.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use goodpon_application::ports::StoreResult;
use goodpon_domain::{gate::READ_BELIEVED, id::TemplateId};
use goodpon_mysql::{GateRead, Store};
use quick_cache::sync::Cache;

/// Templates that are remembered at a time.
const REMEMBERED: usize = 10_000;

/// From this age on what is used is read anew beside.
const REFRESHED_AFTER: Duration = Duration::from_secs(1);

/// What was read of a template and its gate.
#[derive(Debug)]
pub(crate) struct Seen {
    /// `None`: there is no such template.
    pub(crate) read: Option<GateRead>,
    /// When it was asked for, by this process's own clock: its age counts from before it was read.
    pub(crate) asked: Instant,
}

impl Seen {
    fn is_fresh(&self) -> bool {
        READ_BELIEVED.unsigned_abs() > self.asked.elapsed()
    }
}

/// What this process has seen of gates.
pub(crate) struct Gates {
    store: Store,
    entries: Cache<TemplateId, Arc<Entry>>,
}

#[derive(Default)]
struct Entry {
    latest: Mutex<Option<Arc<Seen>>>,
    /// Counts what makes older reads worthless: one that began before it must not be remembered.
    forgotten: AtomicU64,
    is_refreshing: AtomicBool,
    reading: tokio::sync::Mutex<()>,
}

impl Entry {
    fn fresh(&self) -> Option<Arc<Seen>> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.as_ref().filter(|seen| seen.is_fresh()).cloned()
    }

    fn forget(&self) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        *latest = None;
    }

    async fn read(&self, store: &Store, template: TemplateId) -> StoreResult<Arc<Seen>> {
        let (asked, before) = (Instant::now(), self.forgotten.load(Ordering::SeqCst));
        let read = store.read_gate(template).await?;
        let seen = Arc::new(Seen { read, asked });
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if self.forgotten.load(Ordering::SeqCst) == before {
            *latest = Some(Arc::clone(&seen));
        }
        Ok(seen)
    }
}

impl Gates {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
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

    /// What is known of a template and its gate, at most two seconds old. One reading serves all who ask at a time.
    pub(crate) async fn seen(self: &Arc<Self>, template: TemplateId) -> StoreResult<Arc<Seen>> {
        let entry = self.entry(template);
        if let Some(seen) = entry.fresh() {
            if seen.asked.elapsed() >= REFRESHED_AFTER {
                self.refresh(template, &entry);
            }
            return Ok(seen);
        }
        let _alone = entry.reading.lock().await;
        match entry.fresh() {
            Some(seen) => Ok(seen),
            None => entry.read(&self.store, template).await,
        }
    }

    /// Reads in the background, so that nobody who comes has to wait for it.
    fn refresh(self: &Arc<Self>, template: TemplateId, entry: &Arc<Entry>) {
        if entry.is_refreshing.swap(true, Ordering::SeqCst) {
            return;
        }
        let (gates, entry) = (Arc::clone(self), Arc::clone(entry));
        tokio::spawn(async move {
            if let Err(error) = entry.read(&gates.store, template).await {
                tracing::debug!(%template, %error, "a gate cannot be read");
            }
            entry.is_refreshing.store(false, Ordering::SeqCst);
        });
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

    /// The templates that were asked about lately.
    pub(crate) fn remembered(&self) -> Vec<TemplateId> {
        self.entries.iter().map(|(template, _)| template).collect()
    }
}
