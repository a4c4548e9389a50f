//! Templates as last committed, in memory.
//!
//! Only the writer changes templates. It publishes each change here after its commit and before its answer, so a template
//! here is never older than one in any answer.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use goodpon_domain::{id::TemplateId, template::Template};

/// Beyond this number of templates the cache starts afresh.
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

    /// The number of publications so far. To be read before a template is read that [`Self::offer`] takes.
    pub(crate) fn generation(&self) -> u64 {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.generation
    }

    /// Keeps a template that a reader found, unless something was published since: then it may be old.
    /// (A commit that is not published yet does no harm: its publication follows and overwrites.)
    pub(crate) fn offer(&self, generation: u64, template: &Arc<Template>) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if inner.generation == generation {
            inner.insert(Arc::clone(template));
        }
    }

    /// Publishes templates that the writer committed.
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
