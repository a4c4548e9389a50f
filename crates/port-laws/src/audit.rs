//! Laws of [`goodpon_application::ports::Health`], and the law that any mix of actions adds up (ARCHITECTURE.md, what
//! must always hold).

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use goodpon_application::{
    idempotency::{Answer, Idempotency, Outcome},
    ports::RedeemRequest,
};
use goodpon_domain::{
    coupon::CouponStatus,
    history::HistoryEntry,
    id::{CouponId, TemplateId},
    ledger::HistoryAction,
    template::{Limit, Terms},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    World,
    scene::{Choices, Shop, at_once, cancel_request, issue_request, order, unique_key},
};

const ACTORS: usize = 24;
const STEPS: usize = 40;
const USERS: usize = 10;
const ORDERS: [&str; 2] = ["o", "p"];

/// Every server that the store needs answers, and the audit finds nothing in a fresh store.
pub async fn every_dependency_answers(world: &World) {
    let dependencies = world.stores.health.check().await;
    assert!(!dependencies.is_empty());
    for dependency in dependencies {
        assert_eq!(dependency.problem, None, "{}", dependency.name);
    }
    world.audited().await;
}

/// The things that the actors of one run share.
struct Stage {
    shop: Shop,
    templates: Vec<TemplateId>,
    /// The template that is discarded midway.
    doomed: TemplateId,
    discarded_by: Mutex<Option<Timestamp>>,
    /// Part of every key, so that runs do not use each other's.
    salt: [u8; 16],
    coupons: Mutex<Vec<(CouponId, String)>>,
    issued: AtomicUsize,
    redeemed: AtomicUsize,
    cancelled: AtomicUsize,
}

impl Stage {
    async fn set(world: &World) -> Self {
        let shop = world.shop().await;
        // Every reading of the clock is a microsecond, so this ends while the actors are at it.
        let soon = world.ending_in(SignedDuration::from_micros(1_500));
        let templates = [
            world.limited(Limit::IssueCount(7)),
            world.limited(Limit::RedeemCount(3)),
            Terms {
                limit: Limit::RedeemCount(2),
                ..soon
            },
            world.limited(Limit::RedeemCount(2)),
            world.terms(),
        ];
        let mut ids = Vec::new();
        for terms in templates {
            ids.push(world.published(&shop, terms).await);
        }
        Self {
            shop,
            doomed: ids[3],
            templates: ids,
            discarded_by: Mutex::default(),
            salt: unique_key(),
            coupons: Mutex::default(),
            issued: AtomicUsize::new(0),
            redeemed: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
        }
    }

