//! Crash rounds: load from many clients, `kill -9` at a random moment, restart, and a full account of what was answered.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::actors::{Shop, cancel_body, cancel_path, issue_path, redeem_body, redeem_path};
use crate::client::Answer;
use crate::ledger::text;
use crate::server::{Options, Server};
use crate::template::Template;
use crate::world::World;

mod audit;

/// How hard to torture.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Crashes, each with its own templates, all on one data folder.
    pub rounds: u32,
    /// Determines every choice but the scheduling of the machine.
    pub seed: u64,
    /// Shortest load before a crash, in milliseconds.
    pub shortest: u64,
    /// Longest load before a crash, in milliseconds.
    pub longest: u64,
    /// Clients at once.
    pub clients: usize,
}

impl Plan {
    /// So many rounds with the usual load.
    #[must_use]
    pub fn rounds(rounds: u32, seed: u64) -> Self {
        Self {
            rounds,
            seed,
            shortest: 300,
            longest: 800,
            clients: 24,
        }
    }
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Issue,
    Redeem,
    Cancel,
}

/// One request as its client knows it. Two attempts may share a key: then they are one request sent twice.
#[derive(Clone, Debug)]
struct Attempt {
    kind: Kind,
    path: String,
    body: Value,
    template: i64,
    user: String,
    /// Empty for an issue.
    order: String,
    key: Option<String>,
    /// The answer, where one came that settles the outcome.
    answer: Option<Answer>,
}

impl Attempt {
    async fn send(&self, shop: &Shop) -> Option<Answer> {
        let call = shop.call("POST", &self.path);
        let call = call
            .header_if("Idempotency-Key", self.key.as_deref().map(str::as_bytes))
            .json(&self.body);
        let answer = call.try_send().await.ok()?;
        // After a 5xx or a 409 the outcome is open.
        (answer.status < 500 && answer.status != 409).then_some(answer)
    }

    fn succeeded(&self) -> bool {
        self.answer
            .as_ref()
            .is_some_and(|answer| answer.status == 200)
    }
}

/// The templates of one round and their limits.
#[derive(Clone, Copy, Debug)]
struct Stage {
    /// Limited in issues.
    scarce: i64,
    scarce_limit: usize,
    /// Limited in redemptions.
    contested: i64,
    contested_limit: usize,
    /// Without limits.
    free: i64,
}

impl Stage {
    fn ids(&self) -> [i64; 3] {
        [self.scarce, self.contested, self.free]
    }
}

/// Runs all rounds and tells a progress line a round.
///
/// # Errors
/// Every violation of the first round that has one.
pub async fn run(
    plan: Plan,
    options: Options,
    mut progress: impl FnMut(&str),
) -> Result<(), String> {
    progress(&format!(
        "torture: {} rounds, seed {}",
        plan.rounds, plan.seed
    ));
    let server = Arc::new(Server::start(options));
    let world = World::on(&server).await;
    let mut rng = StdRng::seed_from_u64(plan.seed);
    for round in 1..=plan.rounds {
        let line = one_round(&world, &plan, round, &mut rng)
            .await
            .map_err(|violations| format!("round {round}, seed {}:\n{violations}", plan.seed))?;
        progress(&format!("round {round}/{}: {line}", plan.rounds));
    }
    Ok(())
}

async fn one_round(
    world: &World,
    plan: &Plan,
    round: u32,
    rng: &mut StdRng,
) -> Result<String, String> {
    let stage = set_stage(world, rng).await;
    let journal: Arc<Mutex<Vec<Attempt>>> = Arc::default();
    let clients: Vec<_> = (0..plan.clients)
        .map(|number| {
            let client = LoadClient {
                shop: world.shop.clone(),
                stage,
                name: format!("r{round}-c{number}"),
                rng: StdRng::seed_from_u64(rng.random()),
                journal: Arc::clone(&journal),
                serial: 0,
            };
            tokio::spawn(client.run())
        })
        .collect();
    let load = rng.random_range(plan.shortest..=plan.longest);
    tokio::time::sleep(Duration::from_millis(load)).await;
    world.server().kill9();
    for client in join_all(clients).await {
        client.map_err(|error| format!("a client failed: {error}"))?;
    }
    world.server().restart();

    let journal = std::mem::take(&mut *journal.lock().unwrap());
    let mut violations = String::new();
    let tally = audit::round(world, &stage, &journal, &mut violations).await;
    verify(world, "while serving", &mut violations);
    let _ = world.server().terminate();
    verify(world, "stopped", &mut violations);
    world.server().restart();
    if violations.is_empty() {
        Ok(format!("{load} ms of load, {tally}"))
    } else {
        Err(violations)
    }
}

fn verify(world: &World, when: &str, violations: &mut String) {
    let output = world.server().run_cli(&["verify"]);
    if !output.status.success() {
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let _ = writeln!(
            violations,
            "verify ({when}) is not clean, {}:\n{out}{err}",
            output.status
        );
    }
}

