//! The end of a schedule: the faults stop, one server stays, and what is under way ends. Customers come until all is
//! gone, and every answer must prove true.

use goodpon_domain::{coupon::IssueRefusal, gate::GateState};

use super::{Action, Simulation, action::ALL};
use crate::world::{
    PARTITIONS, PARTNERS,
    call::{Actor, Ending},
    truth::{Answer, Broken},
};

/// The rounds of a second within which everything must have settled.
const MOST_ROUNDS: usize = 60;

/// The calls and messages of a round; a world that has more goes round in circles.
const MOST_STEPS: usize = 400;

/// The customers who come last.
const LATE_CUSTOMER: u8 = b'A';
const MOST_LATE_CUSTOMERS: u8 = 6;

/// Asks again with keys of others.
const STRANGER: u8 = LATE_CUSTOMER + 9;

/// Comes while the gate is not open, so that a partner notices.
const IMPATIENT: u8 = LATE_CUSTOMER + 20;
const KEY_OF_IMPATIENT: u8 = 200;

impl Simulation {
    /// Lets the world settle. Of the messages on their way, those whose bit in `late` is set come at the very end.
    ///
    /// # Errors
    /// A promise is broken.
    pub async fn settle(&mut self, late: u64) -> Result<(), Broken> {
        let reached = {
            let mut world = self.shared.world();
            world.note(|| "-- the faults stop".into());
            world.reached.two_servers = world.living().count() > 1;
            world.reached
        };
        let result = self.settle_all(late).await;
        self.shared.world().reached = reached;
        result
    }

    async fn settle_all(&mut self, late: u64) -> Result<(), Broken> {
        let (server, mut held) = {
            let mut world = self.shared.world();
            let Some(server) = world.living().last() else {
                return Ok(());
            };
            for (number, other) in world.servers.iter_mut().enumerate() {
                other.is_alive = number == server;
            }
            // What dead processes sent is lost.
            let calls = std::mem::take(&mut world.calls);
            let wanted = calls
                .into_iter()
                .filter(|call| world.is_wanted(call))
                .collect();
            world.calls = wanted;
            let is_late = |message: &usize| late >> (message % 64) & 1 == 1;
            let late: Vec<_> = (0..world.network.len()).rev().filter(is_late).collect();
            let network = &mut world.network;
            let held: Vec<_> = late
                .into_iter()
                .map(|message| network.remove(message))
                .collect();
            (server, held)
        };
        self.until_quiet(server).await?;
        self.sell_the_rest(server).await?;
        self.shared.world().network.append(&mut held);
        self.until_quiet(server).await?;
        self.ask_again(server).await?;
        self.until_quiet(server).await?;
        self.shared.world().check_end(server)
    }

    async fn until_quiet(&mut self, server: usize) -> Result<(), Broken> {
        for round in 0..MOST_ROUNDS {
            self.round(server).await?;
            if self.is_quiet(server) {
                return Ok(());
            }
            if round % 3 == 2 {
                self.help_along(server).await?;
            }
        }
        let how = format!("it does not settle: {:?}", self.shared.world().gate());
        Err(Broken {
            promise: Broken::SETTLES,
            how,
        })
    }

    fn is_quiet(&self, server: usize) -> bool {
        let world = self.shared.world();
        let installed = world.servers[server].store.installed();
        let is_open =
            world.is_open_at(server) && installed.is_some_and(|gate| gate.pending.is_empty());
        (is_open || world.needs_no_gate())
            && world.network.is_empty()
            && world.calls.is_empty()
            && world
                .running
                .iter()
                .all(|actor| matches!(actor, Actor::Confirmer(_)))
            && (0..PARTITIONS).all(|partition| world.is_worked_through(partition))
    }

    /// Lets a reconciler go round, and a customer come to a gate that is lost or was never opened.
    async fn help_along(&mut self, server: usize) -> Result<(), Broken> {
        let (needs_customer, key) = {
            let world = self.shared.world();
            let is_open = world
                .gate()
                .is_none_or(|gate| gate.state == GateState::Open);
            // Only a request with a key moves the gate of a discarded template.
            let key = world.is_discarded().then_some(KEY_OF_IMPATIENT);
            (is_open && !world.is_open_at(server), key)
        };
        for process in 0..PARTNERS {
            self.unless_running(Actor::Reconciler(process), Action::Reconcile(process))
                .await?;
        }
        if needs_customer {
            self.apply(Action::Begin(IMPATIENT, key, 0)).await?;
        }
        Ok(())
    }

    async fn unless_running(&mut self, actor: Actor, action: Action) -> Result<(), Broken> {
        if self.shared.world().running.contains(&actor) {
            return Ok(());
        }
        self.apply(action).await
    }

    /// A second in which every process does what it can.
    async fn round(&mut self, server: usize) -> Result<(), Broken> {
        self.run_all().await?;
        self.apply(Action::Poll(0)).await?;
        self.run_all().await?;
        for partition in 0..PARTITIONS {
            self.apply(Action::Fetch(0, partition, ALL)).await?;
            self.run_all().await?;
        }
        self.apply(Action::Pass(1_000)).await?;
        for process in 0..PARTNERS {
            if self.shared.world().would_differ(process, server) {
                self.apply(Action::Lead(process, server)).await?;
            }
            self.unless_running(Actor::Beat(process), Action::Beat(process))
                .await?;
            if self.shared.world().is_sealing_for(process) {
                self.unless_running(Actor::Mover(process), Action::MoveGates(process))
                    .await?;
            }
        }
        self.run_all().await
    }

    /// Lets all calls happen and all messages arrive.
    async fn run_all(&mut self) -> Result<(), Broken> {
        for _ in 0..MOST_STEPS {
            let action = {
                let mut world = self.shared.world();
                if !world.calls.is_empty() {
                    world.end_call(0, Ending::Replied);
                    None
                } else if !world.network.is_empty() {
                    Some(Action::Deliver(0))
                } else {
                    return Ok(());
                }
            };
            match action {
                Some(action) => self.apply(action).await?,
                None => {
                    self.rest().await;
                    self.shared.world().check()?;
                }
            }
        }
        Ok(())
    }

    /// New customers come until the last one is refused because all is gone.
    async fn sell_the_rest(&mut self, server: usize) -> Result<(), Broken> {
        for number in 0..MOST_LATE_CUSTOMERS {
            let customer = LATE_CUSTOMER + number;
            let process = usize::from(number) % PARTNERS;
            self.apply(Action::Begin(customer, None, process)).await?;
            for _ in 0..3 {
                self.round(server).await?;
            }
            let sold_out = Answer::Refused(IssueRefusal::SoldOut);
            let is_it = |world: &crate::world::World| {
                let mut answers = world.answers.iter();
                answers.any(|given| given.user == customer && given.answer == sold_out)
            };
            if is_it(&self.shared.world()) {
                return Ok(());
            }
        }
        if self.shared.world().is_discarded() {
            return Ok(());
        }
        let how = "nobody hears that all is gone".into();
        Err(Broken {
            promise: Broken::SETTLES,
            how,
        })
    }

    /// Every key that was answered is used again, with the same body and with another one.
    async fn ask_again(&mut self, server: usize) -> Result<(), Broken> {
        let answers = self.shared.world().answers.clone();
        for given in answers {
            let Some(key) = given.key else {
                continue;
            };
            self.apply(Action::Begin(given.user, Some(key), 0)).await?;
            if matches!(given.answer, Answer::Issued(_)) {
                self.apply(Action::Begin(STRANGER, Some(key), 1)).await?;
            }
        }
        self.round(server).await
    }
}
