//! All holders of a template in memory, while nothing is issued of it: a sale that is sold out above all.
//!
//! Then most requests are refused, and whether their users have a coupon is told without a look at the database. A set
//! is held against the template's issue count as last committed: if they agree it is complete, for counts only grow.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use goodpon_domain::{id::TemplateId, ledger::HistoryAction, template::Template};
use rusqlite::Connection;

use crate::codec::history_action;

/// A larger set is not worth its memory.
const MOST_HOLDERS: i64 = 524_288;
/// So many templates are known at most, and so many holders of all of them (16 bytes each); then all are forgotten.
const MOST_TEMPLATES: usize = 1_024;
const MOST_IN_ALL: i64 = 1_048_576;
/// A set is read after one look-up for so many of its holders: by then it is worth it.
const HOLDERS_A_LOOK: i64 = 4;

#[derive(Default)]
pub(crate) struct HolderSets {
    /// With keys that nobody knows, for digests of 128 bits: no two users are ever taken for each other.
    hashers: [RandomState; 2],
    sets: RwLock<Sets>,
}

#[derive(Default)]
struct Sets {
    by_template: HashMap<TemplateId, Arc<HolderSet>>,
    /// The issue counts of all.
    in_all: i64,
}

struct HolderSet {
    issue_count: i64,
    /// How many more look-ups make it worth to read the holders.
    looks_left: AtomicI64,
    /// Sorted.
    holders: OnceLock<Box<[u128]>>,
}

impl HolderSets {
    fn digest(&self, user_id: &str) -> u128 {
        let [high, low] = &self.hashers;
        let (high, low) = (high.hash_one((1, user_id)), low.hash_one((2, user_id)));
        u128::from(high) << 64 | u128::from(low)
    }

    fn get(&self, template: &Template) -> Option<Arc<HolderSet>> {
        let sets = self.sets.read().unwrap_or_else(PoisonError::into_inner);
        let set = sets.by_template.get(&template.id)?;
        (set.issue_count == template.issue_count).then(|| Arc::clone(set))
    }

    /// Whether the user has a coupon of the template, if that is known.
    pub(crate) fn has_one(&self, template: &Template, user_id: &str) -> Option<bool> {
        let set = self.get(template)?;
        let holders = set.holders.get()?;
        Some(holders.binary_search(&self.digest(user_id)).is_ok())
    }

    /// Notes a look-up that went to the database. True once, when it is time to [`Self::read`] the holders.
    pub(crate) fn note_look(&self, template: &Template) -> bool {
        if template.issue_count > MOST_HOLDERS {
            return false;
        }
        match self.get(template) {
            Some(set) => set.looks_left.fetch_sub(1, Ordering::Relaxed) == 0,
            None => {
                self.begin(template);
                false
            }
        }
    }

    fn begin(&self, template: &Template) {
        // While a template is issued that is wanted often and in vain: requests are not to wait for each other.
        let Ok(mut sets) = self.sets.try_write() else {
            return;
        };
        let more = template.issue_count;
        if sets.by_template.len() >= MOST_TEMPLATES || sets.in_all + more > MOST_IN_ALL {
            *sets = Sets::default();
        }
        let set = HolderSet {
            issue_count: more,
            looks_left: AtomicI64::new(more / HOLDERS_A_LOOK),
            holders: OnceLock::new(),
        };
        sets.in_all += more;
        if let Some(old) = sets.by_template.insert(template.id, Arc::new(set)) {
            sets.in_all -= old.issue_count;
        }
    }

    /// Reads all holders of the template, unless more were issued meanwhile.
    pub(crate) fn read(
        &self,
        connection: &Connection,
        template: &Template,
    ) -> rusqlite::Result<()> {
        let mut users = connection.prepare_cached(USERS)?;
        let mut rows = users.query([template.id.0, history_action::code(HistoryAction::Issue)])?;
        let mut holders = Vec::new();
        while let Some(row) = rows.next()? {
            holders.push(self.digest(row.get_ref(0)?.as_str()?));
        }
        if let Some(set) = self.get(template)
            && holders.len() as i64 == set.issue_count
        {
            holders.sort_unstable();
            // Whoever was first has read the same.
            let _ = set.holders.set(holders.into_boxed_slice());
        }
        Ok(())
    }
}

/// In the order of the history, which is about that of the coupons.
const USERS: &str =
    "SELECT c.user_id FROM coupon_histories h CROSS JOIN coupons c ON c.id = h.coupon_id
     WHERE h.template_id = ?1 AND h.action = ?2";

#[cfg(test)]
mod tests;