async fn set_stage(world: &World, rng: &mut StdRng) -> Stage {
    let (scarce_limit, contested_limit) = (
        rng.random_range(20..200_usize),
        rng.random_range(2..8_usize),
    );
    let limit = |count: usize| i64::try_from(count).expect("a small count");
    Stage {
        scarce: world
            .publish(&Template::default().issue_limit(limit(scarce_limit)))
            .await,
        scarce_limit,
        contested: world
            .publish(&Template::percentage(15, 3000).redeem_limit(limit(contested_limit)))
            .await,
        contested_limit,
        free: world.publish(&Template::fixed(1500)).await,
    }
}

/// One client: sends until its connection breaks. Its users and orders are its own, so it knows what to expect.
struct LoadClient {
    shop: Shop,
    stage: Stage,
    name: String,
    rng: StdRng,
    journal: Arc<Mutex<Vec<Attempt>>>,
    serial: u64,
}

impl LoadClient {
    async fn run(mut self) {
        while self.life_of_a_coupon().await.is_some() {}
    }

    /// Issues a coupon and perhaps redeems and cancels it; `None` once an answer failed to come.
    async fn life_of_a_coupon(&mut self) -> Option<()> {
        self.serial += 1;
        let template = self.stage.ids()[self.rng.random_range(0..3)];
        let user = format!("{}-u{}", self.name, self.serial);
        let issue = Attempt {
            kind: Kind::Issue,
            path: issue_path(template),
            body: json!({"userId": user}),
            template,
            user: user.clone(),
            order: String::new(),
            key: self.maybe_key("issue"),
            answer: None,
        };
        if self.send(issue).await?.status != 200 || self.rng.random_bool(0.3) {
            return Some(());
        }
        let coupons = self
            .shop
            .call("GET", "/v1/user-coupons")
            .query(&[("userId", &user)])
            .try_send()
            .await
            .ok()?;
        let coupon = coupons.json["data"]["coupons"][0]["userCouponId"]
            .as_str()?
            .to_owned();
        for turn in 0..self.rng.random_range(1..3) {
            let order = format!("{user}-o{turn}");
            let redeem = Attempt {
                kind: Kind::Redeem,
                path: redeem_path(&coupon),
                body: redeem_body(&user, self.rng.random_range(0..50_000), &order),
                template,
                user: user.clone(),
                order: order.clone(),
                key: self.maybe_key("redeem"),
                answer: None,
            };
            if self.send(redeem).await?.status != 200 || self.rng.random_bool(0.3) {
                return Some(());
            }
            let cancel = Attempt {
                kind: Kind::Cancel,
                path: cancel_path(&coupon),
                body: cancel_body(&order, "torture"),
                template,
                user: user.clone(),
                order,
                key: self.maybe_key("cancel"),
                answer: None,
            };
            self.send(cancel).await?;
        }
        Some(())
    }

    fn maybe_key(&mut self, what: &str) -> Option<String> {
        let key = format!(
            "{}-{what}-{}-{}",
            self.name,
            self.serial,
            self.rng.random::<u32>()
        );
        self.rng.random_bool(0.7).then_some(key)
    }

    /// Sends a request, sometimes twice at once, and writes down what came of it.
    async fn send(&mut self, attempt: Attempt) -> Option<Answer> {
        let copies = if attempt.key.is_some() && self.rng.random_bool(0.2) {
            2
        } else {
            1
        };
        let answers = join_all((0..copies).map(|_| attempt.send(&self.shop))).await;
        let mut journal = self.journal.lock().unwrap();
        for answer in &answers {
            journal.push(Attempt {
                answer: answer.clone(),
                ..attempt.clone()
            });
        }
        // A duplicate may have been turned away with a 409: any answer that settles it will do.
        answers.into_iter().flatten().next()
    }
}

/// Attempts by what makes them one request.
fn by_request(journal: &[Attempt]) -> HashMap<(Kind, i64, String, String), Vec<&Attempt>> {
    let mut map: HashMap<_, Vec<&Attempt>> = HashMap::new();
    for attempt in journal {
        let request = (
            attempt.kind,
            attempt.template,
            attempt.user.clone(),
            attempt.order.clone(),
        );
        map.entry(request).or_default().push(attempt);
    }
    map
}

/// The history action that a request of this kind leaves.
fn action(kind: Kind) -> &'static str {
    match kind {
        Kind::Issue => "ISSUE",
        Kind::Redeem => "REDEEM",
        Kind::Cancel => "CANCEL_REDEMPTION",
    }
}

/// Counts the entries of a ledger by what identifies a request.
fn count_effects(ledger: &[Value]) -> HashMap<(String, i64, String, String), usize> {
    let mut counts = HashMap::new();
    for entry in ledger {
        let owned = |field: &str| text(entry, field).to_owned();
        let template = entry["couponTemplateId"].as_i64().unwrap_or_default();
        *counts
            .entry((
                owned("actionType"),
                template,
                owned("userId"),
                owned("orderId"),
            ))
            .or_insert(0) += 1;
    }
    counts
}

/// What a request is counted under in [`count_effects`].
fn effect_of(attempt: &Attempt) -> (String, i64, String, String) {
    (
        action(attempt.kind).to_owned(),
        attempt.template,
        attempt.user.clone(),
        attempt.order.clone(),
    )
}
