//! The faults stop: one server stays, what is under way ends, customers come until all is gone, and everything that
//! was told must prove true.

use super::{Action, Broken, PARTITIONS, World, opener::Opener, partner::Stage, truth::Answer};
use goodpon_domain::coupon::IssueRefusal;

/// In how many rounds of a second everything must have settled.
const ROUNDS: usize = 60;

/// Who comes last.
const LATE_CUSTOMER: u8 = b'A';

impl World {
    /// Lets the world settle. Of the messages on their way, those whose bit in `late` is set come at the very end.
    pub fn settle(&mut self, late: u64) -> Result<(), Broken> {
        self.tell(|| "-- the faults stop".into());
        let mut reached = self.reached;
        reached.two_servers = self.living().count() > 1;
        let result = self.settle_all(late);
        self.reached = reached;
        result
    }

    fn settle_all(&mut self, late: u64) -> Result<(), Broken> {
        let Some(server) = self.living().last() else {
            return Ok(());
        };
        for (number, other) in self.servers.iter_mut().enumerate() {
            other.is_alive = number == server;
        }
        let mut held = Vec::new();
        for message in (0..self.network.len())
            .rev()
            .filter(|message| late >> (message % 64) & 1 == 1)
        {
            held.push(self.network.remove(message));
        }
        self.until_quiet(server)?;
        self.sell_the_rest(server)?;
        self.network.append(&mut held);
        self.until_quiet(server)?;
        self.ask_again(server)?;
        self.until_quiet(server)?;
        self.check_end(server)
    }

    fn until_quiet(&mut self, server: usize) -> Result<(), Broken> {
        for round in 0..ROUNDS {
            self.round(server)?;
            if self.is_quiet(server) {
                return Ok(());
            }
            if round % 3 == 2 {
                self.reconcile();
            }
        }
        let how = format!("it does not settle: {:?}", self.database.gate);
        Err(Broken { promise: "6", how })
    }

    fn is_quiet(&self, server: usize) -> bool {
        let pending = self.servers[server]
            .store
            .installed()
            .map(|gate| gate.pending.len());
        self.is_open_at(server)
            && pending == Some(0)
            && self.network.is_empty()
            && self
                .openers
                .iter()
                .all(|opener| matches!(opener, Opener::Idle))
            && (0..PARTITIONS).all(|partition| self.is_worked_through(partition))
    }

    /// A second in which everybody does what they can.
    fn round(&mut self, server: usize) -> Result<(), Broken> {
        self.run_attempts(server)?;
        for issuer in 0..self.issuers.len() {
            self.commit(issuer)?;
        }
        for partition in 0..PARTITIONS {
            self.tick(partition);
            self.fetch(0, partition, usize::MAX / 2);
            self.commit(0)?;
        }
        self.apply(Action::Pass(1))?;
        self.beat(server);
        for opener in 0..self.openers.len() {
            let is_idle = matches!(self.openers[opener], Opener::Idle);
            if !is_idle || self.has_work_for_opener(server) {
                self.open(opener, server);
            }
        }
        Ok(())
    }

    fn run_attempts(&mut self, server: usize) -> Result<(), Broken> {
        while !self.network.is_empty() {
            self.apply(Action::Deliver(0))?;
        }
        for attempt in 0..self.attempts.len() {
            let mut steps = 0;
            while !matches!(self.attempts[attempt].stage, Stage::Done) && steps < 20 {
                steps += 1;
                if matches!(self.attempts[attempt].stage, Stage::Wait(_)) && self.network.is_empty()
                {
                    self.end(attempt);
                }
                self.apply(Action::Step(attempt, server))?;
                while !self.network.is_empty() {
                    self.apply(Action::Deliver(0))?;
                }
            }
            self.end_quietly(attempt);
        }
        Ok(())
    }

    fn end_quietly(&mut self, attempt: usize) {
        self.attempts[attempt].stage = Stage::Done;
    }

    /// New customers come until the last one hears that all is gone.
    fn sell_the_rest(&mut self, server: usize) -> Result<(), Broken> {
        for customer in LATE_CUSTOMER..=LATE_CUSTOMER + 5 {
            self.begin(customer, None);
            self.round(server)?;
            let sold_out = Answer::Refused(IssueRefusal::SoldOut);
            if self
                .answers
                .iter()
                .any(|told| told.user == customer && told.answer == sold_out)
            {
                return Ok(());
            }
        }
        if self.is_discarded() {
            return Ok(());
        }
        let how = "nobody hears that all is gone".into();
        Err(Broken { promise: "6", how })
    }

    /// Every key that was answered is used again, with the same body and with another one.
    fn ask_again(&mut self, server: usize) -> Result<(), Broken> {
        for told in self.answers.clone() {
            if let Some(key) = told.key {
                self.begin(told.user, Some(key));
                if matches!(told.answer, Answer::Issued(_)) {
                    self.begin(LATE_CUSTOMER + 9, Some(key));
                }
            }
        }
        self.round(server)
    }
}
