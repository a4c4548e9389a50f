//! The turns of tenants at wide reads: those of long lists, history pages and users with many coupons.
//!
//! Only a few wide reads run at a time, so that the rest of the process keeps its cores and connections. Tenants take
//! turns, so that one with many requests does not delay the others. The queues are short, so that no request waits long.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use goodpon_domain::id::{AccountId, MerchantId};
use tokio::sync::oneshot;

use crate::ports::{StoreError, StoreResult};

/// The most reads of all tenants that wait for each slot: at some 10 ms a read, the last waits three seconds.
const MAX_WAITING_PER_SLOT: usize = 256;
/// The most reads of one tenant that wait: room for a console page and a nightly job together, a quarter of what one slot
/// allows to all tenants.
const MAX_WAITING_PER_TENANT: usize = 64;
/// The most items of an answer that is written on the caller's thread; more are written on a blocking thread.
const MAX_ITEMS_ON_CALLERS_THREAD: usize = 100;

/// The tenant to whom a wide read is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tenant {
    /// A merchant, for requests of its members and its shop.
    Merchant(MerchantId),
    /// An account, for requests about its own data.
    Account(AccountId),
}

/// Gives tenants their turns at wide reads. Clones share the slots.
#[derive(Clone)]
pub struct Turns(Arc<Inner>);

struct Inner {
    slots: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    running_of: HashMap<Tenant, usize>,
    /// The tenants that have waiting reads, each once, in the order of their next turns.
    order: VecDeque<Tenant>,
    waiting_of: HashMap<Tenant, VecDeque<oneshot::Sender<Turn>>>,
    waiting: usize,
}

/// A slot for one wide read. Dropping it gives the slot to the next tenant.
pub struct Turn {
    turns: Arc<Inner>,
    tenant: Tenant,
}

impl Turns {
    /// Makes one slot for every two cores, at least one.
    pub fn on(cores: usize) -> Self {
        Self(Arc::new(Inner {
            slots: (cores / 2).max(1),
            state: Mutex::default(),
        }))
    }

    /// Waits for the tenant's turn. A request that is dropped before its turn, because its client left, takes no slot.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the tenant, or all tenants together, have the most waiting reads allowed.
    pub async fn take(&self, tenant: Tenant) -> StoreResult<Turn> {
        let turn = match self.0.ask(tenant)? {
            Asked::Granted(turn) => return Ok(turn),
            Asked::Queued(turn) => turn,
        };
        turn.await
            .map_err(|_| StoreError::Unexpected("a place for a read was lost".into()))
    }
}

enum Asked {
    Granted(Turn),
    Queued(oneshot::Receiver<Turn>),
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the most slots that one tenant has at a time: half of them, so that others find a free one.
    fn max_slots_per_tenant(&self) -> usize {
        self.slots.div_ceil(2)
    }

    fn ask(self: &Arc<Self>, tenant: Tenant) -> StoreResult<Asked> {
        let mut state = self.state();
        let is_free =
            state.running < self.slots && state.running_of(tenant) < self.max_slots_per_tenant();
        if is_free && !state.waiting_of.contains_key(&tenant) {
            return Ok(Asked::Granted(self.start(&mut state, tenant)));
        }
        let of_tenant = state.waiting_of.get(&tenant).map_or(0, VecDeque::len);
        if state.waiting >= MAX_WAITING_PER_SLOT * self.slots || of_tenant >= MAX_WAITING_PER_TENANT
        {
            return Err(StoreError::Unavailable {
                reason: "too many wide reads are waiting".into(),
                may_have_happened: false,
            });
        }
        let (grant, granted) = oneshot::channel();
        if of_tenant == 0 {
            state.order.push_back(tenant);
        }
        state.waiting += 1;
        state.waiting_of.entry(tenant).or_default().push_back(grant);
        Ok(Asked::Queued(granted))
    }

    fn start(self: &Arc<Self>, state: &mut State, tenant: Tenant) -> Turn {
        state.running += 1;
        *state.running_of.entry(tenant).or_default() += 1;
        Turn {
            turns: Arc::clone(self),
            tenant,
        }
    }

    /// Gives free slots to waiting reads in turn. A request that was dropped meanwhile is skipped.
    fn grant_free_slots(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            if state.running >= self.slots {
                return;
            }
            let max_slots = self.max_slots_per_tenant();
            let may_run = |tenant: &Tenant| state.running_of(*tenant) < max_slots;
            let Some(index) = state.order.iter().position(may_run) else {
                return;
            };
            let Some((tenant, grant)) = state.pop(index) else {
                return;
            };
            if grant.is_closed() {
                continue;
            }
            let turn = self.start(&mut state, tenant);
            drop(state);
            // If the request was dropped just now, `send` returns the turn, and dropping it here frees the slot.
            drop(grant.send(turn));
        }
    }
}

impl State {
    fn running_of(&self, tenant: Tenant) -> usize {
        self.running_of.get(&tenant).copied().unwrap_or(0)
    }

