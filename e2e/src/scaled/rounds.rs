//! Rounds: a sale, its customers, faults, and the audit once all is well again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use super::audit::{self, Violations};
use super::books;
use super::customers::{Crowd, Sale, Shop};
use super::fault::{self, Fault, Planned};
use super::fleet::{Fleet, Merchant};
use crate::history::History;
use crate::template::Template;

/// Customers at a time.
const CUSTOMERS: usize = 48;

/// Customers for each limited template at the end, at a time.
const BUYERS: usize = 8;

/// The least time for which new customers come.
const SALE_LASTS: Duration = Duration::from_millis(3_500);

/// The plan of a torture on a fleet.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The name of its set of servers.
    pub set: String,
    /// Determines every choice but the scheduling of the machine.
    pub seed: u64,
    /// The faults of each round.
    pub rounds: Vec<Vec<Planned>>,
    /// The file that every call is written into.
    pub history: Option<Arc<History>>,
}

impl Plan {
    /// Plans rounds with random faults.
    #[must_use]
    pub fn random(set: &str, rounds: u32, seed: u64) -> Self {
        // Each round has a seed of its own, so that any can be repeated alone.
        let faults = |round| fault::random(&mut StdRng::seed_from_u64(seed ^ round));
        Self {
            set: set.to_owned(),
            seed,
            rounds: (1..=u64::from(rounds)).map(faults).collect(),
            history: None,
        }
    }

    /// Plans rounds that have each kind of fault at least once.
    #[must_use]
    pub fn every_kind(set: &str, seed: u64) -> Self {
        Self {
            set: set.to_owned(),
            seed,
            rounds: fault::every_kind(),
            history: None,
        }
    }
}

