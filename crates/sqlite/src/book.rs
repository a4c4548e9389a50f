//! The templates that the writer's running group works on.

use std::collections::HashMap;
use std::sync::Arc;

use goodpon_domain::{id::TemplateId, template::Template};
use rusqlite::Connection;

use crate::{template_cache::TemplateCache, template_row};

/// Templates that the running group has looked at. Their counters are written once a group rather than once a
/// request; whatever else of a template changes is written by the request that changes it.
#[derive(Default)]
pub(crate) struct Book(HashMap<TemplateId, Page>);

struct Page {
    template: Template,
    committed: Arc<Template>,
}

impl Book {
    pub(crate) fn open(
        &mut self,
        id: TemplateId,
        connection: &Connection,
        cache: &TemplateCache,
    ) -> rusqlite::Result<Option<&mut Template>> {
        use std::collections::hash_map::Entry;
        match self.0.entry(id) {
            Entry::Occupied(page) => Ok(Some(&mut page.into_mut().template)),
            Entry::Vacant(place) => {
                let committed = match cache.get(id) {
                    Some(template) => template,
                    None => match template_row::load(connection, id)? {
                        Some(template) => Arc::new(template),
                        None => return Ok(None),
                    },
                };
                let page = place.insert(Page {
                    template: Template::clone(&committed),
                    committed,
                });
                Ok(Some(&mut page.template))
            }
        }
    }

    pub(crate) fn flush(&self, connection: &Connection) -> rusqlite::Result<()> {
        for page in self.0.values() {
            let (new, old) = (&page.template, &page.committed);
            if (new.issue_count, new.redeem_count) != (old.issue_count, old.redeem_count) {
                template_row::write_counts(connection, new)?;
            }
        }
        Ok(())
    }

    pub(crate) fn publish(&mut self, cache: &TemplateCache) {
        if self.0.is_empty() {
            return;
        }
        let pages = self.0.drain().map(|(_, page)| page);
        cache.publish(pages.map(|page| {
            if page.template == *page.committed {
                page.committed
            } else {
                Arc::new(page.template)
            }
        }));
    }

    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}
