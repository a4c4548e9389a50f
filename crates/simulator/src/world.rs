//! All servers, the network and the clocks at one moment, and what was answered so far.
//!
//! Time goes by milliseconds, but the clocks of the database and of the log's servers show whole seconds, so that
//! times are often equal where a comparison decides.

pub(crate) mod call;
pub(crate) mod database;
mod issuing;
pub(crate) mod log;
pub(crate) mod scripts;
pub(crate) mod truth;
pub(crate) mod valkey;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use goodpon_domain::{
    gate::{Gate, GateState, KeyDigests},
    id::{CouponId, MerchantId, TemplateId},
    template::{Discount, Limit, Period, Template, TemplateStatus, Terms},
};
use jiff::{SignedDuration, Timestamp};

use self::{
    call::{Actor, Call},
    database::Database,
    log::{Message, Reader, Record},
    truth::{Answered, Broken},
    valkey::{Connection, Server, Snapshot},
};
use crate::{
    guard::Guard,
    size::{Budget, Reached, Size},
};

/// Partitions of the log.
pub const PARTITIONS: usize = 2;

/// Processes that serve customers, and processes that write coupons.
pub const PARTNERS: usize = 2;
pub const ISSUERS: usize = 2;

/// A process: partners come first, then issuers.
pub(crate) type ProcessId = usize;

/// A process, as the servers know it.
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// The number of its deaths. Calls of an earlier life get no reply.
    pub(crate) deaths: u32,
    /// The Valkey server that its address leads to.
    pub(crate) leads_to: usize,
    pub(crate) connection: Option<Connection>,
}

/// A customer's request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) user: u8,
    pub(crate) key: Option<u8>,
    /// The partner that was asked.
    pub(crate) process: ProcessId,
}

/// All of it at one moment.
pub(crate) struct World {
    removed: Vec<Guard>,
    pub(crate) size: Size,
    pub(crate) budget: Budget,
    pub(crate) template: Template,
    now_ms: i64,
    pub(crate) database_ahead: i64,
    pub(crate) brokers_ahead: [i64; PARTITIONS],
    pub(crate) database: Database,
    pub(crate) log: [Vec<Record>; PARTITIONS],
    pub(crate) network: Vec<Message>,
    pub(crate) calls: Vec<Call>,
    pub(crate) servers: Vec<Server>,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) processes: [Process; PARTNERS + ISSUERS],
    pub(crate) readers: [Reader; ISSUERS],
    pub(crate) requests: Vec<Request>,
    /// The tasks that run.
    pub(crate) running: BTreeSet<Actor>,
    pub(crate) answers: Vec<Answered>,
    has_lost_answers: bool,
    /// The number of times that a server was started.
    runs: u16,
    /// Milliseconds by which the Valkey servers' clocks are ahead.
    pulse: i64,
    pub(crate) broken: Option<Broken>,
    pub(crate) reached: Reached,
    story: Option<Vec<String>>,
}

impl World {
    fn new(removed: &[Guard], size: Size, budget: Budget) -> Self {
        Self {
            removed: removed.to_vec(),
            size,
            budget,
            template: template(size.places),
            now_ms: 0,
            database_ahead: size.database_ahead,
            brokers_ahead: size.brokers_ahead,
            database: Database::default(),
            log: Default::default(),
            network: Vec::new(),
            calls: Vec::new(),
            servers: vec![Server::new(1, 0, removed)],
            snapshot: None,
            processes: Default::default(),
            readers: Default::default(),
            requests: Vec::new(),
            running: BTreeSet::new(),
            answers: Vec::new(),
            has_lost_answers: false,
            runs: 1,
            pulse: 0,
            broken: None,
            reached: Reached::default(),
            story: None,
        }
    }

    /// Writes down from now on what happens.
    pub(crate) fn keep_story(&mut self) {
        self.story = Some(Vec::new());
    }

    pub(crate) fn story(&self) -> &[String] {
        self.story.as_deref().unwrap_or_default()
    }