    /// Takes the first waiting read of the tenant at that index of the order. If the tenant has more, it moves to the end
    /// of the order.
    fn pop(&mut self, index: usize) -> Option<(Tenant, oneshot::Sender<Turn>)> {
        let tenant = self.order.remove(index)?;
        let waiting = self.waiting_of.get_mut(&tenant)?;
        let grant = waiting.pop_front()?;
        match waiting.is_empty() {
            true => drop(self.waiting_of.remove(&tenant)),
            false => self.order.push_back(tenant),
        }
        self.waiting -= 1;
        Some((tenant, grant))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        state.running -= 1;
        if let Some(running) = state.running_of.get_mut(&self.tenant) {
            *running -= 1;
            if *running == 0 {
                state.running_of.remove(&self.tenant);
            }
        }
        drop(state);
        self.turns.grant_free_slots();
    }
}

/// The items of a read that may be wide, with the turn in which they were read, if it took one. The turn ends once the
/// answer is written.
pub struct WideRead<T> {
    items: Vec<T>,
    turn: Option<Turn>,
}

impl<T: Send + 'static> WideRead<T> {
    /// Holds items that were few enough to be read without a turn.
    pub fn without_turn(items: Vec<T>) -> Self {
        Self { items, turn: None }
    }

    /// Holds items that were read in `turn`.
    pub fn in_turn(items: Vec<T>, turn: Turn) -> Self {
        Self {
            items,
            turn: Some(turn),
        }
    }

    /// Converts the list of items, within the same turn.
    pub fn map<U>(self, change: impl FnOnce(Vec<T>) -> Vec<U>) -> WideRead<U> {
        WideRead {
            items: change(self.items),
            turn: self.turn,
        }
    }

    /// Returns the items and ends the turn.
    pub fn into_items(self) -> Vec<T> {
        self.items
    }

    /// Writes the answer: on the caller's thread if the items are few, otherwise on a blocking thread.
    ///
    /// # Errors
    /// `write` panicked on the blocking thread.
    pub async fn render<R: Send + 'static>(
        self,
        write: impl FnOnce(Vec<T>) -> R + Send + 'static,
    ) -> StoreResult<R> {
        let Self { items, turn } = self;
        if items.len() <= MAX_ITEMS_ON_CALLERS_THREAD {
            return Ok(write(items));
        }
        tokio::task::spawn_blocking(move || {
            let _until_it_is_written = turn;
            write(items)
        })
        .await
        .map_err(|error| StoreError::Unexpected(error.to_string()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::BoxFuture;

    const ONE: Tenant = Tenant::Merchant(MerchantId(1));
    const OTHER: Tenant = Tenant::Merchant(MerchantId(2));

    fn ask(turns: &Turns, tenant: Tenant) -> BoxFuture<'static, StoreResult<Turn>> {
        let turns = turns.clone();
        let mut asked = async move { turns.take(tenant).await }.boxed();
        match (&mut asked).now_or_never() {
            Some(done) => futures::future::ready(done).boxed(),
            None => asked,
        }
    }

    #[test]
    fn tenants_take_turns_however_many_requests_one_has() {
        let turns = Turns::on(2);
        let first = ask(&turns, ONE).now_or_never().unwrap().unwrap();
        let mut of_one: Vec<_> = (0..MAX_WAITING_PER_TENANT)
            .map(|_| ask(&turns, ONE))
            .collect();
        let refused = ask(&turns, ONE).now_or_never().unwrap().err().unwrap();
        assert!(matches!(refused, StoreError::Unavailable { .. }));
        let mut of_other = ask(&turns, OTHER);
        assert!((&mut of_other).now_or_never().is_none(), "one slot");
        drop(first);
        let second = (&mut of_one[0]).now_or_never().unwrap().unwrap();
        assert!((&mut of_other).now_or_never().is_none());
        drop(second);
        assert!((&mut of_one[1]).now_or_never().is_none(), "not again");
        let third = of_other.now_or_never().unwrap().unwrap();
        drop(third);
        assert!((&mut of_one[1]).now_or_never().unwrap().is_ok());
    }

    #[test]
    fn a_dropped_request_takes_no_slot() {
        let turns = Turns::on(2);
        let first = ask(&turns, ONE).now_or_never().unwrap().unwrap();
        let (dropped, mut stays) = (ask(&turns, ONE), ask(&turns, OTHER));
        drop(dropped);
        drop(first);
        assert!((&mut stays).now_or_never().unwrap().is_ok());
        assert_eq!(turns.0.state().running, 0);
        assert!(turns.0.state().waiting_of.is_empty() && turns.0.state().order.is_empty());
        assert!(ask(&turns, ONE).now_or_never().unwrap().is_ok());
    }

    #[test]
    fn one_tenant_leaves_half_of_the_slots() {
        let turns = Turns::on(8);
        let _held: Vec<_> = (0..2)
            .map(|_| ask(&turns, ONE).now_or_never().unwrap().unwrap())
            .collect();
        assert!(ask(&turns, ONE).now_or_never().is_none());
        assert!(ask(&turns, OTHER).now_or_never().unwrap().is_ok());
    }
}
