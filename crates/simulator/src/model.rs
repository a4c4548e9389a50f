//! The scaled-out issue path of one template as a model: the database, a log of two partitions, Valkey servers,
//! partners' attempts, issuers, openers and the reconciler.
//!
//! Every transaction, script call and message is one [`Action`], and actions interleave freely; a pause is an action
//! that comes late. What partners, issuers and openers decide is decided by the very functions of
//! [`goodpon_domain::gate`], and Valkey is [`crate::gate::Store`]. Time goes by seconds. Not modelled: shards,
//! operators' work on parked events, the end of a gate's life, verdicts where no gate was ever opened, the end of a
//! key's 24 hours. Assumed: a server that is demoted and promoted again takes longer for it than a script believes it
//! to be who it was, and the clocks of brokers and database go back by a second each.

mod action;
mod issuer;
mod opener;
mod partner;
mod settle;
mod truth;
mod valkey;

use goodpon_domain::{
    gate::{Gate, Keyed},
    id::{CouponId, MerchantId, TemplateId},
    template::{Discount, Limit, Period, Template, TemplateStatus, Terms},
};
use jiff::{SignedDuration, Timestamp};

pub use action::{Action, Kind};
pub use truth::Broken;
pub use valkey::Fault;

use crate::gate::Digest;
use issuer::{Database, Issuer, Record};
use opener::Opener;
use partner::{Attempt, Message};
use truth::Answered;
use valkey::{Server, Snapshot};

/// Of the log.
pub const PARTITIONS: usize = 2;

/// What keeps the protocol's promises. Each can be taken out of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A gate is open only on the server that it was installed on.
    ServerBinding,
    /// A server is known by its replication id too, not by its run id alone.
    ReplicationId,
    /// A gate is open only to who read its very epoch.
    Epoch,
    /// An epoch opens when nothing of the older ones can become a coupon any more.
    Seal,
    /// A seal waits for [`goodpon_domain::gate::CLOCK_TOLERANCE`] longer.
    ClockTolerance,
    /// A bump is stamped after it was committed.
    StampAfterBump,
    /// A success is answered when the log has acknowledged the event.
    Acknowledgement,
    /// Partner and issuer hold the append time against `valid_until`.
    ValidUntil,
    /// An issuer writes nothing for a user who has a coupon.
    UserRow,
    /// An issuer's progress is committed with its rows.
    ProgressWithRows,
    /// An issuer whose batch another one went through writes nothing.
    ProgressCompared,
    /// An issuer writes nothing beyond the limit.
    LimitChecked,
    /// Sold out and already issued are told of what is confirmed.
    ConfirmedRefusals,
    /// Who meets a reservation that is pending publishes it again.
    Help,
    /// A new gate is told the keys of the coupons.
    KeysLoaded,
    /// A gate is installed if all users are there that were loaded.
    LoadedCounted,
    /// An epoch is installed once, by who sealed it.
    InstalledOnce,
}

impl Guard {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::ServerBinding,
        Self::ReplicationId,
        Self::Epoch,
        Self::Seal,
        Self::ClockTolerance,
        Self::StampAfterBump,
        Self::Acknowledgement,
        Self::ValidUntil,
        Self::UserRow,
        Self::ProgressWithRows,
        Self::ProgressCompared,
        Self::LimitChecked,
        Self::ConfirmedRefusals,
        Self::Help,
        Self::KeysLoaded,
        Self::LoadedCounted,
        Self::InstalledOnce,
    ];
}

/// How much of what may happen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Budget {
    /// Customers' attempts.
    pub attempts: u8,
    /// Faults of servers and clocks.
    pub faults: u8,
    /// Processes killed, replies lost.
    pub crashes: u8,
    /// Publishes that arrive twice.
    pub copies: u8,
    /// Gates given up by hand, at any time.
    pub bumps: u8,
    /// Rounds of the reconciler.
    pub helps: u8,
    /// Whether the template may be discarded.
    pub discard: bool,
}

/// The size of a world.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// The issue limit.
    pub places: i64,
    /// Customers.
    pub users: u8,
    /// Idempotency keys, shared by all of them.
    pub keys: u8,
    /// By how many seconds the clocks of the partitions' leaders are ahead at first, 0 or 1.
    pub brokers_ahead: [i64; PARTITIONS],
    /// By how many the database's is.
    pub database_ahead: i64,
}