    /// Adds a line to the story, if it is kept.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(line());
        }
    }

    pub(crate) fn has(&self, guard: Guard) -> bool {
        !self.removed.contains(&guard)
    }

    /// Notes a promise that was broken; the first one counts.
    pub(crate) fn hold(&mut self, checked: Result<(), Broken>) {
        if let Err(broken) = checked {
            self.broken.get_or_insert(broken);
        }
    }

    pub(crate) fn pass(&mut self, millis: i64) {
        self.now_ms += millis;
        let now = self.now_ms;
        self.note(|| format!("it is {}.{:02} s", now / 1_000, now % 1_000 / 10));
    }

    /// Returns the time by the processes' clocks.
    pub(crate) fn process_time(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_millis(self.now_ms)
    }

    /// Returns the time by the database's clock.
    pub(crate) fn database_time(&self) -> Timestamp {
        at(self.now_ms / 1_000 + self.database_ahead)
    }

    /// Returns the time by the clock of the server that leads the partition.
    pub(crate) fn append_time(&self, partition: usize) -> Timestamp {
        at(self.now_ms / 1_000 + self.brokers_ahead[partition])
    }

    pub(crate) fn is_discarded(&self) -> bool {
        self.template.status == TemplateStatus::Discarded
    }

    /// A template that was discarded before its first issue never gets a gate.
    pub(crate) fn needs_no_gate(&self) -> bool {
        self.is_discarded() && self.gate().is_none()
    }

    pub(crate) fn discard(&mut self) {
        self.template.status = TemplateStatus::Discarded;
        self.note(|| "the template is discarded".into());
    }

    /// Returns whether the gate is being moved.
    pub(crate) fn is_sealing(&self) -> bool {
        let is_sealing = |gate: &Gate| gate.state == GateState::Sealing;
        self.gate().is_some_and(is_sealing)
    }

    pub(crate) fn note_running(&mut self, actor: Actor, runs: bool) {
        if runs {
            self.running.insert(actor);
        } else {
            self.running.remove(&actor);
        }
    }

    /// Returns the requests that run at a partner.
    pub(crate) fn requests_of(&self, process: ProcessId) -> Vec<Actor> {
        let is_of = |actor: &&Actor| match actor {
            Actor::Request(number) => self.requests[*number].process == process,
            _ => false,
        };
        self.running.iter().filter(is_of).copied().collect()
    }

    /// Ends a process's life: what it sent may still arrive, and no reply reaches it.
    pub(crate) fn kill(&mut self, process: ProcessId) {
        let dead = &mut self.processes[process];
        dead.deaths += 1;
        dead.connection = None;
        self.note(|| format!("{} dies", process_name(process)));
    }
}

/// The world, as the processes in it share it.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(crate) fn new(removed: &[Guard], size: Size, budget: Budget) -> Self {
        Self(Arc::new(Mutex::new(World::new(removed, size, budget))))
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn process_name(process: ProcessId) -> String {
    match process.checked_sub(PARTNERS) {
        None => format!("partner {process}"),
        Some(issuer) => format!("issuer {issuer}"),
    }
}

/// Returns the instant that many seconds after the beginning.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

/// Returns the seconds since the beginning, for the story.
pub(crate) fn seconds(at: Timestamp) -> i64 {
    at.as_second()
}

/// A user is one letter.
pub(crate) fn user_id(user: u8) -> String {
    char::from(user).to_string()
}

/// The user is all that a body says.
pub(crate) fn keyed(key: u8, user: u8) -> KeyDigests {
    KeyDigests {
        key: [key; 16],
        body: [user; 16],
    }
}

/// Returns the number of the request that drew the coupon's id.
pub(crate) fn request_of(coupon: CouponId) -> usize {
    let [.., high, low] = coupon.to_bytes();
    usize::from(u16::from_be_bytes([high, low]))
}

pub(crate) const TEMPLATE: TemplateId = TemplateId(1);
pub(crate) const MERCHANT: MerchantId = MerchantId(1);

fn template(places: i64) -> Template {
    Template {
        id: TEMPLATE,
        merchant_id: MERCHANT,
        terms: Terms {
            name: "T".into(),
            description: String::new(),
            min_order_amount: None,
            discount: Discount::FixedAmount { amount: 1 },
            period: Period {
                issue_start_at: at(0),
                issue_end_at: None,
                validity_days: None,
                absolute_expires_at: None,
            },
            limit: Limit::IssueCount(places),
        },
        status: TemplateStatus::Issuable,
        issue_count: 0,
        redeem_count: 0,
        created_at: at(0),
        discard_reason: None,
    }
}
