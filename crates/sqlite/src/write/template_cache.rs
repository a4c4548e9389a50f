//! Templates as last committed, in memory.
//!
//! The writer is the only one who changes templates and publishes every change here after its commit and before
//! it is answered, so what stands here is never older than what anybody was told.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use goodpon_domain::{id::TemplateId, template::Template};

/// Beyond so many the cache starts afresh.
const CAPACITY: usize = 5_000;

#[derive(Default)]
pub(crate) struct TemplateCache(RwLock<Inner>);

#[derive(Default)]
struct Inner {
    generation: u64,
    templates: HashMap<TemplateId, Arc<Template>>,
}

impl TemplateCache {
    pub(crate) fn get(&self, id: TemplateId) -> Option<Arc<Template>> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.templates.get(&id).cloned()
    }

    /// To be asked before a read whose result is offered by [`Self::offer`].
    pub(crate) fn generation(&self) -> u64 {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.generation
    }

    /// Keeps what a reader found, unless something was published since: then it may be old.
    /// (A commit that is not yet published is no danger: its publication follows and overwrites.)
    pub(crate) fn offer(&self, generation: u64, template: &Arc<Template>) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if inner.generation == generation {
            inner.insert(Arc::clone(template));
        }
    }

    /// The writer's: these were committed.
    pub(crate) fn publish(&self, templates: impl Iterator<Item = Arc<Template>>) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.generation += 1;
        for template in templates {
            inner.insert(template);
        }
    }
}

impl Inner {
    fn insert(&mut self, template: Arc<Template>) {
        if self.templates.len() >= CAPACITY && !self.templates.contains_key(&template.id) {
            self.templates.clear();
        }
        self.templates.insert(template.id, template);
    }
}
