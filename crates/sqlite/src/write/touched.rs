//! The templates that the running group has looked at.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use goodpon_domain::{id::TemplateId, template::Template};
use rusqlite::Connection;

use super::template_cache::TemplateCache;
use crate::template_row;

/// Templates as the running group has left them so far. Counters are written once per group rather than once per request;
/// any other change of a template is written by the request that makes it.
#[derive(Default)]
pub(crate) struct TouchedTemplates(HashMap<TemplateId, Touched>);

struct Touched {
    template: Template,
    committed: Arc<Template>,
}

impl TouchedTemplates {
    /// The template as the running group has left it so far.
    pub(crate) fn open(
        &mut self,
        id: TemplateId,
        connection: &Connection,
        cache: &TemplateCache,
    ) -> rusqlite::Result<Option<&mut Template>> {
        match self.0.entry(id) {
            Entry::Occupied(touched) => Ok(Some(&mut touched.into_mut().template)),
            Entry::Vacant(untouched) => {
                let committed = match cache.get(id) {
                    Some(template) => template,
                    None => match template_row::load(connection, id)? {
                        Some(template) => Arc::new(template),
                        None => return Ok(None),
                    },
                };
                let touched = untouched.insert(Touched {
                    template: Template::clone(&committed),
                    committed,
                });
                Ok(Some(&mut touched.template))
            }
        }
    }

    /// Writes the counters that have changed.
    pub(crate) fn flush(&self, connection: &Connection) -> rusqlite::Result<()> {
        for touched in self.0.values() {
            let (new, old) = (&touched.template, &touched.committed);
            if (new.issue_count, new.redeem_count) != (old.issue_count, old.redeem_count) {
                template_row::write_counts(connection, new)?;
            }
        }
        Ok(())
    }

    /// Shows the readers the templates of a committed group.
    pub(crate) fn publish(&mut self, cache: &TemplateCache) {
        if self.0.is_empty() {
            return;
        }
        let all = self.0.drain().map(|(_, touched)| touched);
        cache.publish(all.map(|touched| {
            if touched.template == *touched.committed {
                touched.committed
            } else {
                Arc::new(touched.template)
            }
        }));
    }

    /// Forgets the group's changes: it is rolled back.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}
