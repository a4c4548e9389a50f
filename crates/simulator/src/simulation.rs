//! The product's processes over the world: partners with their loops, and issuers. Time moves only by the action
//! [`Action::Pass`], and after each action all tasks run until each of them waits.

mod action;
mod issuer;
mod settle;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use goodpon_application::{
    idempotency::{Answer as Written, Idempotency, Outcome},
    ports::{IssueGate as _, IssueRequest, StoreResult},
};
use goodpon_domain::coupon::{IssueOutcome, IssueRefusal};
use goodpon_scaled::{Outside, Partner, Unreadable};
use tokio::task::AbortHandle;

pub use self::action::{Action, Kind};
use self::issuer::Issuer;
use crate::{
    guard::Guard,
    ports::{ProcessClock, RequestNumber, gates::Servers, issue_log::Log, records::Records},
    size::{Budget, Reached, Size},
    world::{
        ISSUERS, MERCHANT, PARTNERS, Request, Shared, TEMPLATE,
        call::{ACTOR, Actor, Caller},
        keyed,
        truth::{Answer, Broken},
        user_id,
    },
};

/// A world with the product's processes in it. Needs a runtime of one thread whose clock is paused.
pub struct Simulation {
    shared: Shared,
    partners: Vec<Arc<Partner>>,
    issuers: Vec<Issuer>,
    tasks: BTreeMap<Actor, AbortHandle>,
}

/// Notes that a task has ended, however it ends.
struct Running {
    shared: Shared,
    actor: Actor,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.world().running.remove(&self.actor);
    }
}

impl Simulation {
    /// A world where nothing has happened yet, without the guards in `removed`.
    #[must_use]
    pub fn new(removed: &[Guard], size: Size, budget: Budget) -> Self {
        let shared = Shared::new(removed, size, budget);
        let mut new = Self {
            partners: (0..PARTNERS)
                .map(|process| partner(&shared, process))
                .collect(),
            issuers: (0..ISSUERS)
                .map(|issuer| Issuer::new(&shared, issuer))
                .collect(),
            tasks: BTreeMap::new(),
            shared,
        };
        for process in 0..PARTNERS {
            new.start_confirmer(process);
        }
        new
    }

    /// Writes down from now on what happens.
    pub fn keep_story(&self) {
        self.shared.world().keep_story();
    }

    /// Returns what happened, line by line.
    #[must_use]
    pub fn story(&self) -> Vec<String> {
        self.shared.world().story().to_vec()
    }

    /// Returns what was reached before the faults stopped.
    #[must_use]
    pub fn reached(&self) -> Reached {
        self.shared.world().reached
    }

    /// Lets an action happen, and all tasks come to rest.
    ///
    /// # Errors
    /// A promise is broken.
    pub async fn apply(&mut self, action: Action) -> Result<(), Broken> {
        self.shared.world().spend(action);
        match action {
            Action::Begin(user, key, process) => self.begin(user, key, process),
            Action::End(request) => {
                self.abort(Actor::Request(request));
                let mut world = self.shared.world();
                world.note(|| format!("request {request} is given up by its customer"));
            }
            Action::Fetch(issuer, partition, most) => self.poll(issuer, Some((partition, most))),
            Action::Poll(issuer) => self.poll(issuer, None),
            Action::CrashIssuer(issuer) => self.crash_issuer(issuer),
            Action::CrashPartner(process) => self.crash_partner(process).await,
            Action::Pass(millis) => self.pass(millis).await,
            Action::Beat(process) => self.beat(process),
            Action::MoveGates(process) => self.move_gates_on(process),
            Action::Reconcile(process) => self.reconcile(process),
            action => self.shared.world().apply(action),
        }
        self.rest().await;
        self.shared.world().check()
    }

    /// Returns all that can happen next.
    #[must_use]
    pub fn enabled(&self) -> Vec<Action> {
        self.shared.world().enabled()
    }

    /// Returns whether customers can be served somewhere, and whether the gate is being moved.
    #[must_use]
    pub(crate) fn stage(&self) -> (bool, bool) {
        let world = self.shared.world();
        (world.is_open(), world.is_sealing())
    }

    fn start(&mut self, actor: Actor, task: impl Future<Output = ()> + Send + 'static) {
        let running = Running {
            shared: self.shared.clone(),
            actor,
        };
        running.shared.world().running.insert(actor);
        let task = ACTOR.scope(actor, async move {
            let _running = running;
            task.await;
        });
        self.tasks.insert(actor, tokio::spawn(task).abort_handle());
    }

    fn start_confirmer(&mut self, process: usize) {
        let partner = Arc::clone(&self.partners[process]);
        self.start(Actor::Confirmer(process), async move {
            loop {
                partner.confirm_next().await;
            }
        });
    }

    /// Lets all tasks run until each of them waits. A yield returns when no task is ready; the second is for those
    /// that had to yield themselves.
    async fn rest(&mut self) {
        for _ in 0..2 {
            for (issuer, working) in self.issuers.iter_mut().enumerate() {
                let works = working.go_on().await;
                self.shared
                    .world()
                    .note_running(Actor::Issuer(issuer), works);
            }
            tokio::task::yield_now().await;
        }
    }

