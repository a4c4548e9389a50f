//! A request at a partner, from its arrival to an answer or a 503.

use goodpon_domain::{
    gate::{Epoch, GateState, valid_until},
    id::CouponId,
};

use super::{
    MILLI, Micros, SECOND,
    course::{Answered, Course, Event, PARTNERS, Publication, View, time},
    opening::TEMPLATE,
};
use crate::gate::{self, Digest, Pending, Taken};

/// The time for which a partner keeps a request that has to wait.
const PATIENCE: Micros = 2 * SECOND;

/// The pause after which such a request is taken up again.
const ASKS_EVERY: Micros = 200 * MILLI;

/// The interval at which a partner reads the gate in the database.
const READS_EVERY: Micros = SECOND;

/// The times that a customer comes back after a 503, a second or two later each time.
const TRIES: u8 = 12;

/// Of this many customers one does not come back.
const LEAVES_ONE_IN: usize = 100;

/// One request of a customer, with the tries before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) customer: usize,
    began_at: Micros,
    tries: u8,
}

impl Request {
    pub(super) fn new(customer: usize, began_at: Micros) -> Self {
        Self {
            customer,
            began_at,
            tries: 0,
        }
    }
}

/// Spreads users as a hash does.
pub(super) fn digest(customer: usize) -> Digest {
    let number = customer as u64;
    let mixed = crate::random::Random::new(number).bits();
    ((u128::from(mixed) << 64) | u128::from(number)).to_be_bytes()
}

pub(super) fn customer(digest: &Digest) -> usize {
    usize::try_from(u128::from_be_bytes(*digest) & u128::from(u64::MAX)).unwrap_or(0)
}

fn shard_of(customer: usize, shards: usize) -> usize {
    usize::from(u16::from_be_bytes([
        digest(customer)[0],
        digest(customer)[1],
    ])) % shards
}

/// The gate as a partner believes it, and when that was read.
struct Believed {
    epoch: Epoch,
    shards: usize,
    read_at: Micros,
}

impl Course {
    pub(super) fn ask(&mut self, request: Request) {
        let partner = request.customer % PARTNERS;
        let Some(believed) = self.believed(partner) else {
            return self.wait(self.now, request);
        };
        let shard = shard_of(request.customer, believed.shards);
        let is_crowded = self.queue_at(shard) > self.sale.longest_queue;
        if is_crowded || self.hold_until[shard][partner] > self.now {
            return self.wait(self.now, request);
        }
        let done_at = self.call(shard);
        let reservation = Pending {
            coupon_id: CouponId::from_bytes(u128::from(self.next_coupon()).to_be_bytes()),
            user: digest(request.customer),
            user_id: String::new(),
            accepted_at: time(self.now),
            keyed: None,
        };
        let taken = self.take(shard, believed.epoch, &reservation);
        match taken {
            Taken::Reserved { .. } => {
                self.given(done_at);
                self.look_whether_dry(shard);
                let until = valid_until(time(believed.read_at));
                let publication = Publication {
                    shard,
                    event: reservation.event(TEMPLATE, believed.epoch, until),
                    user: request.customer,
                    request: Some(request),
                    is_own: true,
                };
                self.publish(done_at, publication);
            }
            Taken::Help(other) => {
                let (epoch, read_at) = (believed.epoch, believed.read_at);
                self.help(done_at, shard, epoch, read_at, &other, Some(request));
            }
            Taken::AlreadyIssued => self.has_one(request),
            Taken::SoldOut if believed.shards == 1 => {
                self.answer(request.customer, Answered::SoldOut)
            }
            Taken::SoldOut | Taken::Wait | Taken::Closed { .. } => {
                if matches!(taken, Taken::Closed { .. }) {
                    self.read_at[partner] = self.now;
                }
                self.hold_until[shard][partner] = self.now + self.sale.hold_off;
                self.wait(done_at, request);
            }
            Taken::Replay(_) | Taken::Mismatch | Taken::Refused(_) => {
                self.fault(format!(
                    "a request without key or verdict was answered {taken:?}"
                ));
            }
        }
    }

    fn take(&mut self, shard: usize, epoch: Epoch, reservation: &Pending) -> Taken {
        let store = &mut self.shards[shard].store;
        let server = store.server().to_owned();
        let request = gate::Request {
            epoch,
            user: reservation.user,
            user_id: &reservation.user_id,
            keyed: None,
            verdict: None,
            coupon_id: reservation.coupon_id,
            accepted_at: reservation.accepted_at,
            now: reservation.accepted_at,
            spare: false,
        };
        store.take(&server, &request)
    }

    /// The gate as the partner last read it; none where it was not open.
    fn believed(&self, partner: usize) -> Option<Believed> {
        let offset = READS_EVERY * partner as u64 / PARTNERS as u64;
        let regular = self.now.saturating_sub(offset) / READS_EVERY * READS_EVERY + offset;
        let regular = if regular > self.now { 0 } else { regular };
        let read_at = regular.max(self.read_at[partner]);
        let was_there = |view: &&View| view.from <= read_at;
        let view = self
            .views
            .iter()
            .rev()
            .find(was_there)
            .or(self.views.first())?;
        (view.state == GateState::Open).then_some(Believed {
            epoch: view.epoch,
            shards: view.shards,
            read_at,
        })
    }

    fn has_one(&mut self, request: Request) {
        // Success after a 503, or the second of two requests at once: either way the coupon is theirs.
        let customer = request.customer;
        if self.rows[customer].is_none() {
            self.fault(format!(
                "customer {customer} is answered a coupon that they do not have"
            ));
        }
        if !matches!(self.customers[customer].answer, Some(Answered::Success(_)))
            && request.tries > 0
        {
            self.answer(customer, Answered::Success(self.now));
        }
    }

    /// The request stays at the partner for as long as it has patience.
    fn wait(&mut self, at: Micros, request: Request) {
        if at >= request.began_at + PATIENCE {
            return self.unavailable(at, request);
        }
        let jitter = self.random.bits() % (20 * MILLI);
        self.schedule(at + ASKS_EVERY + jitter, Event::Ask(request));
    }

    /// A 503: the customer comes back, or not.
    pub(super) fn unavailable(&mut self, at: Micros, request: Request) {
        let leaves = self.random.below(LEAVES_ONE_IN) == 0;
        if leaves || request.tries >= TRIES {
            if self.customers[request.customer].answer.is_none() {
                self.answer(request.customer, Answered::GaveUp);
            }
            return;
        }
        let back_at = at + SECOND + self.random.bits() % SECOND;
        let again = Request {
            began_at: back_at,
            tries: request.tries + 1,
            ..request
        };
        self.schedule(back_at, Event::Ask(again));
    }
}
