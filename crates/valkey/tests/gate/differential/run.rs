//! The random actions of one seed.
//!
//! A server's clock cannot be set. Instead, before each action its keys are given the ages of the reference: expired keys
//! are deleted, reservations are overdue by thousands of seconds or not due for an hour, and a check of the server's
//! identity that is too old is set far in the past. So no answer depends on the speed of the test.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Closed, Due, Epoch, InstallResult, IssueEvent, KeptSuccess, KeyDigests, Taken},
    id::CouponId,
};
use goodpon_gate_model::gate::{
    self as model, Confirmation, Digest, HELP_EVERY_MS, LOADED_KEPT_MS, Request, Store,
};
use goodpon_valkey::{Bound, Valkey, user_digest};
use jiff::{SignedDuration, Timestamp};
use redis::aio::MultiplexedConnection;
use tokio::time::timeout;

use super::{
    held::{Held, ask},
    terms,
};
use crate::{
    scene::{self, ANSWERS, GATE, SOON, answer_of, now},
    server::Server,
};

const USERS: [&str; 4] = ["a", "b", "c", "d"];

/// A step of the reference's clock in milliseconds, and the factor by which the server's keys are aged more.
const STEP_MS: i64 = 10_000;
const STRETCH: i64 = 1_000;
const HOUR_MS: i64 = 3_600_000;

/// The server and the reference, with the state of the run.
pub struct Run<'a> {
    server: &'a Server,
    valkey: Valkey,
    connection: MultiplexedConnection,
    front: String,
    chance: u64,
    spare: bool,
    store: Store,
    clock_ms: i64,
    now: Timestamp,
    coupons: u8,
    /// The pairs so far: the current one is last, and the others have older identities of the same server.
    bounds: Vec<Bound>,
    /// The epochs that were loaded, even without users, each with the time in milliseconds until which the load lasts.
    loads: BTreeMap<Epoch, i64>,
    pub seen: BTreeMap<&'static str, usize>,
}

impl<'a> Run<'a> {
    pub async fn new(server: &'a Server, valkey: Valkey, seed: u64, spare: bool) -> Self {
        let bound = valkey.bound_within(SOON).await.unwrap();
        Self {
            server,
            connection: server.connect().await,
            front: format!("goodpon:{{seed-{seed}:7:0}}:"),
            valkey,
            chance: seed,
            spare,
            store: Store::new(bound.server(), HOUR_MS),
            clock_ms: HOUR_MS,
            now: now(),
            coupons: 0,
            bounds: vec![bound],
            loads: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Draws a number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        let at = self.below(choices.len() as u64);
        choices[usize::try_from(at).unwrap()]
    }

    /// Picks the current pair in most cases, and else the one before.
    fn a_bound(&mut self) -> Bound {
        let last = self.bounds.len() - 1;
        let older = self.below(12) == 0 && last > 0;
        self.bounds[last - usize::from(older)].clone()
    }

    /// Picks the installed epoch in most cases, and else its neighbour.
    fn an_epoch(&mut self) -> Epoch {
        let installed = self.store.installed().map_or(0, |gate| gate.epoch.0);
        let step = self.one_of(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, -1]);
        Epoch((installed + step).max(0))
    }

    fn a_key(&mut self) -> KeyDigests {
        let (key, body) = (self.one_of(&[1, 2, 3, 4]), self.one_of(&[1, 1, 1, 2]));
        KeyDigests {
            key: [key; 16],
            body: [body; 16],
        }
    }

    fn maybe_a_key(&mut self) -> Option<KeyDigests> {
        let keyed = self.a_key();
        (self.below(2) == 0).then_some(keyed)
    }

    /// Does one random action on both sides, and compares.
    pub async fn act(&mut self) {
        let ages = self.impose_time().await;
        let began = self.server_clock().await;
        match self.below(40) {
            0..18 => self.take().await,
            18..26 => self.confirm().await,
            26..28 => self.open().await,
            28..30 => self.load_or_install().await,
            30..32 => self.look().await,
            32..34 => self.pending().await,
            34 => self.remember().await,
            35 => self.fold().await,
            36..38 => self.time_passes().await,
            38 => self.change_identity().await,
            _ => self.lose().await,
        }
        self.compare(&ages, began).await;
    }