    fn begin(&mut self, user: u8, key: Option<u8>, process: usize) {
        let number = {
            let mut world = self.shared.world();
            world.requests.push(Request { user, key, process });
            let number = world.requests.len() - 1;
            world.note(|| {
                let key = key.map_or("no key".into(), |key| format!("key {key}"));
                let user = user_id(user);
                format!("request {number}: {user} comes to partner {process} with {key}")
            });
            number
        };
        let (partner, shared) = (Arc::clone(&self.partners[process]), self.shared.clone());
        self.start(Actor::Request(number), async move {
            let request = IssueRequest {
                merchant_id: MERCHANT,
                template_id: TEMPLATE,
                user_id: user_id(user),
            };
            let idempotency = key.map(|key| idempotency(key, user));
            let outcome = partner.issue(request, idempotency).await;
            let mut world = shared.world();
            match answer_of(number, outcome) {
                Ok((answer, is_replay)) => {
                    world.reached.replay |= is_replay;
                    world.answer(user, key, answer);
                }
                Err(why) => {
                    world.note(|| format!("request {number} ends without an answer: {why}"))
                }
            }
        });
    }

    fn beat(&mut self, process: usize) {
        let partner = Arc::clone(&self.partners[process]);
        self.start(Actor::Beat(process), async move {
            let _tried_again_next_time = partner.beat().await;
        });
    }

    fn move_gates_on(&mut self, process: usize) {
        let partner = Arc::clone(&self.partners[process]);
        self.start(Actor::Mover(process), async move {
            let _tried_again_next_time = partner.move_gates_on().await;
        });
    }

    fn reconcile(&mut self, process: usize) {
        let partner = Arc::clone(&self.partners[process]);
        self.start(Actor::Reconciler(process), async move {
            let _tried_again_next_time = partner.reconcile(&mut Unreadable::default()).await;
        });
    }

    /// Lets an issuer poll; what it finds, it works on.
    fn poll(&mut self, issuer: usize, asked: Option<(usize, usize)>) {
        if let Issuer::Idle(_) = self.issuers[issuer] {
            self.shared.world().ask(issuer, asked);
            let works = self.issuers[issuer].poll(issuer);
            self.shared
                .world()
                .note_running(Actor::Issuer(issuer), works);
        }
    }

    async fn crash_partner(&mut self, process: usize) {
        let requests = {
            let mut world = self.shared.world();
            world.kill(process);
            world.requests_of(process)
        };
        let loops = [
            Actor::Reconciler(process),
            Actor::Mover(process),
            Actor::Beat(process),
            Actor::Confirmer(process),
        ];
        for actor in requests.into_iter().chain(loops) {
            self.abort(actor);
        }
        self.rest().await;
        self.partners[process] = partner(&self.shared, process);
        self.start_confirmer(process);
    }

    fn crash_issuer(&mut self, issuer: usize) {
        {
            let mut world = self.shared.world();
            world.kill(PARTNERS + issuer);
            world.note_running(Actor::Issuer(issuer), false);
        }
        self.issuers[issuer] = Issuer::new(&self.shared, issuer);
    }

    fn abort(&mut self, actor: Actor) {
        if let Some(task) = self.tasks.remove(&actor) {
            task.abort();
        }
    }

    async fn pass(&self, millis: i64) {
        self.shared.world().pass(millis);
        let span = Duration::from_millis(millis.unsigned_abs());
        tokio::time::advance(span).await;
    }
}

fn partner(shared: &Shared, process: usize) -> Arc<Partner> {
    let caller = Caller::new(shared, process);
    let outside = Outside {
        records: Arc::new(Records(caller.clone())),
        servers: Arc::new(Servers(caller.clone())),
        log: Arc::new(Log(caller.clone())),
        clock: Arc::new(ProcessClock(caller.clone())),
        random: Arc::new(RequestNumber(caller)),
    };
    Arc::new(Partner::new(outside, shared.world().next_offsets()))
}

const REFUSALS: [IssueRefusal; 6] = [
    IssueRefusal::TemplateNotFound,
    IssueRefusal::NotOwnedByMerchant,
    IssueRefusal::NotIssuablePeriod,
    IssueRefusal::NotIssuable,
    IssueRefusal::AlreadyIssued,
    IssueRefusal::SoldOut,
];

fn idempotency(key: u8, user: u8) -> Idempotency<IssueOutcome> {
    let keyed = keyed(key, user);
    Idempotency {
        key: keyed.key,
        body: keyed.body,
        render: Arc::new(|outcome| {
            let refusal = outcome.err();
            let place = REFUSALS.iter().position(|one| Some(*one) == refusal);
            let place = place.and_then(|place| u16::try_from(place).ok());
            Written {
                status: place.map_or(200, |place| 400 + place),
                body: Bytes::new(),
            }
        }),
    }
}

/// The answer of a request and whether it was given before, or why there is none.
fn answer_of(
    number: usize,
    outcome: StoreResult<Outcome<IssueOutcome>>,
) -> Result<(Answer, bool), String> {
    match outcome {
        Ok(Outcome::Ran(Ok(_))) => Ok((Answer::Issued(Some(number)), false)),
        Ok(Outcome::Ran(Err(refusal))) => Ok((Answer::Refused(refusal), false)),
        Ok(Outcome::Replayed(written)) => {
            let place = written.status.checked_sub(400).map(usize::from);
            let refusal = place.and_then(|place| REFUSALS.get(place));
            let answer = refusal.map_or(Answer::Issued(None), |one| Answer::Refused(*one));
            Ok((answer, true))
        }
        Ok(Outcome::PayloadMismatch) => Ok((Answer::Mismatch, false)),
        Ok(Outcome::Processing) => Err("its key is in use".into()),
        Err(error) => Err(error.to_string()),
    }
}
