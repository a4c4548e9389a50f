//! Customers of a shop: they ask for coupons at any partner, ask again where no answer came, and use their coupons.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::fleet::{Fleet, Merchant, client};
use super::journal::{Action, Journal, Outcome, Page, Request, Sending};
use crate::actors::{cancel_body, cancel_path, issue_path, redeem_body, redeem_path};
use crate::history::{Answered, History, Input};

/// The time that a customer waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time within which customers must get their answers once all is well.
pub const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// The templates of a round and their limits.
#[derive(Debug, Clone, Copy)]
pub struct Sale {
    /// A template with a limit of some hundred issues.
    pub scarce: (i64, usize),
    /// A template with a limit of a few issues.
    pub rare: (i64, usize),
    /// A template with a limit of redemptions.
    pub contested: (i64, usize),
    /// A template without limits.
    pub free: i64,
}

impl Sale {
    /// Returns all templates.
    #[must_use]
    pub fn ids(&self) -> [i64; 4] {
        [self.scarce.0, self.rare.0, self.contested.0, self.free]
    }

    /// Returns the templates with a limit of issues, and the limits.
    #[must_use]
    pub fn limited(&self) -> [(i64, usize); 2] {
        [self.scarce, self.rare]
    }
}

/// The shop: sends requests to partners, and records the answers.
#[derive(Clone)]
pub struct Shop {
    http: reqwest::Client,
    doors: Arc<[String]>,
    credentials: (String, String),
    history: Option<Arc<History>>,
    /// The requests with their answers.
    pub journal: Journal,
}

impl Shop {
    /// Makes the shop of a merchant, with a journal of its own.
    #[must_use]
    pub fn of(fleet: &Fleet, merchant: &Merchant, history: Option<Arc<History>>) -> Self {
        let doors = fleet.doors.iter();
        Self {
            http: client(PATIENCE),
            doors: doors
                .map(|(_, proxy)| format!("http://{}", proxy.address()))
                .collect(),
            credentials: (merchant.client_id.clone(), merchant.secret.clone()),
            history,
            journal: Journal::default(),
        }
    }

    /// Counts the partners.
    #[must_use]
    pub fn partners(&self) -> usize {
        self.doors.len()
    }

    /// Sends a request once.
    pub async fn send(&self, request: &Request, partner: usize) -> Sending {
        let url = format!("{}{}", self.doors[partner], request.path);
        let mut call = self.signed(self.http.post(url)).json(&request.body);
        if let Some(key) = &request.key {
            call = call.header("Idempotency-Key", key);
        }
        let (at, began) = (Timestamp::now(), Instant::now());
        let start = self.history.as_ref().map_or(0, |history| history.now());
        let outcome = read(call).await;
        if let Some(history) = &self.history {
            note(history, request, partner, start, &outcome);
        }
        Sending {
            at,
            took: began.elapsed(),
            partner,
            outcome,
        }
    }

    /// Sends as [`Shop::send`], and once more if no answer comes: the machine may be busy, or the connection stale.
    pub async fn send_surely(&self, request: &Request, partner: usize) -> Outcome {
        match self.send(request, partner).await.outcome {
            Outcome::Silence(_) => self.send(request, partner).await.outcome,
            outcome => outcome,
        }
    }

    /// Sends a GET, and once more if no answer comes. Returns status and body; status 0 if none comes then either.
    pub async fn get(&self, path: &str, query: &[(&str, &str)], partner: usize) -> (u16, Value) {
        for _ in 0..2 {
            let url = format!("{}{path}", self.doors[partner]);
            let reply = read(self.signed(self.http.get(url)).query(query)).await;
            if let Outcome::Answer { status, bytes, .. } = reply {
                return (status, serde_json::from_slice(&bytes).unwrap_or_default());
            }
        }
        (0, Value::Null)
    }

    fn signed(&self, call: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        call.header("X-Goodpon-Client-Id", &self.credentials.0)
            .header("X-Goodpon-Client-Secret", &self.credentials.1)
    }
}

fn note(history: &History, request: &Request, partner: usize, start: u64, outcome: &Outcome) {
    let input = Input {
        client: &format!("at partner{}", partner + 1),
        action: match request.action {
            Action::Issue => "issue",
            Action::Redeem => "redeem",
            Action::Cancel => "cancel",
        },
        template: request.template,
        user: &request.user,
        order: &request.order,
        key: request.key.as_deref(),
    };
    let answered = match outcome {
        Outcome::Answer {
            status,
            code,
            replayed,
            ..
        } => Some(Answered {
            status: *status,
            code: code.as_deref(),
            replayed: *replayed,
        }),
        Outcome::Silence(_) => None,
    };
    history.call(input, start, answered);
}