    async fn server_clock(&mut self) -> i64 {
        let (seconds, micros): (i64, i64) = ask(&mut self.connection, "TIME", &[]).await;
        seconds * 1000 + micros / 1000
    }

    /// Gives the server's keys the ages of the reference. Returns for each reservation the time at which it is due, in the
    /// reference's and in the server's milliseconds.
    async fn impose_time(&mut self) -> BTreeMap<Digest, (i64, i64)> {
        let mut ages = BTreeMap::new();
        let clock = self.server_clock().await;
        let contents = self.store.contents();
        let Some(gate) = &contents.installed else {
            return ages;
        };
        for (at, user) in &gate.due {
            let late = self.clock_ms - at;
            let score = if late < 0 {
                clock + HOUR_MS
            } else {
                clock - late * STRETCH
            };
            ages.insert(*user, (*at, score));
            let z = format!("{}z:{}", self.front, gate.epoch);
            let score = score.to_string();
            let words = [z.as_bytes(), b"XX", score.as_bytes(), user];
            let _: i64 = ask(&mut self.connection, "ZADD", &words).await;
        }
        if self.clock_ms - gate.checked_ms > model::SERVER_BELIEVED_MS {
            let g = format!("{}g", self.front);
            let words = [g.as_bytes(), b"checked_ms", b"0"];
            let _: i64 = ask(&mut self.connection, "HSET", &words).await;
        }
        ages
    }