    /// Adds to the mix what chance may leave out: a coupon for the discard, and one that is redeemed and cancelled, of
    /// users whom the actors leave alone.
    async fn set_sure(&self, world: &World) {
        let users = sure_users();
        world.issued(&self.shop, self.doomed, &users[0]).await;
        let coupon = world.issued(&self.shop, self.templates[4], &users[1]).await;
        let order = order(&users[1], ORDERS[0], 5_000);
        world.redeem(self.shop.id, coupon.id, order).await.unwrap();
        let cancelled = world.cancel(self.shop.id, coupon.id, ORDERS[0]).await;
        cancelled.unwrap();
        self.issued.fetch_add(2, Ordering::SeqCst);
        self.redeemed.fetch_add(1, Ordering::SeqCst);
        self.cancelled.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns a key for a request, the same for two actors that ask the same; or none.
    fn key<T>(&self, choices: &mut Choices, asked: impl Hash) -> Option<Idempotency<T>> {
        let slot = choices.below(4);
        let mut hasher = DefaultHasher::new();
        (self.salt, asked, slot).hash(&mut hasher);
        let mut key = self.salt;
        key[..8].copy_from_slice(&hasher.finish().to_be_bytes());
        let render = |_: &T| Answer {
            status: 200,
            body: Bytes::from_static(b"{}"),
        };
        let idempotency = Idempotency {
            key,
            body: [0; 16],
            render: Arc::new(render),
        };
        (slot > 1).then_some(idempotency)
    }

    fn any_coupon(&self, choices: &mut Choices) -> Option<(CouponId, String)> {
        let coupons = self.coupons.lock().unwrap();
        (!coupons.is_empty()).then(|| coupons[choices.below(coupons.len())].clone())
    }

    async fn issue(&self, world: &World, choices: &mut Choices) {
        let template = self.templates[choices.below(self.templates.len())];
        let user = format!("user-{}", choices.below(USERS));
        let key = self.key(choices, ("issue", template, &user));
        let request = issue_request(self.shop.id, template, &user);
        note(
            world.stores.gate.issue(request, key).await.unwrap(),
            &self.issued,
        );
        let held = world.in_hand(self.shop.id, &user).await;
        let mut coupons = self.coupons.lock().unwrap();
        for coupon in held {
            if !coupons.iter().any(|(id, _)| *id == coupon.id) {
                coupons.push((coupon.id, user.clone()));
            }
        }
    }

    async fn redeem(&self, world: &World, choices: &mut Choices) {
        let Some((coupon_id, user)) = self.any_coupon(choices) else {
            return;
        };
        let id = ORDERS[choices.below(2)];
        let key = self.key(choices, ("redeem", coupon_id, id));
        let request = RedeemRequest {
            merchant_id: self.shop.id,
            coupon_id,
            order: order(&user, id, 5_000),
        };
        note(
            world.stores.coupons.redeem(request, key).await.unwrap(),
            &self.redeemed,
        );
    }

    async fn cancel(&self, world: &World, choices: &mut Choices) {
        let Some((coupon_id, _)) = self.any_coupon(choices) else {
            return;
        };
        let id = ORDERS[choices.below(2)];
        let key = self.key(choices, ("cancel", coupon_id, id));
        let request = cancel_request(self.shop.id, coupon_id, id);
        note(
            world.stores.coupons.cancel(request, key).await.unwrap(),
            &self.cancelled,
        );
    }

    async fn discard(&self, world: &World) {
        let discarded = world
            .stores
            .templates
            .discard(self.shop.id, self.shop.owner, self.doomed, "r".into())
            .await;
        assert!(discarded.unwrap().is_ok());
        *self.discarded_by.lock().unwrap() = Some(world.now());
    }

    async fn act(&self, world: &World, actor: usize) {
        let mut choices = Choices(actor as u64);
        for step in 0..STEPS {
            if (actor, step) == (0, STEPS / 2) {
                self.discard(world).await;
            }
            match choices.below(16) {
                0..=4 => self.issue(world, &mut choices).await,
                5..=9 => self.redeem(world, &mut choices).await,
                10..=12 => self.cancel(world, &mut choices).await,
                13 => assert!(world.stores.upkeep.expire_coupons(2).await.is_ok()),
                14 => assert!(world.stores.upkeep.discard_coupons(2).await.is_ok()),
                _ => assert!(world.stores.upkeep.expire_templates(2).await.is_ok()),
            }
        }
    }
}

fn sure_users() -> [String; 2] {
    ["sure-of-a-discard", "sure-of-a-cancellation"].map(String::from)
}

/// Counts a request that went through now; replays and requests that met themselves do not count.
fn note<T, R>(outcome: Outcome<Result<T, R>>, count: &AtomicUsize) {
    match outcome {
        Outcome::Ran(Ok(_)) => {
            count.fetch_add(1, Ordering::SeqCst);
        }
        Outcome::Ran(Err(_)) | Outcome::Replayed(_) | Outcome::Processing => {}
        Outcome::PayloadMismatch => panic!("the same body matches"),
    }
}

/// Returns the state after an action, and panics at an impossible one.
fn after(state: Option<CouponStatus>, entry: &HistoryEntry) -> CouponStatus {
    use CouponStatus::{Discarded, Expired, Issued, Redeemed};
    match (state, entry.action) {
        (None, HistoryAction::Issue) => Issued,
        (Some(Issued), HistoryAction::Redeem) => Redeemed,
        (Some(Redeemed), HistoryAction::CancelRedemption) => Issued,
        (Some(Issued), HistoryAction::Expire) => Expired,
        (Some(Issued), HistoryAction::Discard) => Discarded,
        (state, action) => panic!("{action:?} of a coupon in state {state:?}: {entry:?}"),
    }
}

/// Plays the ledger through: every step is possible, and no limit is broken at any moment of it.
fn replay(
    ledger: &[HistoryEntry],
    limits: &BTreeMap<TemplateId, Limit>,
    in_order: bool,
) -> BTreeMap<CouponId, (TemplateId, CouponStatus)> {
    let mut coupons: BTreeMap<CouponId, (TemplateId, CouponStatus)> = BTreeMap::new();
    let mut owners = HashSet::new();
    for (place, entry) in ledger.iter().enumerate() {
        let state = coupons.get(&entry.coupon_id).map(|(_, state)| *state);
        coupons.insert(entry.coupon_id, (entry.template_id, after(state, entry)));
        if entry.action == HistoryAction::Issue {
            let owner = (entry.template_id, entry.user_id.clone());
            assert!(owners.insert(owner), "two coupons for one user: {entry:?}");
        }
        if !in_order && place + 1 < ledger.len() {
            continue;
        }
        for (template, limit) in limits {
            let of_it: Vec<_> = coupons.values().filter(|(id, _)| id == template).collect();
            let redeemed = of_it
                .iter()
                .filter(|(_, state)| *state == CouponStatus::Redeemed)
                .count();
            let max = |max: Option<i64>| max.unwrap_or(i64::MAX);
            assert!(
                of_it.len() as i64 <= max(limit.max_issue_count()),
                "issued, at {entry:?}"
            );
            assert!(
                redeemed as i64 <= max(limit.max_redeem_count()),
                "redeemed, at {entry:?}"
            );
        }
    }
    coupons
}

/// Hundreds of issues, redemptions, cancellations, sweeps and a discard at once, some with keys, on few places:
/// afterwards answers, ledger, counters and hands agree, and no limit was ever broken.
pub async fn any_mix_of_actions_adds_up(world: &World) {
    let stage = Arc::new(Stage::set(world).await);
    world.clock.step_by(1);
    stage.set_sure(world).await;
    at_once(world, ACTORS, |world, actor| {
        let stage = Arc::clone(&stage);
        async move { stage.act(&world, actor).await }
    })
    .await;
    world.clock.step_by(0);
    world.clock.advance(SignedDuration::from_secs(1));
    world.swept().await;
    world.audited().await;

    let ledger = world.ledger(stage.shop.id).await;
    let counted = |action| ledger.iter().filter(|entry| entry.action == action).count();
    let answered = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    assert_eq!(
        counted(HistoryAction::Issue),
        answered(&stage.issued),
        "issues answered"
    );
    assert_eq!(
        counted(HistoryAction::Redeem),
        answered(&stage.redeemed),
        "redemptions answered"
    );
    let cancelled = counted(HistoryAction::CancelRedemption);
    assert_eq!(
        cancelled,
        answered(&stage.cancelled),
        "cancellations answered"
    );
    assert!(
        cancelled > 0 && counted(HistoryAction::Discard) > 0,
        "the mix has all in it"
    );

    let mut limits = BTreeMap::new();
    for id in &stage.templates {
        limits.insert(*id, world.template(&stage.shop, *id).await.terms.limit);
    }
    let coupons = replay(&ledger, &limits, !world.entries_may_come_late);
    counters_agree(world, &stage, &coupons).await;
    hands_agree(world, &stage, &coupons).await;
    nothing_after_the_discard(world, &stage, &ledger);
}

async fn counters_agree(
    world: &World,
    stage: &Stage,
    coupons: &BTreeMap<CouponId, (TemplateId, CouponStatus)>,
) {
    for id in &stage.templates {
        let states = coupons
            .values()
            .filter(|(template, _)| template == id)
            .map(|(_, state)| *state);
        let states: Vec<_> = states.collect();
        let redeemed = states
            .iter()
            .filter(|state| **state == CouponStatus::Redeemed)
            .count();
        let template = world.template(&stage.shop, *id).await;
        assert_eq!(template.redeem_count, redeemed as i64, "redeemed of {id}");
        let standing = world.stores.gate.standing(&template, None).await.unwrap();
        assert_eq!(standing.issue_count, states.len() as i64, "issued of {id}");
    }
}

async fn hands_agree(
    world: &World,
    stage: &Stage,
    coupons: &BTreeMap<CouponId, (TemplateId, CouponStatus)>,
) {
    let mut held = HashSet::new();
    let actors_users = (0..USERS).map(|number| format!("user-{number}"));
    for user in actors_users.chain(sure_users()) {
        let hand = world.in_hand(stage.shop.id, &user).await;
        held.extend(hand.into_iter().map(|coupon| coupon.id));
    }
    let issued = coupons
        .iter()
        .filter(|(_, (_, state))| *state == CouponStatus::Issued);
    let issued: HashSet<_> = issued.map(|(id, _)| *id).collect();
    assert_eq!(held, issued, "coupons in hand");
}

/// From the answer to a discard on nothing of the template is issued or redeemed (scaled out, seconds later).
fn nothing_after_the_discard(world: &World, stage: &Stage, ledger: &[HistoryEntry]) {
    let discarded_by = stage
        .discarded_by
        .lock()
        .unwrap()
        .expect("it was discarded");
    let late = ledger.iter().filter(|entry| {
        entry.template_id == stage.doomed
            && entry.recorded_at > discarded_by
            && matches!(entry.action, HistoryAction::Issue | HistoryAction::Redeem)
    });
    assert!(
        world.entries_may_come_late || late.count() == 0,
        "used after its discard"
    );
}
