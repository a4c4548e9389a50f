//! The committed state that stands in memory, for readers; and the order in which the writer publishes to it.

use std::sync::Arc;

use super::{group_memory::GroupMemory, template_cache::TemplateCache};
use crate::late::{
    coupon_state::States, holder::Holders, holder_filter::HolderFilter, key::Keys, waiting::Waiting,
};

/// Committed state in memory. Readers ask it before they ask the database.
pub(crate) struct Published {
    /// Users who may have a coupon: filled before their rows are committed.
    pub(crate) filter: Arc<HolderFilter>,
    /// Records of idempotency keys that are not in their index yet.
    pub(crate) keys: Arc<Waiting<Keys>>,
    /// Holders who are not in their index yet.
    pub(crate) holders: Arc<Waiting<Holders>>,
    /// States that are not in the rows of their coupons yet.
    pub(crate) states: Arc<Waiting<States>>,
    /// Templates with their counters.
    pub(crate) templates: TemplateCache,
}

/// The steps of [`Published::publish_in_order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The answers of keys can be replayed.
    Keys,
    /// Holders are found.
    Holders,
    /// Coupons have their new states.
    States,
    /// Templates have their new counters.
    Templates,
}

impl Published {
    /// The state at the start. The filter has the holders who wait; those in the index are still to be added.
    pub(crate) fn at_start(group: &GroupMemory) -> Self {
        let published = Self {
            filter: Arc::default(),
            keys: group.keys.waiting(),
            holders: group.holders.waiting(),
            states: group.states.waiting(),
            templates: TemplateCache::default(),
        };
        published
            .holders
            .for_each_key(|holder| holder.add_to(&published.filter));
        published
    }

    /// Publishes what a committed group changed, before any request of it is answered.
    ///
    /// Readers look in between, without a lock over the four. They rest on this order:
    ///
    /// 1. Keys come first: a client that sees the effect of its request in any way finds the answer under its key.
    /// 2. Holders come before states: up to the position that [`Waiting::published`] of the states returns, a user's
    ///    coupons are found, so a page of that user's history lacks none of their entries (`history.rs`).
    /// 3. Holders come before templates: a reader that sees a template sold out finds everybody who has its coupons, and
    ///    refuses others without the writer (`issue.rs`).
    /// 4. States come before templates: no reader sees more redemptions counted than coupons redeemed.
    /// 5. The filter comes before the commit, and so before all of these: a user who is not in it has no coupon that
    ///    anything else shows.
    pub(crate) fn publish_in_order(&self, group: &mut GroupMemory, mut after: impl FnMut(Step)) {
        group.keys.publish();
        after(Step::Keys);
        group.holders.publish();
        after(Step::Holders);
        group.states.publish();
        after(Step::States);
        group.touched.publish(&self.templates);
        after(Step::Templates);
    }
}
