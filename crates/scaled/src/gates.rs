//! What this process believes of templates and their gates: read from the database, used for two seconds at most.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use goodpon_application::ports::{StoreError, StoreResult};
use goodpon_domain::{
    gate::{Gate, READ_BELIEVED},
    id::TemplateId,
    template::Template,
};
use goodpon_mysql::{GateRead, Store};
use jiff::Timestamp;
use quick_cache::sync::Cache;
use tokio::sync::oneshot;

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
pub(crate) struct Gates {
    store: Store,
    entries: Cache<TemplateId, Arc<Entry>>,
}

/// A template's place.
#[derive(Default)]
struct Entry(Mutex<State>);

#[derive(Default)]
struct State {
    latest: Option<Arc<Seen>>,
    /// Counts what makes older reads worthless: one that began before it must not be remembered.
    forgotten: u64,
    /// Whether a task reads, and goes on as long as somebody waits.
    is_reading: bool,
    /// Who wants what a reading finds that begins from now on.
    waiting: Vec<oneshot::Sender<StoreResult<Arc<Seen>>>>,
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        let mut state = self.lock();
        state.forgotten += 1;
        state.latest = None;
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

    /// What is known of a template and its gate, at most two seconds old.
    pub(crate) async fn seen(self: &Arc<Self>, template: TemplateId) -> StoreResult<Arc<Seen>> {
        let entry = self.entry(template);
        let latest = entry.lock().latest.clone();
        match latest.filter(|seen| seen.is_fresh()) {
            Some(seen) => {
                if seen.asked.elapsed() >= REFRESHED_AFTER {
                    // In the background, so that nobody who comes has to wait for it.
                    drop(self.ask(template, entry));
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
        let told = self.ask(template, entry).await;
        told.unwrap_or_else(|_| {
            Err(StoreError::Unavailable {
                reason: "the reading of a template was broken off".into(),
                may_have_happened: false,
            })
        })
    }

    /// Asks for the next reading, and sees to it that there is one.
    fn ask(
        self: &Arc<Self>,
        template: TemplateId,
        entry: Arc<Entry>,
    ) -> oneshot::Receiver<StoreResult<Arc<Seen>>> {
        let (tell, told) = oneshot::channel();
        let is_reading = {
            let mut state = entry.lock();
            state.waiting.push(tell);
            std::mem::replace(&mut state.is_reading, true)
        };
        if !is_reading {
            let gates = Arc::clone(self);
            tokio::spawn(async move {
                let reading = Reading {
                    entry: &entry,
                    is_over: false,
                };
                reading.go_on(&gates, template).await;
            });
        }
        told
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

/// The one who reads for an entry. Dropped in the middle, it leaves nobody waiting and the place free for another.
struct Reading<'a> {
    entry: &'a Entry,
    is_over: bool,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.entry.lock();
            state.is_reading = false;
            state.waiting.clear();
        }
    }
}

impl Reading<'_> {
    /// Reads until nobody waits any more.
    async fn go_on(mut self, gates: &Gates, template: TemplateId) {
        loop {
            let (waiting, before) = {
                let mut state = self.entry.lock();
                if state.waiting.is_empty() {
                    // Under the same lock, so that a request that comes now starts the next.
                    state.is_reading = false;
                    self.is_over = true;
                    return;
                }
                (std::mem::take(&mut state.waiting), state.forgotten)
            };
            let asked = Instant::now();
            let read = gates.store.read_gate(template).await;
            let seen = read.map(|read| Arc::new(Seen::new(read, asked)));
            match &seen {
                Ok(seen) if seen.read.is_none() => {
                    gates.entries.remove(&template);
                }
                Ok(seen) => {
                    let mut state = self.entry.lock();
                    if state.forgotten == before {
                        state.latest = Some(Arc::clone(seen));
                    }
                }
                Err(error) => tracing::debug!(%template, %error, "a gate cannot be read"),
            }
            for tell in waiting {
                // Who has stopped waiting needs no answer.
                let _ = tell.send(seen.clone());
            }
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
