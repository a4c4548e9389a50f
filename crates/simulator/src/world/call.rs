//! Calls to the servers: each waits until the schedule lets it happen.

use goodpon_application::ports::{StoreError, StoreResult};
use tokio::sync::oneshot;

use super::{ISSUERS, PARTNERS, ProcessId, Shared, World, process_name};

/// A task that makes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// A customer's request.
    Request(usize),
    /// A round of a partner's reconciler.
    Reconciler(usize),
    /// A round in which a partner drives on the gates that are being moved.
    Mover(usize),
    /// A round in which a partner notes that the gates' server lives.
    Beat(usize),
    /// A partner's confirmer.
    Confirmer(usize),
    /// A task that a process began by itself: an opening, a reading beside, a tick. Partners come first, then issuers.
    Inner(usize),
    /// An issuer, by its number.
    Issuer(usize),
    /// A person, who gives gates up by hand.
    Operator,
}

impl Actor {
    pub(crate) fn is_of_issuer(self) -> bool {
        self.process().is_some_and(|process| process >= PARTNERS)
    }

    fn process(self) -> Option<ProcessId> {
        match self {
            Self::Request(_) | Self::Operator => None,
            Self::Reconciler(process)
            | Self::Mover(process)
            | Self::Beat(process)
            | Self::Confirmer(process)
            | Self::Inner(process) => Some(process),
            Self::Issuer(issuer) => Some(PARTNERS + issuer),
        }
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.process().map(process_name).unwrap_or_default();
        match self {
            Self::Request(number) => write!(f, "request {number}"),
            Self::Reconciler(_) => write!(f, "the reconciler of {name}"),
            Self::Mover(_) => write!(f, "the mover of {name}"),
            Self::Beat(_) => write!(f, "the beat of {name}"),
            Self::Confirmer(_) => write!(f, "the confirmer of {name}"),
            Self::Inner(_) => write!(f, "a task of {name}"),
            Self::Issuer(issuer) => write!(f, "issuer {issuer}"),
            Self::Operator => write!(f, "the operator"),
        }
    }
}

tokio::task_local! {
    /// The task that runs. Those that the product begins have none.
    pub(crate) static ACTOR: Actor;
}

/// The kinds of calls, which differ in how a lost reply is got over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// A transaction: after a lost reply it is not known whether it happened.
    Transaction,
    /// A script of the gate: after a lost reply it runs again with the same arguments.
    Script,
    /// An acknowledgement on its way back from the log, or a record without content on its way there.
    Log,
}

/// The end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It happens, and its reply arrives.
    Replied,
    /// It happens, and its reply is lost.
    ReplyLost,
    /// It does not happen.
    Failed,
}

type Run = Box<dyn FnMut(&mut World, Ending, bool) + Send>;

/// A call on its way.
pub(crate) struct Call {
    pub(crate) actor: Actor,
    pub(crate) kind: CallKind,
    name: &'static str,
    life: Option<Life>,
    run: Run,
}

impl World {
    /// Returns whether the caller still lives.
    pub(crate) fn is_wanted(&self, call: &Call) -> bool {
        call.life.is_none_or(|life| self.lives(life))
    }

    fn lives(&self, life: Life) -> bool {
        self.processes[life.process].deaths == life.deaths
    }

    /// Returns the place of an actor's nth call among all.
    pub(crate) fn find_call(&self, actor: Actor, nth: usize) -> Option<usize> {
        let of_actor = |(_, call): &(usize, &Call)| call.actor == actor;
        let calls = self.calls.iter().enumerate();
        calls.filter(of_actor).nth(nth).map(|(place, _)| place)
    }

    /// Lets a call happen, or fail.
    pub(crate) fn end_call(&mut self, place: usize, ending: Ending) {
        let mut call = self.calls.remove(place);
        let is_wanted = self.is_wanted(&call);
        self.note(|| {
            let (actor, name) = (call.actor, call.name);
            let dead = if is_wanted {
                ""
            } else {
                ", whose process is dead"
            };
            let how = match ending {
                Ending::Replied => "",
                Ending::ReplyLost => ", and the reply is lost",
                Ending::Failed => ", which fails",
            };
            format!("{actor}{dead}: {name}{how}")
        });
        (call.run)(self, ending, is_wanted);
        if ending == Ending::ReplyLost && call.kind == CallKind::Script {
            self.reached.lost_reply = true;
            self.calls.insert(place, call);
        }
    }

    /// Sends a call for which nobody waits.
    pub(crate) fn send(
        &mut self,
        actor: Actor,
        name: &'static str,
        mut effect: impl FnMut(&mut Self) + Send + 'static,
    ) {
        self.calls.push(Call {
            actor,
            kind: CallKind::Transaction,
            name,
            life: None,
            run: Box::new(move |world, ending, _| {
                if ending != Ending::Failed {
                    effect(world);
                }
            }),
        });
    }

    /// Puts a call on its way, whose reply goes to `reply`.
    pub(super) fn register<T: Send + 'static>(
        &mut self,
        actor: Actor,
        life: Life,
        kind: CallKind,
        name: &'static str,
        reply: oneshot::Sender<StoreResult<T>>,
        mut effect: impl FnMut(&mut Self) -> StoreResult<T> + Send + 'static,
    ) {
        let mut reply = Some(reply);
        let run: Run = Box::new(move |world, ending, is_wanted| {
            let result = match (ending, kind) {
                (Ending::Replied, _) => effect(world),
                (Ending::ReplyLost, CallKind::Script) => {
                    let _lost = effect(world);
                    return;
                }
                (Ending::ReplyLost, _) => {
                    let _lost = effect(world);
                    Err(unavailable("the reply was lost", true))
                }
                (Ending::Failed, kind) => Err(unavailable(
                    "the call failed",
                    kind != CallKind::Transaction,
                )),
            };
            if let Some(reply) = reply.take().filter(|_| is_wanted) {
                let _given_up = reply.send(result);
            }
        });
        self.calls.push(Call {
            actor,
            kind,
            name,
            life: Some(life),
            run,
        });
    }
}

/// One life of a process: after how many deaths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    process: ProcessId,
    deaths: u32,
}

/// One life of a process, from which calls are made.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) shared: Shared,
    pub(crate) process: ProcessId,
    pub(crate) life: Life,
}

impl Caller {
    /// The present life of a process.
    pub(crate) fn new(shared: &Shared, process: ProcessId) -> Self {
        debug_assert!(process < PARTNERS + ISSUERS);
        let deaths = shared.world().processes[process].deaths;
        Self {
            shared: shared.clone(),
            process,
            life: Life { process, deaths },
        }
    }

    pub(crate) fn actor(&self) -> Actor {
        ACTOR
            .try_with(|actor| *actor)
            .unwrap_or(Actor::Inner(self.process))
    }

    pub(crate) fn lives(&self) -> bool {
        self.shared.world().lives(self.life)
    }

    /// Makes a call, and waits until the schedule lets it happen. A dead process waits for ever.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        kind: CallKind,
        name: &'static str,
        effect: impl FnMut(&mut World) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (reply, replied) = oneshot::channel();
        {
            let actor = self.actor();
            let mut world = self.shared.world();
            if world.lives(self.life) {
                world.register(actor, self.life, kind, name, reply, effect);
            }
        }
        match replied.await {
            Ok(result) => result,
            Err(_) => std::future::pending().await,
        }
    }
}

pub(crate) fn unavailable(reason: &str, may_have_happened: bool) -> StoreError {
    StoreError::Unavailable {
        reason: reason.to_owned(),
        may_have_happened,
    }
}