async fn read(call: reqwest::RequestBuilder) -> Outcome {
    let whole = async {
        let answer = call.send().await?;
        let status = answer.status().as_u16();
        let replayed = answer.headers().get("Idempotent-Replayed");
        let replayed = replayed.is_some_and(|value| value == "true");
        Ok::<_, reqwest::Error>((status, replayed, answer.bytes().await?.to_vec()))
    };
    match whole.await {
        Ok((status, replayed, bytes)) => {
            let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            Outcome::Answer {
                status,
                code: json["error"]["code"].as_str().map(str::to_owned),
                replayed,
                bytes,
            }
        }
        Err(error) => Outcome::Silence(match error.is_timeout() {
            true => "none in time".into(),
            false => "the connection broke".into(),
        }),
    }
}

/// All customers of a round, and the things that they share.
pub struct Crowd {
    shop: Shop,
    sale: Sale,
    round: u32,
    /// True once no new customers come.
    is_closed: AtomicBool,
    /// The time until which open requests are sent again; set once all is well.
    deadline: Mutex<Option<Instant>>,
    next: AtomicU64,
    /// The latest users, as whom other customers may ask as well.
    lately: Mutex<Vec<(i64, String)>>,
    /// Users whose coupon a customer uses already.
    used: Mutex<HashSet<(i64, String)>>,
    /// Requests whose customers went away without an answer.
    away: Mutex<Vec<(Request, Page)>>,
}

impl Crowd {
    /// Makes a crowd without customers.
    #[must_use]
    pub fn new(shop: Shop, sale: Sale, round: u32) -> Arc<Self> {
        Arc::new(Self {
            shop,
            sale,
            round,
            is_closed: AtomicBool::new(false),
            deadline: Mutex::default(),
            next: AtomicU64::new(0),
            lately: Mutex::default(),
            used: Mutex::default(),
            away: Mutex::default(),
        })
    }

    /// Lets no new customers come.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Notes that all is well: customers without an answer must get one soon.
    pub fn all_is_well(&self) {
        *self.deadline.lock().unwrap() = Some(Instant::now() + SETTLED_WITHIN);
    }

    fn is_over(&self) -> bool {
        let deadline = self.deadline.lock().unwrap();
        deadline.is_some_and(|deadline| Instant::now() > deadline)
    }

    /// Makes a name that no user had.
    fn new_user(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("r{}-{number}", self.round)
    }

