//! A gate on a server of the test's own, with calls on it.

use std::time::Duration;

use goodpon_domain::{
    coupon::{IssueRefusal, Issued},
    gate::{
        Confirmation, Epoch, Finished, GateId, InstallResult, IssueEvent, KeyDigests,
        RefusalAnswers, Taken,
    },
    id::{CouponId, TemplateId},
};
use goodpon_valkey::{Bound, Valkey, user_digest};
use jiff::{SignedDuration, Timestamp};

use crate::server::Server;

pub const GATE: GateId = GateId {
    template: TemplateId(7),
    shard: 0,
};

/// The time limit for everything that a test waits for.
pub const SOON: Duration = Duration::from_secs(20);

/// The callers' clock, which is far from the server's.
pub fn now() -> Timestamp {
    Timestamp::from_microsecond(1_800_000_000_123_456).unwrap()
}

pub fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

pub fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}

pub fn keyed(key: u8, body: u8) -> Option<KeyDigests> {
    Some(KeyDigests {
        key: [key; 16],
        body: [body; 16],
    })
}

/// The numbers of refusals' texts, a different one for each kind.
pub const ANSWERS: RefusalAnswers = RefusalAnswers {
    verdict: Some(3),
    already_issued: Some(1),
    sold_out: Some(2),
};

/// The number of an outcome's text.
pub fn answer_of(outcome: Result<(), IssueRefusal>) -> Option<u32> {
    match outcome {
        Ok(()) => Some(4_000_000_000),
        Err(IssueRefusal::AlreadyIssued) => ANSWERS.already_issued,
        Err(IssueRefusal::SoldOut) => ANSWERS.sold_out,
        Err(_) => ANSWERS.verdict,
    }
}

/// The remembered answer of an outcome.
pub fn finished(outcome: Result<(), IssueRefusal>) -> Finished {
    Finished {
        outcome: outcome.map(|()| Issued { coupon_id: None }),
        answer: answer_of(outcome),
    }
}

/// The confirmations of these events.
pub fn confirmations(events: &[IssueEvent]) -> Vec<Confirmation> {
    let events = events.iter().cloned();
    let confirmations = events.map(|event| Confirmation {
        event,
        answer: answer_of(Ok(())),
    });
    confirmations.collect()
}

/// The event of a user's request; each request has another `coupon`.
pub fn event(user: &str, coupon: u8, keyed: Option<KeyDigests>) -> IssueEvent {
    IssueEvent {
        coupon_id: CouponId::from_bytes([coupon; 16]),
        template_id: GATE.template,
        epoch: Epoch(1),
        user_id: user.into(),
        accepted_at: now(),
        keyed,
        valid_until: now() + SignedDuration::from_secs(6),
    }
}

/// A gate of epoch 1.
pub struct Scene {
    pub server: Server,
    pub valkey: Valkey,
    pub bound: Bound,
}

impl Scene {
    /// A fresh server without a gate.
    pub async fn empty() -> Self {
        Self::on(Server::start(&[]).await).await
    }

    pub async fn on(server: Server) -> Self {
        let valkey = Valkey::open(&server.url(), "test").unwrap();
        let bound = valkey.bound_within(SOON).await.unwrap();
        Self {
            server,
            valkey,
            bound,
        }
    }

    /// A fresh server with a gate of `cap` places.
    pub async fn open(cap: i64) -> Self {
        let scene = Self::empty().await;
        scene.install(Epoch(1), cap, &[]).await;
        scene
    }

    pub async fn install(&self, epoch: Epoch, cap: i64, holders: &[&str]) {
        let users: Vec<_> = holders.iter().map(|user| user_digest(user)).collect();
        let loaded = self.bound.load(GATE, epoch, &users, &[]).await.unwrap();
        assert_eq!(loaded, InstallResult::Done);
        let base = holders.len();
        let installed = self
            .bound
            .install(GATE, epoch, cap, i64::try_from(base).unwrap(), base)
            .await
            .unwrap();
        assert_eq!(installed, InstallResult::Done);
    }

    pub async fn take(&self, event: &IssueEvent) -> Taken {
        self.bound
            .take(GATE, event, None, ANSWERS, now())
            .await
            .unwrap()
    }

    pub async fn refuse(&self, event: &IssueEvent, verdict: IssueRefusal) -> Taken {
        let verdict = Some(verdict);
        self.bound
            .take(GATE, event, verdict, ANSWERS, now())
            .await
            .unwrap()
    }

    pub async fn confirm(&self, events: &[IssueEvent]) -> Vec<bool> {
        let epoch = events[0].epoch;
        self.bound
            .confirm(GATE, epoch, &confirmations(events), now())
            .await
            .unwrap()
    }

    /// Takes a place and confirms it.
    pub async fn issue(&self, event: &IssueEvent) {
        assert!(matches!(self.take(event).await, Taken::Reserved { .. }));
        assert_eq!(self.confirm(std::slice::from_ref(event)).await, [true]);
    }

    /// The numbers of given and of confirmed places.
    pub async fn counts(&self) -> (i64, i64) {
        let look = self.bound.look(GATE, Epoch(1), None, None, now());
        let counts = look.await.unwrap().gate.unwrap();
        (counts.spent, counts.confirmed)
    }

    /// The name of a key of the gate.
    pub fn name(end: &str) -> String {
        format!("goodpon:{{test:7:0}}:{end}")
    }

    /// Makes a reservation due for help since `since`; a negative duration makes it due later.
    pub async fn make_due(&self, user: &str, since: SignedDuration) {
        let at = self.clock().await - i64::try_from(since.as_millis()).unwrap();
        let mut zadd = redis::cmd("ZADD");
        zadd.arg(Self::name("z:1")).arg("XX").arg(at);
        zadd.arg(&user_digest(user)[..]);
        let mut connection = self.server.connect().await;
        zadd.query_async::<()>(&mut connection).await.unwrap();
    }

    /// When a reservation is due for help, by the server's clock in milliseconds.
    pub async fn due_at(&self, user: &str) -> i64 {
        let mut zscore = redis::cmd("ZSCORE");
        zscore.arg(Self::name("z:1")).arg(&user_digest(user)[..]);
        let mut connection = self.server.connect().await;
        zscore.query_async(&mut connection).await.unwrap()
    }

    /// The server's clock, in milliseconds.
    pub async fn clock(&self) -> i64 {
        let (seconds, micros): (i64, i64) = self.server.run("TIME").await;
        seconds * 1000 + micros / 1000
    }

    /// The names of the gate's keys, without finished answers.
    pub async fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.server.run("KEYS *:[gupzq]*").await;
        names.sort();
        names
    }
}
