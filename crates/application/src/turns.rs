//! Reads that go through much: long lists, history pages, a user's many coupons.
//!
//! Only some of them run at a time, so that the rest of the process keeps its cores and its connections; tenants take
//! turns, so that one with many requests does not keep the others waiting; and few wait, so that nobody waits long.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use goodpon_domain::id::{AccountId, MerchantId};
use tokio::sync::oneshot;

use crate::ports::{StoreError, StoreResult};

/// How many reads wait for each place, of all tenants together: at some 10 ms a read, for three seconds at most.
const WAITING_FOR_A_PLACE: usize = 256;
/// How many of one tenant wait: a console page and a nightly job at once, far from what would fill the places of all.
const WAITING_OF_ONE: usize = 64;
/// An answer with more items than that is written where writing it stops nothing else.
const MANY_ITEMS: usize = 100;

/// For whom something is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tenant {
    /// A merchant, for any of its members and its shop.
    Merchant(MerchantId),
    /// An account, where it asks for what is its own.
    Account(AccountId),
}

/// The places for reads that go through much.
#[derive(Clone)]
pub struct Turns(Arc<Inner>);

struct Inner {
    places: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    running_of: HashMap<Tenant, usize>,
    /// Whose turn is next stands first. Each stands here once, and has somebody who waits.
    order: VecDeque<Tenant>,
    waiting_of: HashMap<Tenant, VecDeque<oneshot::Sender<Turn>>>,
    waiting: usize,
}

/// The right to read much. Dropping it gives the place to the next.
pub struct Turn {
    turns: Arc<Inner>,
    tenant: Tenant,
}

impl Turns {
    /// Lets half of the cores read much at a time, but one at least.
    pub fn on(cores: usize) -> Self {
        Self(Arc::new(Inner {
            places: (cores / 2).max(1),
            state: Mutex::default(),
        }))
    }

    /// Waits for the tenant's turn. Whoever gives up before it comes, as a client does that left, takes no place.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn take(&self, tenant: Tenant) -> StoreResult<Turn> {
        let called = match self.0.ask(tenant)? {
            Asked::Now(turn) => return Ok(turn),
            Asked::Later(called) => called,
        };
        called
            .await
            .map_err(|_| StoreError::Unexpected("a place for a read was lost".into()))
    }
}

enum Asked {
    Now(Turn),
    Later(oneshot::Receiver<Turn>),
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of one tenant run at a time: half of the places, so that there is room for others.
    fn share(&self) -> usize {
        self.places.div_ceil(2)
    }

    fn ask(self: &Arc<Self>, tenant: Tenant) -> StoreResult<Asked> {
        let mut state = self.state();
        let is_free = state.running < self.places && state.running_of(tenant) < self.share();
        if is_free && !state.waiting_of.contains_key(&tenant) {
            return Ok(Asked::Now(self.start(&mut state, tenant)));
        }
        let of_it = state.waiting_of.get(&tenant).map_or(0, VecDeque::len);
        if state.waiting >= WAITING_FOR_A_PLACE * self.places || of_it >= WAITING_OF_ONE {
            return Err(StoreError::Unavailable {
                reason: "too many reads that go through much are waiting".into(),
                may_have_happened: false,
            });
        }
        let (call, called) = oneshot::channel();
        if of_it == 0 {
            state.order.push_back(tenant);
        }
        state.waiting += 1;
        state.waiting_of.entry(tenant).or_default().push_back(call);
        Ok(Asked::Later(called))
    }

    fn start(self: &Arc<Self>, state: &mut State, tenant: Tenant) -> Turn {
        state.running += 1;
        *state.running_of.entry(tenant).or_default() += 1;
        Turn {
            turns: Arc::clone(self),
            tenant,
        }
    }

