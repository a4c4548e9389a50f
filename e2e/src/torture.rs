//! Crash rounds: load from many clients, `kill -9` or a power cut at a random moment, restart, and an audit of all
//! answers.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::actors::{cancel_body, cancel_path, issue_path, redeem_body, redeem_path};
use crate::client::Answer;
use crate::faults::Shim;
use crate::history::History;
use crate::power::Loss;
use crate::server::{Options, Server};
use crate::template::Template;
use crate::world::World;

mod attempt;
mod audit;

use attempt::{Attempt, Door, Kind, Stage};

/// The end of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The process is killed; its writes stay.
    Kill,
    /// The power fails: of the bytes that were not synced a random part is lost.
    Power,
    /// One or the other, by chance: after a kill there may be more that is not synced.
    Mix,
}

/// The plan of a torture.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The end of each round.
    pub cut: Cut,
    /// The file that every call is written into.
    pub history: Option<Arc<History>>,
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
    /// Plans rounds with the usual load.
    #[must_use]
    pub fn rounds(rounds: u32, seed: u64, cut: Cut) -> Self {
        Self {
            cut,
            history: None,
            rounds,
            seed,
            shortest: 300,
            longest: 800,
            clients: 24,
        }
    }
}

/// Runs all rounds, and calls `progress` with a line after each.
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
    let shim = (plan.cut != Cut::Kill).then(Shim::build);
    let options = shim.as_ref().map_or(options, Shim::disk_options);
    let server = Arc::new(Server::start(options));
    if shim.is_some() {
        // A power cut may begin with syncs that fail.
        server.expects("check the disk; the next start recovers");
    }
    let world = World::on(&server).await;
    let mut rng = StdRng::seed_from_u64(plan.seed);
    for round in 1..=plan.rounds {
        let line = one_round(&world, &plan, shim.as_ref(), round, &mut rng)
            .await
            .map_err(|violations| format!("round {round}, seed {}:\n{violations}", plan.seed))?;
        progress(&format!("round {round}/{}: {line}", plan.rounds));
    }
    Ok(())
}

async fn one_round(
    world: &World,
    plan: &Plan,
    shim: Option<&Shim>,
    round: u32,
    rng: &mut StdRng,
) -> Result<String, String> {
    let stage = set_stage(world, rng).await;
    let door = Door {
        shop: world.shop.clone(),
        history: plan.history.clone(),
    };
    if let Some(history) = &plan.history {
        history.template(stage.scarce, Some(stage.scarce_limit), None);
        history.template(stage.contested, None, Some(stage.contested_limit));
        history.template(stage.free, None, None);
    }
    let journal: Arc<Mutex<Vec<Attempt>>> = Arc::default();
    let clients: Vec<_> = (0..plan.clients)
        .map(|number| {
            let client = LoadClient {
                door: door.clone(),
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
    let how = cut(world, plan, shim, rng).await;
    for client in join_all(clients).await {
        client.map_err(|error| format!("a client failed: {error}"))?;
    }
    world.server().restart();

    let journal = std::mem::take(&mut *journal.lock().unwrap());
    let mut violations = String::new();
    let tally = audit::round(world, &door, &stage, &journal, &mut violations).await;
    verify(world, "while serving", &mut violations);
    let _ = world.server().terminate();
    if let Some(shim) = shim {
        // After an ordered stop a power cut loses nothing.
        shim.cut_power(world.server(), Loss::Part(rng.random()));
    }
    verify(world, "stopped", &mut violations);
    world.server().restart();
    if let Some(history) = &plan.history {
        history.flush().map_err(|error| error.to_string())?;
    }
    if violations.is_empty() {
        Ok(format!("{load} ms of load, {how}, {tally}"))
    } else {
        Err(violations)
    }
}

/// The probability that the disk fails before its power does.
const FAILING_DISK: f64 = 0.25;

/// Ends the server by force. Returns the way in words.
async fn cut(world: &World, plan: &Plan, shim: Option<&Shim>, rng: &mut StdRng) -> String {
    let is_kill = match plan.cut {
        Cut::Kill => true,
        Cut::Power => false,
        Cut::Mix => rng.random_bool(0.5),
    };
    let how = match shim {
        Some(shim) if !is_kill => {
            let fails = rng.random_bool(FAILING_DISK);
            if fails {
                // Requests under way are answered or not; the next sync drops the bytes that it should have stored.
                shim.fsync_fails(true);
                let moment = rng.random_range(0..100);
                tokio::time::sleep(Duration::from_millis(moment)).await;
            }
            let (unsynced, lost) = shim.cut_power(world.server(), Loss::Part(rng.random()));
            if fails {
                shim.fsync_fails(false);
            }
            let first = if fails { "syncs failed, " } else { "" };
            format!("{first}power cut, {lost} of {unsynced} bytes lost")
        }
        _ => {
            world.server().kill9();
            "killed".to_owned()
        }
    };
    if let Some(history) = &plan.history {
        history.fault(&how);
    }
    how
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

/// A client that sends until its connection breaks. No other client has its users and orders, so it knows the answers to
/// expect.
struct LoadClient {
    door: Door,
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

    /// Issues a coupon and perhaps redeems and cancels it. Returns `None` once an answer fails to come.
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
            .door
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

    /// Sends a request, sometimes twice at once, and records the answers.
    async fn send(&mut self, attempt: Attempt) -> Option<Answer> {
        let copies = if attempt.key.is_some() && self.rng.random_bool(0.2) {
            2
        } else {
            1
        };
        let answers = join_all((0..copies).map(|_| attempt.send(&self.door))).await;
        let mut journal = self.journal.lock().unwrap();
        for answer in &answers {
            journal.push(Attempt {
                answer: answer.clone(),
                ..attempt.clone()
            });
        }
        // One of two may have been refused with a 409: any answer that settles the request will do.
        answers.into_iter().flatten().next()
    }
}