/// Runs all rounds on a fleet of their own, and calls `progress` with a line after each.
///
/// # Errors
/// Every violation of the first round that has one, with those customers' requests and the ends of all logs.
pub async fn run(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<(), String> {
    let count = plan.rounds.len();
    progress(&format!("{count} rounds, seed {}", plan.seed));
    let fleet = Fleet::start(&plan.set).await?;
    let merchant = Merchant::make(&fleet).await;
    for (number, faults) in (1..).zip(&plan.rounds) {
        let what: Vec<String> = faults.iter().map(Planned::to_string).collect();
        let what = what.join(" and ");
        let began = (Timestamp::now(), Instant::now());
        let mut rng = StdRng::seed_from_u64(plan.seed.rotate_left(32) ^ u64::from(number));
        if let Some(history) = &plan.history {
            history.fault(&what);
        }
        let history = plan.history.clone();
        let ended = one_round(&fleet, &merchant, history, number, faults, &mut rng).await;
        let line = ended.map_err(|violations| {
            let (at, seed) = (began.0, plan.seed);
            let words = fleet.last_words();
            format!("round {number}, seed {seed}, begun at {at:.3}: {what}\n{violations}\n{words}")
        })?;
        let took = began.1.elapsed().as_secs_f64();
        progress(&format!(
            "round {number}/{count}: {what}: {line}, {took:.1} s"
        ));
    }
    if let Some(history) = &plan.history {
        history.flush().map_err(|error| error.to_string())?;
    }
    fleet.forget();
    Ok(())
}

async fn one_round(
    fleet: &Fleet,
    merchant: &Merchant,
    history: Option<Arc<History>>,
    round: u32,
    faults: &[Planned],
    rng: &mut StdRng,
) -> Result<String, String> {
    let sale = set_up(merchant, rng).await;
    if let Some(history) = &history {
        let limited = sale.limited().map(|(id, limit)| (id, Some(limit), None));
        let (contested, limit) = sale.contested;
        let others = [(contested, None, Some(limit)), (sale.free, None, None)];
        for (id, issues, redemptions) in limited.into_iter().chain(others) {
            history.template(id, issues, redemptions);
        }
    }
    let shop = Shop::of(fleet, merchant, history);
    let crowd = Crowd::new(shop.clone(), sale, round);
    let before = faults
        .iter()
        .any(|planned| planned.fault == Fault::NoIssuers);
    let mut wrong = Violations::default();

    let breaks = join_all(faults.iter().map(|planned| fault::run(fleet, planned)));
    let customers: Vec<u64> = (0..CUSTOMERS).map(|_| rng.random()).collect();
    let sells = async {
        if before {
            // The issuers begin to stop first.
            sleep(Duration::from_millis(300)).await;
        }
        let come = |seed| tokio::spawn(Arc::clone(&crowd).come(seed));
        customers.into_iter().map(come).collect::<Vec<_>>()
    };
    let lasts = async {
        let (broken, customers) = tokio::join!(breaks, sells);
        (broken, customers)
    };
    let ((broken, customers), ()) = tokio::join!(lasts, sleep(SALE_LASTS));
    for outcome in broken {
        outcome.unwrap_or_else(|why| wrong.note(why));
    }
    sleep(Duration::from_millis(rng.random_range(0..800))).await;
    crowd.close();
    // Each number is a time in seconds.
    let mended = Instant::now();
    let well = fleet.well().await;
    let well_after = mended.elapsed().as_secs_f64();
    crowd.all_is_well();
    for customer in customers {
        customer.await.expect("a customer");
    }
    let answered_after = mended.elapsed().as_secs_f64();
    let mut settled = Ok(());
    if well.is_ok() {
        sell_out(&crowd, &sale, rng, &mut wrong).await;
        settled = books::settled(fleet, &sale.ids()).await;
        crowd.all_is_well();
        crowd.come_back(rng.random()).await;
        settled = settled.and(books::settled(fleet, &sale.ids()).await);
    }
    let settled_after = mended.elapsed().as_secs_f64();
    for outcome in [well, settled] {
        outcome.unwrap_or_else(|why| wrong.note(why));
    }
    let stories = shop.journal.stories();
    let figures = audit::round(fleet, &sale, &shop, &stories, &mut wrong).await;
    match wrong.is_empty() {
        true => Ok(format!(
            "{figures}, well after {well_after:.1} s, all answered after {answered_after:.1}, settled after {settled_after:.1}"
        )),
        false => Err(wrong.report(&stories)),
    }
}

async fn set_up(merchant: &Merchant, rng: &mut StdRng) -> Sale {
    let limit = |count: usize| i64::try_from(count).expect("a small count");
    let (scarce, rare, contested) = (
        rng.random_range(150..700_usize),
        rng.random_range(3..40_usize),
        rng.random_range(3..30_usize),
    );
    let template = Template::default();
    let issues = |count| template.clone().issue_limit(limit(count));
    Sale {
        scarce: (merchant.publish(&issues(scarce)).await, scarce),
        rare: (merchant.publish(&issues(rare)).await, rare),
        contested: (
            merchant
                .publish(&template.clone().redeem_limit(limit(contested)))
                .await,
            contested,
        ),
        free: merchant.publish(&Template::fixed(1500)).await,
    }
}

/// Checks, once all is well, that every gate serves, and the limited ones until nothing is left. Asks all at once, for a
/// gate that was lost opens only when a request comes, and takes its time.
async fn sell_out(crowd: &Crowd, sale: &Sale, rng: &mut StdRng, wrong: &mut Violations) {
    let mut seed = || rng.random();
    let probes = [sale.contested.0, sale.free].map(|template| (template, seed()));
    let probes = probes.map(
        async |(template, seed)| match crowd.is_served(template, seed).await {
            true => None,
            false => Some(format!(
                "template {template} does not serve, though all is well"
            )),
        },
    );
    let buyers = sale
        .limited()
        .map(|(template, _)| [template; BUYERS].map(|one| (one, seed())));
    let buyers = buyers.into_iter().flatten();
    let buyers = buyers.map(
        async |(template, seed)| match crowd.buy_out(template, seed).await {
            true => None,
            false => Some(format!("template {template} is not answered as sold out")),
        },
    );
    let (probed, bought) = tokio::join!(join_all(probes), join_all(buyers));
    for line in probed.into_iter().chain(bought).flatten() {
        wrong.note(line);
    }
}
