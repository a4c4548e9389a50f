//! A request's view of the transaction that it is in.

use std::cell::Cell;
use std::sync::Arc;

use goodpon_application::ports::Random;
use goodpon_domain::{
    business_time::BusinessZone,
    id::{CouponId, HistoryId, TemplateId},
    template::Template,
};
use goodpon_trace::TraceContext;
use jiff::Timestamp;
use rusqlite::Connection;

use super::{group_memory::GroupMemory, published::Published};
use crate::late::holder_filter::HolderFilter;

/// The surroundings of requests beside the database.
pub(crate) struct Tools {
    pub(crate) random: Arc<dyn Random>,
    pub(crate) zone: BusinessZone,
    pub(crate) published: Arc<Published>,
}

/// The last id that was given out, and its instant.
pub(crate) type LastId = Cell<Option<(Timestamp, HistoryId)>>;

pub(crate) struct Tx<'a> {
    /// The connection, within the transaction.
    pub(crate) connection: &'a Connection,
    /// When the request happens: the same instant for all that it records.
    pub(crate) now: Timestamp,
    /// The trace of the request that it runs for. `None` if that is not sampled.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) memory: &'a mut GroupMemory,
    pub(super) tools: &'a Tools,
    pub(super) last_id: &'a LastId,
}

impl Tx<'_> {
    /// The zone in which days are counted.
    pub(crate) fn zone(&self) -> &BusinessZone {
        &self.tools.zone
    }

    /// The filter of holders.
    pub(crate) fn filter(&self) -> &HolderFilter {
        &self.tools.published.filter
    }

    /// A fresh id for a coupon of this instant.
    pub(crate) fn coupon_id(&self) -> CouponId {
        CouponId::from_bytes(self.history_id().to_bytes())
    }

    /// A fresh id for an entry of this instant, behind all earlier ones of the same instant.
    pub(crate) fn history_id(&self) -> HistoryId {
        let mut bytes = [0; 8];
        self.tools.random.fill(&mut bytes);
        let fresh = HistoryId::new(self.now, u64::from_ne_bytes(bytes));
        let id = match self.last_id.get() {
            Some((at, last)) if at == self.now => fresh.max(last.next()),
            _ => fresh,
        };
        self.last_id.set(Some((self.now, id)));
        id
    }

    /// The template as this transaction sees it.
    pub(crate) fn template(&mut self, id: TemplateId) -> rusqlite::Result<Option<&mut Template>> {
        let cache = &self.tools.published.templates;
        self.memory.touched.open(id, self.connection, cache)
    }
}