    /// Serves one customer after the other until the shop is closed.
    pub async fn come(self: Arc<Self>, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        while !self.is_closed.load(Ordering::SeqCst) {
            self.serve_one(&mut rng).await;
            let pause = rng.random_range(5..40);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn serve_one(&self, rng: &mut StdRng) {
        let (template, user) = self.who(rng);
        let key = rng
            .random_bool(0.75)
            .then(|| format!("{user}-{:08x}", rng.random::<u32>()));
        let issue = issue(template, &user, key);
        let answer = self.settle(issue, rng).await;
        let mine = (template, user);
        let uses = answer.is_some_and(|answer| answer.is_success()) && rng.random_bool(0.2);
        if uses && self.used.lock().unwrap().insert(mine.clone()) {
            self.use_coupon(mine.0, &mine.1, rng).await;
        }
    }

    fn who(&self, rng: &mut StdRng) -> (i64, String) {
        let mut lately = self.lately.lock().unwrap();
        if !lately.is_empty() && rng.random_bool(0.12) {
            return lately[rng.random_range(0..lately.len())].clone();
        }
        let template = match rng.random_range(0..100) {
            0..45 => self.sale.scarce.0,
            45..52 => self.sale.rare.0,
            52..75 => self.sale.contested.0,
            _ => self.sale.free,
        };
        let one = (template, self.new_user());
        lately.push(one.clone());
        if lately.len() > 40 {
            lately.remove(0);
        }
        one
    }

    /// Sends a request until an answer settles it, or its customer goes away; one with a key comes back later.
    async fn settle(&self, request: Request, rng: &mut StdRng) -> Option<Outcome> {
        let page = self.shop.journal.begin(request.clone());
        loop {
            let outcome = self.send(&request, &page, rng).await;
            if outcome.is_final() {
                return Some(outcome);
            }
            let is_keyed = request.key.is_some();
            if rng.random_bool(if is_keyed { 0.1 } else { 0.5 }) {
                if is_keyed {
                    self.away.lock().unwrap().push((request, page));
                }
                return None;
            }
            if self.is_over() {
                return None;
            }
            let pause = rng.random_range(50..400);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Sends the requests of all customers who went away without an answer, until each has one.
    pub async fn come_back(&self, seed: u64) {
        let away = std::mem::take(&mut *self.away.lock().unwrap());
        let asks = (0..).zip(away).map(async |(number, (request, page))| {
            let mut rng = StdRng::seed_from_u64(seed ^ number);
            while !self.is_over() && !self.send(&request, &page, &mut rng).await.is_final() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        futures::stream::iter(asks)
            .buffer_unordered(8)
            .collect::<()>()
            .await;
    }

    /// Sends a request to a partner, or, sometimes, to two at once.
    async fn send(&self, request: &Request, page: &Page, rng: &mut StdRng) -> Outcome {
        let partners = self.shop.partners();
        let partner = rng.random_range(0..partners);
        if request.key.is_none() || rng.random_bool(0.85) {
            let sending = self.shop.send(request, partner).await;
            page.note(sending.clone());
            return sending.outcome;
        }
        let other = (partner + 1) % partners;
        let (one, two) = tokio::join!(
            self.shop.send(request, partner),
            self.shop.send(request, other)
        );
        page.note(one.clone());
        page.note(two.clone());
        match one.outcome.is_final() {
            true => one.outcome,
            false => two.outcome,
        }
    }

    /// Redeems a coupon once it is listed, perhaps cancels that, and so on.
    async fn use_coupon(&self, template: i64, user: &str, rng: &mut StdRng) {
        let Some(coupon) = self.listed(template, user, rng).await else {
            return;
        };
        for turn in 0..rng.random_range(1..3) {
            let order = format!("{user}-o{turn}");
            let redeem = Request {
                action: Action::Redeem,
                path: redeem_path(&coupon),
                body: redeem_body(user, 20_000, &order),
                order: order.clone(),
                ..issue(template, user, Some(format!("{order}-redeem")))
            };
            let redeemed = self.settle(redeem, rng).await;
            if !redeemed.is_some_and(|answer| answer.is_success()) || rng.random_bool(0.4) {
                return;
            }
            let cancel = Request {
                action: Action::Cancel,
                path: cancel_path(&coupon),
                body: cancel_body(&order, "torture"),
                order: order.clone(),
                ..issue(template, user, Some(format!("{order}-cancel")))
            };
            if self.settle(cancel, rng).await.is_none() {
                return;
            }
        }
    }

    /// Waits until a coupon is listed, and returns its id. The audit checks that it is written in the end.
    async fn listed(&self, template: i64, user: &str, rng: &mut StdRng) -> Option<String> {
        while !self.is_over() {
            let partner = rng.random_range(0..self.shop.partners());
            let (_, reply) = self
                .shop
                .get("/v1/user-coupons", &[("userId", user)], partner)
                .await;
            if let Some(coupon) = coupon_in(&reply, template) {
                return Some(coupon);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        None
    }

    /// Says that a new customer gets a coupon.
    pub async fn is_served(&self, template: i64, seed: u64) -> bool {
        let mut rng = StdRng::seed_from_u64(seed);
        let user = self.new_user();
        let key = Some(format!("{user}-probe"));
        while !self.is_over() {
            if let Some(answer) = self
                .settle(issue(template, &user, key.clone()), &mut rng)
                .await
            {
                return answer.is_success();
            }
        }
        false
    }

    /// Brings new customers to a limited template until one is answered that it is sold out. Returns true if one is.
    pub async fn buy_out(&self, template: i64, seed: u64) -> bool {
        let mut rng = StdRng::seed_from_u64(seed);
        while !self.is_over() {
            let user = self.new_user();
            let key = rng.random_bool(0.5).then(|| format!("{user}-last"));
            let answer = self.settle(issue(template, &user, key), &mut rng).await;
            let code = answer.as_ref().and_then(Outcome::code);
            if code == Some("COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED") {
                return true;
            }
        }
        false
    }
}

/// Makes a request for a coupon.
#[must_use]
pub fn issue(template: i64, user: &str, key: Option<String>) -> Request {
    Request {
        action: Action::Issue,
        template,
        user: user.to_owned(),
        order: String::new(),
        path: issue_path(template),
        body: json!({"userId": user}),
        key,
    }
}

/// Finds the id of a template's coupon in a list of a user's coupons.
#[must_use]
pub fn coupon_in(reply: &Value, template: i64) -> Option<String> {
    let coupons = reply["data"]["coupons"].as_array()?;
    let mine = coupons
        .iter()
        .find(|coupon| coupon["couponTemplateId"] == template)?;
    mine["userCouponId"].as_str().map(str::to_owned)
}