    async fn compare(&mut self, ages: &BTreeMap<Digest, (i64, i64)>, began: i64) {
        let ended = self.server_clock().await;
        let (held, due) = Held::read(&mut self.connection, &self.front).await;
        assert_eq!(held, Held::expected(&self.store.contents()));
        let Some(gate) = self.store.installed() else {
            return;
        };
        let from_now = began + HELP_EVERY_MS..=ended + HELP_EVERY_MS;
        for (at, user) in &gate.due {
            let score = due[user];
            match ages.get(user) {
                Some((before, imposed)) if before == at => assert_eq!(score, *imposed),
                _ => assert!(from_now.contains(&score), "{score} is not in {from_now:?}"),
            }
        }
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn event(&mut self, epoch: Epoch) -> IssueEvent {
        let user = self.one_of(&USERS);
        let pending: Vec<_> = self.store.installed().map_or(vec![], |gate| {
            gate.pending
                .values()
                .map(|pending| pending.coupon_id)
                .collect()
        });
        // Some requests repeat the coupon id of a reservation, their user's or another's.
        let again = !pending.is_empty() && self.below(4) == 0;
        let coupon_id = if again {
            self.one_of(&pending)
        } else {
            self.coupons = self.coupons.wrapping_add(1);
            CouponId::from_bytes([self.coupons; 16])
        };
        IssueEvent {
            coupon_id,
            template_id: GATE.template,
            epoch,
            user_id: user.into(),
            accepted_at: self.now,
            keyed: self.maybe_a_key(),
            valid_until: self.now + SignedDuration::from_secs(6),
        }
    }

    async fn take(&mut self) {
        let (bound, epoch) = (self.a_bound(), self.an_epoch());
        let event = self.event(epoch);
        let verdict = (self.below(10) == 0).then_some(IssueRefusal::NotIssuablePeriod);
        let expected = self.store.take(
            bound.server(),
            &Request {
                epoch,
                user: user_digest(&event.user_id),
                user_id: &event.user_id,
                keyed: event.keyed,
                verdict,
                coupon_id: event.coupon_id,
                accepted_at: event.accepted_at,
                now: self.now,
                spare: self.spare,
            },
        );
        let expected = self.taken(expected, &event);
        let taken = bound
            .take(GATE, &event, verdict, ANSWERS, self.now)
            .await
            .unwrap();
        assert_eq!(taken, expected, "{event:?}");
    }

    fn taken(&mut self, taken: model::Taken, event: &IssueEvent) -> Taken {
        let (kind, taken) = terms::taken(taken, event);
        self.saw(kind);
        taken
    }

    async fn confirm(&mut self) {
        let (bound, epoch) = (self.a_bound(), self.an_epoch());
        let mut events: Vec<IssueEvent> = self.store.installed().map_or(vec![], |gate| {
            let pending = gate.pending.values();
            pending
                .map(|it| it.event(GATE.template, epoch, self.now))
                .collect()
        });
        // Some of the reservations, one of them twice, and an event without a reservation.
        let skip = usize::try_from(self.below(3)).unwrap();
        events.drain(..skip.min(events.len()));
        events.extend(events.first().cloned());
        let mut unreserved = self.event(epoch);
        unreserved.coupon_id = CouponId::from_bytes([0xff; 16]);
        events.push(unreserved);
        let confirmations: Vec<_> = events
            .iter()
            .map(|event| Confirmation {
                user: user_digest(&event.user_id),
                coupon_id: event.coupon_id,
            })
            .collect();
        let expected = self
            .store
            .confirm(bound.server(), epoch, &confirmations, self.now);
        let done = bound
            .confirm(GATE, epoch, &scene::confirmations(&events), self.now)
            .await
            .unwrap();
        assert_eq!(done, expected, "{events:?}");
        if done.contains(&true) {
            self.saw("confirmed");
        }
    }

    /// Opens the next epoch in the usual way: loads holders, and installs it.
    async fn open(&mut self) {
        let next = self
            .store
            .installed()
            .map_or(Epoch(1), |gate| gate.epoch.next());
        let users: Vec<Digest> = (0..self.below(3))
            .map(|_| user_digest(self.one_of(&USERS)))
            .collect();
        let bound = self.a_bound();
        self.load(&bound, next, &users).await;
        let loading = self.store.contents().loading.remove(&next);
        let loaded = loading.map_or(0, |loading| loading.holders.len());
        let cap = self.one_of(&[0, 1, 2, 3]);
        self.install(&bound, next, cap, loaded).await;
    }

    /// Loads or installs an epoch that may not be the next, with a count of users that may be wrong.
    async fn load_or_install(&mut self) {
        let (bound, epoch) = (self.a_bound(), self.an_epoch().next());
        let user = user_digest(self.one_of(&USERS));
        if self.below(2) == 0 {
            self.load(&bound, epoch, &[user]).await;
        } else {
            let loaded = self.one_of(&[0, 1]);
            self.install(&bound, epoch, 2, loaded).await;
        }
    }

    async fn load(&mut self, bound: &Bound, epoch: Epoch, users: &[Digest]) {
        let kept = self.maybe_a_key().map(|keyed| KeptSuccess {
            keyed,
            stored_at: self.now,
            rest: Duration::from_hours(20),
            answer: answer_of(Ok(())),
        });
        let success = kept.map(|kept| model::KeptSuccess {
            keyed: kept.keyed,
            stored_at: kept.stored_at,
            rest_ms: 20 * HOUR_MS,
        });
        let expected = self
            .store
            .load(bound.server(), epoch, users, success.as_slice());
        let loaded = bound
            .load(GATE, epoch, users, kept.as_slice())
            .await
            .unwrap();
        assert_eq!(loaded, self.installation(expected));
        if loaded == InstallResult::Done {
            self.loads.insert(epoch, self.clock_ms + LOADED_KEPT_MS);
        }
    }

    async fn install(&mut self, bound: &Bound, epoch: Epoch, cap: i64, loaded: usize) {
        let installed = bound.install(GATE, epoch, cap, 9, loaded).await.unwrap();
        let expected = self.store.install(bound.server(), epoch, cap, 9, loaded);
        assert_eq!(installed, self.installation(expected));
        if installed == InstallResult::Done {
            assert!(self.loads.remove(&epoch).is_some());
        }
    }

    fn installation(&mut self, installation: model::InstallResult) -> InstallResult {
        let (kind, installation) = terms::installation(installation);
        self.saw(kind);
        installation
    }

    async fn look(&mut self) {
        let (bound, epoch, keyed) = (self.a_bound(), self.an_epoch(), self.maybe_a_key());
        let user = self.one_of(&USERS);
        let digest = Some(user_digest(user));
        let expected = self
            .store
            .look(bound.server(), epoch, digest, keyed, self.now);
        let mut look = bound
            .look(GATE, epoch, Some(user), keyed, self.now)
            .await
            .unwrap();
        if let Ok(counts) = &mut look.gate {
            counts.confirmed_at = None;
        }
        assert_eq!(look, terms::look(expected));
    }

    async fn pending(&mut self) {
        let (bound, epoch) = (self.a_bound(), self.an_epoch());
        let (age_ms, limit) = (self.one_of(&[0, 15_000]), self.one_of(&[1, 9]));
        let expected = self
            .store
            .pending(bound.server(), epoch, age_ms, limit)
            .map_err(|epoch| Closed { epoch });
        let event = |it: &model::Pending| it.event(GATE.template, epoch, Timestamp::UNIX_EPOCH);
        let expected = expected.map(|found| Due {
            events: found.iter().map(event).collect(),
            unreadable: 0,
        });
        let age = Duration::from_millis((age_ms * STRETCH).unsigned_abs());
        let asked = bound.pending(GATE, epoch, age, usize::from(limit as u8));
        assert_eq!(asked.await.unwrap(), expected);
        if expected.is_ok_and(|found| !found.events.is_empty()) {
            self.saw("pending");
        }
    }

    async fn remember(&mut self) {
        let (epoch, keyed) = (self.an_epoch(), self.a_key());
        let verdict = IssueRefusal::NotOwnedByMerchant;
        let bound = self.a_bound();
        let remembered = bound
            .remember(
                GATE,
                epoch,
                keyed,
                verdict,
                answer_of(Err(verdict)),
                self.now,
            )
            .await
            .unwrap();
        if let Taken::Closed(closed) = remembered {
            // The reference does not look at the gate here. A newer one may have a reservation of the key.
            assert_eq!(closed.epoch, self.store.installed().map(|gate| gate.epoch));
            assert!(closed.epoch > Some(epoch));
            return;
        }
        let expected = self.store.remember(keyed, verdict, self.now);
        let no_event = self.event(epoch);
        assert_eq!(remembered, self.taken(expected, &no_event));
    }

    async fn fold(&mut self) {
        let epoch = self.an_epoch();
        let (kind, expected) = terms::folding(self.store.fold(epoch));
        self.saw(kind);
        assert_eq!(self.a_bound().fold(GATE, epoch).await.unwrap(), expected);
    }

    /// Lets time pass for the server, and sometimes for callers too.
    async fn time_passes(&mut self) {
        if self.below(3) == 0 {
            self.now += SignedDuration::from_hours(13);
        }
        self.clock_ms += match self.below(8) {
            0 => 13 * HOUR_MS,
            _ => STEP_MS,
        };
        self.store.set_clock(self.clock_ms);
        self.expire().await;
    }

    /// Gives the server another identity with the same data, like a promotion or a restore.
    async fn change_identity(&mut self) {
        let before = self.valkey.bound_within(SOON).await.unwrap();
        let _: () = self.server.run("DEBUG CHANGE-REPL-ID").await;
        let found = async {
            loop {
                let bound = self.valkey.bound_within(SOON).await.unwrap();
                if bound.server() != before.server() {
                    return bound;
                }
                let _ = bound.prove_writable().await;
            }
        };
        let bound = timeout(SOON, found).await.unwrap();
        self.store.set_server(bound.server());
        self.bounds.push(bound);
        // The last check of the old identity is no longer valid.
        self.clock_ms += STEP_MS;
        self.store.set_clock(self.clock_ms);
        self.expire().await;
    }

    /// Deletes all data, in a third of the calls.
    async fn lose(&mut self) {
        if self.below(3) == 0 {
            self.store.flush();
            self.loads.clear();
            self.expire().await;
        }
    }

    /// Deletes the server's keys that the reference no longer has, because they expired or were lost.
    async fn expire(&mut self) {
        let contents = self.store.contents();
        self.loads.retain(|_, until| self.clock_ms <= *until);
        let mut alive: BTreeSet<Vec<u8>> = BTreeSet::new();
        let name = |end: String| format!("{}{end}", self.front).into_bytes();
        if let Some(gate) = &contents.installed {
            alive.insert(name("g".into()));
            alive.extend(["u", "p", "z", "q"].map(|it| name(format!("{it}:{}", gate.epoch))));
        }
        alive.extend(self.loads.keys().map(|epoch| name(format!("u:{epoch}"))));
        for key in contents.finished.keys() {
            let mut answer = name("k:".into());
            answer.extend(key);
            alive.insert(answer);
        }
        let all = format!("{}*", self.front);
        let names: Vec<Vec<u8>> = ask(&mut self.connection, "KEYS", &[all.as_bytes()]).await;
        for name in names.iter().filter(|name| !alive.contains(*name)) {
            let _: i64 = ask(&mut self.connection, "DEL", &[name]).await;
        }
    }
}