/// What a schedule went through before the faults stopped, so that one that found nothing is known not to be an empty one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reached {
    /// A success was answered.
    pub success: bool,
    /// A second epoch was sealed.
    pub second_epoch: bool,
    /// A coupon came of an event of a later epoch than the first.
    pub later_coupon: bool,
    /// A copy came too late to count.
    pub void_copy: bool,
    /// A reservation was published by another than who made it.
    pub help: bool,
    /// Two servers lived beside each other.
    pub two_servers: bool,
    /// A finished answer was given again.
    pub replay: bool,
    /// Somebody heard that all is gone.
    pub sold_out: bool,
}

impl Reached {
    /// Each with a name.
    #[must_use]
    pub fn named(self) -> [(&'static str, bool); 8] {
        [
            ("a success", self.success),
            ("a second epoch", self.second_epoch),
            ("a coupon of a later epoch", self.later_coupon),
            ("a copy too late", self.void_copy),
            ("help", self.help),
            ("two servers in the end", self.two_servers),
            ("a replay", self.replay),
            ("sold out", self.sold_out),
        ]
    }
}

/// All of it at one moment.
#[derive(Debug, Clone)]
pub struct World {
    removed: Vec<Guard>,
    size: Size,
    template: Template,
    now: i64,
    database_ahead: i64,
    brokers_ahead: [i64; PARTITIONS],
    database: Database,
    log: [Vec<Record>; PARTITIONS],
    network: Vec<Message>,
    servers: Vec<Server>,
    snapshot: Option<Snapshot>,
    attempts: Vec<Attempt>,
    issuers: [Issuer; 2],
    openers: [Opener; 2],
    answers: Vec<Answered>,
    has_lost_answers: bool,
    coupons: u16,
    runs: u16,
    /// Milliseconds of the servers' clocks beyond the seconds.
    pulse: i64,
    budget: Budget,
    reached: Reached,
    story: Option<Vec<String>>,
}

impl World {
    /// A world where nothing has happened yet, without the guards in `removed`.
    #[must_use]
    pub fn new(removed: &[Guard], size: Size, budget: Budget) -> Self {
        Self {
            removed: removed.to_vec(),
            size,
            template: template(size.places),
            now: 0,
            database_ahead: size.database_ahead,
            brokers_ahead: size.brokers_ahead,
            database: Database::default(),
            log: [Vec::new(), Vec::new()],
            network: Vec::new(),
            servers: vec![Server::new(1, 0, removed)],
            snapshot: None,
            attempts: Vec::new(),
            issuers: Default::default(),
            openers: Default::default(),
            answers: Vec::new(),
            has_lost_answers: false,
            coupons: 0,
            runs: 1,
            pulse: 0,
            budget,
            reached: Reached::default(),
            story: None,
        }
    }

    /// Writes down from now on what happens.
    pub fn tell_story(&mut self) {
        self.story = Some(Vec::new());
    }

    /// What happened, line by line.
    #[must_use]
    pub fn story(&self) -> &[String] {
        self.story.as_deref().unwrap_or_default()
    }

    /// What was reached.
    #[must_use]
    pub fn reached(&self) -> Reached {
        self.reached
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(line());
        }
    }

    fn has(&self, guard: Guard) -> bool {
        !self.removed.contains(&guard)
    }

    /// By the database's clock.
    fn database_time(&self) -> Timestamp {
        at(self.now + self.database_ahead)
    }

    /// By the clock of the server that leads the partition.
    fn append_time(&self, partition: usize) -> Timestamp {
        at(self.now + self.brokers_ahead[partition])
    }

    fn gate(&self) -> Option<&Gate> {
        self.database.gate.as_ref()
    }

    fn next_coupon(&mut self) -> CouponId {
        self.coupons += 1;
        CouponId::from_bytes(u128::from(self.coupons).to_be_bytes())
    }
}

/// The whole seconds of the model as instants.
fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

/// Seconds behind [`at`] zero, for the story.
fn seconds(at: Timestamp) -> i64 {
    at.as_second()
}

/// A user is one byte, which is its name and fills its digest.
fn digest(user: u8) -> Digest {
    [user; 16]
}

fn user_id(user: u8) -> String {
    char::from(user).to_string()
}

fn user_of(user_id: &str) -> u8 {
    user_id.bytes().next().unwrap_or(0)
}

fn partition_of(user: u8) -> usize {
    usize::from(user) % PARTITIONS
}

/// The user is all that a body says.
fn keyed(key: u8, user: u8) -> Keyed {
    Keyed {
        key: [key; 16],
        body: digest(user),
    }
}

/// The last digits tell them apart.
fn short(coupon: CouponId) -> u16 {
    let [.., high, low] = coupon.to_bytes();
    u16::from_be_bytes([high, low])
}

fn template(places: i64) -> Template {
    Template {
        id: TemplateId(1),
        merchant_id: MerchantId(1),
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
