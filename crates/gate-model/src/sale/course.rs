//! The course of a sale: events in the order of time, and what they leave behind.

use goodpon_domain::gate::{Epoch, GateState, IssueEvent, counts};
use jiff::Timestamp;

use super::{Figures, MILLI, Micros, SECOND, Sale, agenda::Agenda, request::Request};
use crate::{
    gate::{Confirmation, Pending, Store},
    random::Random,
};

/// Partners' processes.
pub(super) const PARTNERS: usize = 8;

/// Half of the customers come evenly for this many times the time in which the rush halves.
const EVENLY_FOR: u64 = 15;

/// Of this many publishes one dies with its partner.
const CRASH_ONE_IN: usize = 2_000;

/// Of this many publishes one arrives late.
const SLOW_ONE_IN: usize = 1_000;

/// Of this many publishes one arrives when its partner has given it up and it counts no more.
const STUCK_ONE_IN: usize = 5_000;

/// Of this many customers one asks twice at nearly the same time.
const TWICE_ONE_IN: usize = 50;

/// An event of the simulation, at its time.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// A partner takes a request up, or takes it up again.
    Ask(Request),
    /// A publish arrives at the log.
    Append(Publication),
    /// Reservations that count are confirmed.
    Confirm(usize, Epoch, Confirmation),
    /// The reconciler looks at all gates.
    Reconcile,
    /// The servers are lost.
    Lose,
    /// Somebody looks whether a gate must be given up, can be sealed, or can be installed.
    Open,
}

/// A reservation that is being published, and whose answer hangs on it.
#[derive(Debug, Clone)]
pub(super) struct Publication {
    pub(super) shard: usize,
    pub(super) event: IssueEvent,
    pub(super) user: usize,
    pub(super) request: Option<Request>,
    pub(super) is_own: bool,
}

/// A customer, and the answer that they got.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Customer {
    pub(super) came_at: Micros,
    pub(super) answer: Option<Answered>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    Success(Micros),
    SoldOut,
    GaveUp,
}

/// The gate as the database has it from some time on.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) from: Micros,
    pub(super) epoch: Epoch,
    pub(super) state: GateState,
    /// Over how many gates it is spread.
    pub(super) shards: usize,
}

/// A gate's server with the calls that wait there.
#[derive(Debug, Clone)]
pub(super) struct Shard {
    pub(super) store: Store,
    free_at: Micros,
}

#[derive(Debug)]
pub(super) struct Course {
    pub(super) sale: Sale,
    pub(super) random: Random,
    pub(super) now: Micros,
    agenda: Agenda,
    pub(super) customers: Vec<Customer>,
    /// The coupon of each user who has one, as the database knows it.
    pub(super) rows: Vec<Option<u64>>,
    pub(super) issued: usize,
    pub(super) shards: Vec<Shard>,
    pub(super) views: Vec<View>,
    /// When each partner last read the gate out of turn, and until when it asks no gate again.
    pub(super) read_at: [Micros; PARTNERS],
    pub(super) hold_until: Vec<[Micros; PARTNERS]>,
    pub(super) opening: super::opening::Opening,
    pub(super) figures: Figures,
    last_given_at: Micros,
    last_answered_at: Micros,
    coupons: u64,
    faults: Vec<String>,
}

pub(super) fn time(at: Micros) -> Timestamp {
    Timestamp::from_microsecond(i64::try_from(at).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX)
}

impl Course {
    pub(super) fn new(sale: Sale) -> Self {
        let mut random = Random::new(sale.seed);
        let mut came: Vec<Micros> = (0..sale.customers)
            .map(|_| arrival(&mut random, sale.rush))
            .collect();
        came.sort_unstable();
        let customer = |came_at| Customer {
            came_at,
            answer: None,
        };
        let mut course = Self {
            customers: came.into_iter().map(customer).collect(),
            rows: vec![None; sale.customers],
            sale,
            random,
            now: 0,
            agenda: Agenda::default(),
            issued: 0,
            shards: Vec::new(),
            views: Vec::new(),
            read_at: [0; PARTNERS],
            hold_until: vec![[0; PARTNERS]; sale.shards],
            opening: super::opening::Opening::default(),
            figures: Figures::default(),
            last_given_at: 0,
            last_answered_at: 0,
            coupons: 0,
            faults: Vec::new(),
        };
        course.open_first();
        course
    }

    pub(super) fn run(mut self) -> Result<Figures, String> {
        self.schedule(SECOND, Event::Reconcile);
        self.schedule(SECOND / 10, Event::Open);
        if let Some(at) = self.sale.lost_at {
            self.schedule(at, Event::Lose);
        }
        let mut next = 0;
        loop {
            let due = self.agenda.next_at();
            let comes = self.customers.get(next).map(|customer| customer.came_at);
            match (comes, due) {
                (Some(comes), due) if due.is_none_or(|due| comes <= due) => {
                    self.now = comes;
                    self.arrive(next);
                    next += 1;
                }
                (_, Some(due)) => {
                    self.now = due;
                    if let Some(event) = self.agenda.take() {
                        self.handle(event);
                    }
                }
                (_, None) => break,
            }
        }
        self.add_up()
    }