    /// Calls those whose turn it is, while there are places. Whoever has left gives the place on at once.
    fn call_next(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            if state.running >= self.places {
                return;
            }
            let share = self.share();
            let may_run = |tenant: &Tenant| state.running_of(*tenant) < share;
            let Some(place) = state.order.iter().position(may_run) else {
                return;
            };
            let Some((tenant, call)) = state.pop(place) else {
                return;
            };
            if call.is_closed() {
                continue;
            }
            let turn = self.start(&mut state, tenant);
            drop(state);
            // If it left in this very moment the turn comes back here, and is dropped with the place.
            drop(call.send(turn));
        }
    }
}

impl State {
    fn running_of(&self, tenant: Tenant) -> usize {
        self.running_of.get(&tenant).copied().unwrap_or(0)
    }

    /// Takes the first who waits of the tenant at that place of the order; the others of that tenant go to its end.
    fn pop(&mut self, place: usize) -> Option<(Tenant, oneshot::Sender<Turn>)> {
        let tenant = self.order.remove(place)?;
        let waiting = self.waiting_of.get_mut(&tenant)?;
        let call = waiting.pop_front()?;
        match waiting.is_empty() {
            true => drop(self.waiting_of.remove(&tenant)),
            false => self.order.push_back(tenant),
        }
        self.waiting -= 1;
        Some((tenant, call))
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
        self.turns.call_next();
    }
}

/// Items that were read, with the turn that was taken for them, if any: it ends when their answer is written.
pub struct Wide<T> {
    items: Vec<T>,
    turn: Option<Turn>,
}

impl<T: Send + 'static> Wide<T> {
    /// Items for which no turn was needed.
    pub fn small(items: Vec<T>) -> Self {
        Self { items, turn: None }
    }

    /// Items that were read within a turn.
    pub fn of(items: Vec<T>, turn: Turn) -> Self {
        Self {
            items,
            turn: Some(turn),
        }
    }

    /// The same, changed as a whole.
    pub fn map<U>(self, change: impl FnOnce(Vec<T>) -> Vec<U>) -> Wide<U> {
        Wide {
            items: change(self.items),
            turn: self.turn,
        }
    }

    /// The items alone.
    pub fn into_items(self) -> Vec<T> {
        self.items
    }

    /// Writes the answer: at once if there are few items, else on a thread that may take its time.
    ///
    /// # Errors
    /// Writing it failed.
    pub async fn render<R: Send + 'static>(
        self,
        write: impl FnOnce(Vec<T>) -> R + Send + 'static,
    ) -> StoreResult<R> {
        let Self { items, turn } = self;
        if items.len() <= MANY_ITEMS {
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
        let mut of_one: Vec<_> = (0..WAITING_OF_ONE).map(|_| ask(&turns, ONE)).collect();
        let refused = ask(&turns, ONE).now_or_never().unwrap().err().unwrap();
        assert!(matches!(refused, StoreError::Unavailable { .. }));
        let mut of_other = ask(&turns, OTHER);
        assert!((&mut of_other).now_or_never().is_none(), "one place");
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
    fn whoever_left_takes_no_place() {
        let turns = Turns::on(2);
        let first = ask(&turns, ONE).now_or_never().unwrap().unwrap();
        let (gone, mut stays) = (ask(&turns, ONE), ask(&turns, OTHER));
        drop(gone);
        drop(first);
        assert!((&mut stays).now_or_never().unwrap().is_ok());
        assert_eq!(turns.0.state().running, 0);
        assert!(turns.0.state().waiting_of.is_empty() && turns.0.state().order.is_empty());
        assert!(ask(&turns, ONE).now_or_never().unwrap().is_ok());
    }

    #[test]
    fn one_tenant_leaves_half_of_the_places() {
        let turns = Turns::on(8);
        let _held: Vec<_> = (0..2)
            .map(|_| ask(&turns, ONE).now_or_never().unwrap().unwrap())
            .collect();
        assert!(ask(&turns, ONE).now_or_never().is_none());
        assert!(ask(&turns, OTHER).now_or_never().unwrap().is_ok());
    }
}