    fn arrive(&mut self, customer: usize) {
        self.handle(Event::Ask(Request::new(customer, self.now)));
        if self.random.below(TWICE_ONE_IN) == 0 {
            let again = self.now + self.random.bits() % (200 * MILLI);
            self.schedule(again, Event::Ask(Request::new(customer, again)));
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Ask(request) => self.ask(request),
            Event::Append(publication) => self.append(publication),
            Event::Confirm(shard, epoch, confirmation) => self.confirm(shard, epoch, confirmation),
            Event::Reconcile => self.reconcile(),
            Event::Lose => self.lose(),
            Event::Open => self.look_after_gates(),
        }
    }

    pub(super) fn schedule(&mut self, at: Micros, event: Event) {
        self.agenda.add(at, event);
    }

    /// Says that anything is still to come but the one other thing that comes again and again.
    pub(super) fn is_on(&self) -> bool {
        let is_pending = |shard: &Shard| {
            shard
                .store
                .installed()
                .is_some_and(|gate| !gate.pending.is_empty())
        };
        self.agenda.len() > 1
            || self
                .customers
                .last()
                .is_some_and(|last| last.came_at > self.now)
            || self.shards.iter().any(is_pending)
    }

    pub(super) fn next_coupon(&mut self) -> u64 {
        self.coupons += 1;
        self.coupons
    }

    /// Adds a call to a shard's queue and sets the shard's clock to when it runs. Returns the time when it is done.
    pub(super) fn call(&mut self, shard: usize) -> Micros {
        self.figures.calls += 1;
        let gate = &mut self.shards[shard];
        let starts_at = gate.free_at.max(self.now);
        gate.free_at = starts_at + self.sale.call;
        gate.store
            .set_clock(i64::try_from(starts_at / MILLI).unwrap_or(i64::MAX));
        gate.free_at
    }

    /// The time that a call would now wait for others.
    pub(super) fn queue_at(&self, shard: usize) -> Micros {
        self.shards[shard].free_at.saturating_sub(self.now)
    }

    pub(super) fn add_shard(&mut self, store: Store) {
        let free_at = self.now;
        self.shards.push(Shard { store, free_at });
    }

    /// A place was given out.
    pub(super) fn given(&mut self, at: Micros) {
        if self.last_given_at > 0 {
            let pause = at.saturating_sub(self.last_given_at);
            self.figures.longest_pause = self.figures.longest_pause.max(pause);
        }
        self.last_given_at = self.last_given_at.max(at);
        self.figures.sold_out_at = self.last_given_at;
    }

    /// Sends a publication to the log. Its partner may die before, or give it up before it arrives.
    pub(super) fn publish(&mut self, at: Micros, mut publication: Publication) {
        let takes = 2 * MILLI + self.random.bits() % (6 * MILLI);
        let slow = if self.random.below(SLOW_ONE_IN) == 0 {
            200 * MILLI
        } else {
            0
        };
        let is_stuck = self.random.below(STUCK_ONE_IN) == 0;
        let dies = self.random.below(CRASH_ONE_IN) == 0;
        let Some(request) = publication.request.filter(|_| is_stuck || dies) else {
            return self.schedule(at + takes + slow, Event::Append(publication));
        };
        if is_stuck {
            publication.request = None;
            let stuck_for = 8 * SECOND + self.random.bits() % (22 * SECOND);
            self.schedule(at + stuck_for, Event::Append(publication));
        }
        let gives_up_after = if is_stuck { 6 * SECOND } else { 2 * SECOND };
        self.unavailable(at + gives_up_after, request);
    }

    /// The log appends; the issuer, who sees the same, writes the row; the partner answers and confirms.
    fn append(&mut self, publication: Publication) {
        let Publication {
            shard,
            event,
            user,
            request,
            is_own,
        } = publication;
        if !counts(time(self.now), event.valid_until) {
            if let Some(request) = request {
                self.unavailable(self.now, request);
            }
            return;
        }
        let coupon = u64::try_from(u128::from_be_bytes(event.coupon_id.to_bytes())).unwrap_or(0);
        if self.rows[user].is_none() {
            self.rows[user] = Some(coupon);
            self.issued += 1;
        }
        let confirmation = Confirmation {
            user: super::request::digest(user),
            coupon_id: event.coupon_id,
        };
        self.schedule(
            self.now + 5 * MILLI,
            Event::Confirm(shard, event.epoch, confirmation),
        );
        match request {
            Some(request) if is_own => {
                if self.rows[user] != Some(coupon) {
                    self.fault(format!(
                        "customer {user} is answered a coupon that is not written"
                    ));
                }
                self.answer(request.customer, Answered::Success(self.now));
            }
            Some(request) => self.schedule(self.now + 6 * MILLI, Event::Ask(request)),
            None => {}
        }
    }

    fn confirm(&mut self, shard: usize, epoch: Epoch, confirmation: Confirmation) {
        let now = time(self.now);
        if let Some(gate) = self.shards.get_mut(shard) {
            let server = gate.store.server().to_owned();
            gate.store.confirm(&server, epoch, &[confirmation], now);
        }
    }

    fn reconcile(&mut self) {
        let read_at = self.now;
        let view = self
            .views
            .last()
            .filter(|view| view.state == GateState::Open)
            .cloned();
        for shard in 0..view.as_ref().map_or(0, |view| view.shards) {
            let Some(epoch) = view.as_ref().map(|view| view.epoch) else {
                continue;
            };
            self.call(shard);
            let store = &mut self.shards[shard].store;
            let server = store.server().to_owned();
            let pending = store
                .pending(&server, epoch, 2_000, 1_000)
                .unwrap_or_default();
            for reservation in pending {
                self.help(self.now, shard, epoch, read_at, &reservation, None);
            }
        }
        if self.is_on() {
            self.schedule(self.now + SECOND, Event::Reconcile);
        }
    }

    /// Publishes another's reservation; `request` goes on when it is through.
    pub(super) fn help(
        &mut self,
        at: Micros,
        shard: usize,
        epoch: Epoch,
        read_at: Micros,
        reservation: &Pending,
        request: Option<Request>,
    ) {
        let until = goodpon_domain::gate::valid_until(time(read_at));
        let publication = Publication {
            shard,
            event: reservation.event(super::opening::TEMPLATE, epoch, until),
            user: super::request::customer(&reservation.user),
            request,
            is_own: false,
        };
        self.publish(at, publication);
    }

    pub(super) fn answer(&mut self, customer: usize, answered: Answered) {
        // After that customers come so seldom that silence means nothing.
        if answered != Answered::GaveUp && self.now < EVENLY_FOR * self.sale.rush {
            let silence = self.now.saturating_sub(self.last_answered_at);
            self.figures.longest_silence = self.figures.longest_silence.max(silence);
            self.last_answered_at = self.now;
        }
        let before = &mut self.customers[customer].answer;
        match (*before, answered) {
            (None | Some(Answered::GaveUp), _) => *before = Some(answered),
            (Some(Answered::Success(_)), Answered::Success(_)) => {
                self.fault(format!("customer {customer} hears twice of a new coupon"));
            }
            (Some(Answered::SoldOut), Answered::Success(_))
            | (Some(Answered::Success(_)), Answered::SoldOut) => {
                self.fault(format!(
                    "customer {customer} hears of success and of sold out"
                ));
            }
            _ => {}
        }
    }

    pub(super) fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    fn add_up(mut self) -> Result<Figures, String> {
        let holders = self.rows.iter().filter(|row| row.is_some()).count();
        if self.issued != holders || holders > self.sale.coupons {
            self.fault(format!("{} rows of {holders} users", self.issued));
        }
        for (number, customer) in self.customers.iter().enumerate() {
            let (answer, has_one) = (customer.answer, self.rows[number].is_some());
            let is_true = match answer {
                Some(Answered::Success(_)) => has_one,
                Some(Answered::SoldOut) => !has_one,
                Some(Answered::GaveUp) => true,
                None => false,
            };
            if !is_true {
                self.faults.push(format!(
                    "customer {number} was answered {answer:?}, has one: {has_one}"
                ));
            }
        }
        self.count();
        match self.faults.first() {
            Some(fault) => Err(format!("{} faults: {fault}", self.faults.len())),
            None => Ok(self.figures),
        }
    }

    fn count(&mut self) {
        let figures = &mut self.figures;
        figures.issued = self.issued;
        figures.left_over = self.sale.coupons.saturating_sub(self.issued);
        let (mut first_refused, mut last_holder) = (None, 0);
        for (number, customer) in self.customers.iter().enumerate() {
            let has_one = self.rows[number].is_some();
            match customer.answer {
                Some(Answered::Success(at)) => {
                    figures.successes += 1;
                    figures.longest_wait = figures.longest_wait.max(at - customer.came_at);
                }
                Some(Answered::SoldOut) => {
                    figures.refused += 1;
                    first_refused.get_or_insert(number);
                }
                _ => {
                    figures.gave_up += 1;
                    figures.late_coupons += usize::from(has_one);
                }
            }
            if has_one {
                last_holder = number;
                figures.out_of_turn += usize::from(number >= self.sale.coupons);
                figures.after_a_refused += usize::from(first_refused.is_some());
            }
        }
        figures.greatest_displacement = (last_holder + 1).saturating_sub(self.sale.coupons);
        let came = |number: usize| self.customers[number].came_at;
        if let Some(first) = first_refused {
            figures.overtaken_by = came(last_holder).saturating_sub(came(first));
        }
    }
}

/// Half of the customers come in a rush, the others evenly.
fn arrival(random: &mut Random, rush: Micros) -> Micros {
    let is_in_rush = random.below(2) == 0;
    let drawn = random.fraction();
    let halves = if is_in_rush {
        -(1.0 - drawn).log2()
    } else {
        drawn * EVENLY_FOR as f64
    };
    (halves * rush as f64) as Micros
}
