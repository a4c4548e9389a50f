//! The audit after a round: every answered success is there, limits hold, no user has two coupons, nothing is pending,
//! and repeated requests get the same answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use futures::StreamExt;
use serde_json::{Value, json};

use super::books::{self, Row};
use super::customers::{Sale, Shop, coupon_in, issue};
use super::fleet::Fleet;
use super::journal::{Action, Outcome, Story};

/// Requests at once while auditing.
const AT_ONCE: usize = 16;

const HAS_ONE: &str = "COUPON_ALREADY_ISSUED";
const SOLD_OUT: &str = "COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED";
const ALL_USED: &str = "COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED";

/// The code of ISSUED in a coupon's state.
const ISSUED: i64 = 0;
const REDEEMED: i64 = 1;

/// The code of REDEEM in a history's action.
const REDEEM: i64 = 1;
const CANCEL: i64 = 2;

/// Violations, and the users that they are about.
#[derive(Debug, Default)]
pub struct Violations {
    lines: Vec<String>,
    users: BTreeSet<String>,
}

impl Violations {
    /// Adds a violation.
    pub fn note(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn about(&mut self, story: &Story, line: &str) {
        self.users.insert(story.request.user.clone());
        self.note(format!("{line}: {story}"));
    }

    fn about_user(&mut self, user: &str, line: String) {
        self.users.insert(user.to_owned());
        self.note(line);
    }

    /// Says that there is no violation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Lists all violations, with all requests of those users.
    #[must_use]
    pub fn report(&self, stories: &[Story]) -> String {
        let mut text = String::new();
        for line in self.lines.iter().take(20) {
            let _ = writeln!(text, "* {line}");
        }
        if self.lines.len() > 20 {
            let _ = writeln!(text, "* and {} more", self.lines.len() - 20);
        }
        for user in self.users.iter().take(8) {
            let _ = writeln!(text, "all that {user} asked:");
            for story in stories.iter().filter(|one| one.request.user == *user) {
                let _ = writeln!(text, "  {story}");
            }
        }
        text
    }
}

/// The records of a round, as the servers have them.
struct Books {
    rows: BTreeMap<i64, BTreeMap<String, Row>>,
    entries: BTreeMap<i64, BTreeMap<(String, i64), usize>>,
}

impl Books {
    fn has(&self, template: i64, user: &str) -> bool {
        self.row(template, user).is_some()
    }

    fn row(&self, template: i64, user: &str) -> Option<&Row> {
        self.rows.get(&template)?.get(user)
    }

    fn count(&self, template: i64) -> usize {
        self.rows.get(&template).map_or(0, BTreeMap::len)
    }

    fn entries(&self, template: i64, order: &str, action: i64) -> usize {
        let entries = self.entries.get(&template);
        let count = entries.and_then(|entries| entries.get(&(order.to_owned(), action)));
        count.copied().unwrap_or(0)
    }
}

/// Checks a round in which everything has settled; returns its figures for the progress line.
pub async fn round(
    fleet: &Fleet,
    sale: &Sale,
    shop: &Shop,
    stories: &[Story],
    wrong: &mut Violations,
) -> String {
    let books = read(fleet, sale, wrong).await;
    check_answers(sale, &books, stories, wrong);
    check_limits(sale, &books, stories, wrong);
    check_one_success_each(stories, wrong);
    check_uses(&books, stories, wrong);
    check_gates(fleet, sale, &books, wrong).await;
    check_counts(sale, shop, &books, wrong).await;
    check_lists(shop, &books, stories, wrong).await;
    check_replays(shop, stories, wrong).await;
    check_commands(fleet, wrong).await;
    let successes = stories.iter().filter(|story| story.is_success()).count();
    let open = stories.iter().filter(|story| story.answer().is_none());
    let troubled = stories.iter().filter(|story| story.sendings.len() > 1);
    format!(
        "{} requests, {successes} successes, {} asked again, {} open, {} coupons",
        stories.len(),
        troubled.count(),
        open.count(),
        books.rows.values().map(BTreeMap::len).sum::<usize>()
    )
}

async fn read(fleet: &Fleet, sale: &Sale, wrong: &mut Violations) -> Books {
    let mut books = Books {
        rows: BTreeMap::new(),
        entries: BTreeMap::new(),
    };
    for template in sale.ids() {
        let mut by_user = BTreeMap::new();
        for row in books::rows(fleet, template).await {
            let user = row.user.clone();
            if by_user.insert(user.clone(), row).is_some() {
                wrong.about_user(&user, format!("{user} has two coupons of {template}"));
            }
        }
        books.rows.insert(template, by_user);
        let entries = books::entries(fleet, template).await;
        books.entries.insert(template, entries);
    }
    books
}

/// Checks that every answer is true in the end, and is one of the contract.
fn check_answers(sale: &Sale, books: &Books, stories: &[Story], wrong: &mut Violations) {
    for story in stories {
        let request = &story.request;
        let has_one = books.has(request.template, &request.user);
        let limit = sale
            .limited()
            .into_iter()
            .find(|(id, _)| *id == request.template);
        let mut finals: BTreeSet<(u16, &[u8])> = BTreeSet::new();
        for outcome in story.sendings.iter().map(|sending| &sending.outcome) {
            let Outcome::Answer { status, .. } = outcome else {
                continue;
            };
            if outcome.is_final() {
                finals.extend(outcome.same());
            }
            let is_true = match (request.action, status, outcome.code()) {
                (_, 503, _) => true,
                (Action::Issue, 200, _) => has_one,
                (Action::Issue, 400, Some(HAS_ONE)) => has_one,
                (Action::Issue, 400, Some(SOLD_OUT)) => {
                    limit.is_some_and(|(id, limit)| !has_one && books.count(id) == limit)
                }
                (Action::Redeem | Action::Cancel, 200 | 409, _) => true,
                (Action::Redeem, 400, Some(ALL_USED)) => request.template == sale.contested.0,
                _ => false,
            };
            if !is_true {
                let line = format!("{outcome} is not true (has one: {has_one})");
                wrong.about(story, &line);
            }
        }
        if request.key.is_some() && finals.len() > 1 {
            wrong.about(story, "one key got several answers");
        }
        if request.key.is_some() && finals.is_empty() {
            wrong.about(story, "it was never answered, though all is well");
        }
    }
}

/// Checks that there are as many coupons as places, for all places were asked for until none was left; and that every
/// coupon was asked for.
fn check_limits(sale: &Sale, books: &Books, stories: &[Story], wrong: &mut Violations) {
    for (template, limit) in sale.limited() {
        let count = books.count(template);
        if count != limit {
            wrong.note(format!(
                "{count} coupons of template {template}, which has {limit}"
            ));
        }
    }
    let asked: BTreeSet<(i64, &str)> = stories
        .iter()
        .map(|story| (story.request.template, story.request.user.as_str()))
        .collect();
    for (template, rows) in &books.rows {
        for user in rows.keys() {
            if !asked.contains(&(*template, user.as_str())) {
                wrong.note(format!("{user} has a coupon of {template} and never asked"));
            }
        }
    }
    let redeemed = books.rows[&sale.contested.0].values();
    let redeemed = redeemed.filter(|row| row.status == REDEEMED).count();
    if redeemed > sale.contested.1 {
        wrong.note(format!("{redeemed} are redeemed of {}", sale.contested.1));
    }
}

/// Checks that no user is answered a second success that is not marked as a replay.
fn check_one_success_each(stories: &[Story], wrong: &mut Violations) {
    let mut successes_of: BTreeMap<(i64, &str), usize> = BTreeMap::new();
    for story in stories {
        let request = &story.request;
        if request.action != Action::Issue {
            continue;
        }
        let successes = story.sendings.iter().filter(|sending| {
            matches!(
                sending.outcome,
                Outcome::Answer {
                    status: 200,
                    replayed: false,
                    ..
                }
            )
        });
        *successes_of
            .entry((request.template, &request.user))
            .or_default() += successes.count();
    }
    for ((template, user), count) in successes_of.into_iter().filter(|(_, count)| *count > 1) {
        let line = format!("{user} was answered {count} times with a new coupon of {template}");
        wrong.about_user(user, line);
    }
}

/// Checks that redemptions and cancellations are written once if they were answered, and at most once otherwise.
fn check_uses(books: &Books, stories: &[Story], wrong: &mut Violations) {
    for story in stories {
        let action = match story.request.action {
            Action::Issue => continue,
            Action::Redeem => REDEEM,
            Action::Cancel => CANCEL,
        };
        let (template, order) = (story.request.template, &story.request.order);
        let count = books.entries(template, order, action);
        if story.is_success() && count != 1 || count > 1 {
            wrong.about(story, &format!("it is written {count} times"));
        }
        if story.answer().is_some() && !story.is_success() && count != 0 {
            wrong.about(story, "it was refused, and is written");
        }
    }
}

/// Checks that nothing is pending, and that the gates count the coupons that are written.
async fn check_gates(fleet: &Fleet, sale: &Sale, books: &Books, wrong: &mut Violations) {
    for template in sale.ids() {
        let Some(gate) = books::gate(fleet, template).await else {
            continue;
        };
        let count = i64::try_from(books.count(template)).expect("a small count");
        let (spent, conf, base) = (
            gate.number("spent"),
            gate.number("conf"),
            gate.number("base"),
        );
        let limit = sale.limited().into_iter().find(|(id, _)| *id == template);
        let has_all_places = limit.is_none_or(|(_, limit)| {
            base + gate.number("cap") == i64::try_from(limit).expect("a small count")
        });
        let is_right = gate.is_open
            && gate.number("epoch") == gate.epoch
            && gate.pending == [0, 0, 0]
            && spent == conf
            && base + conf == count
            && i64::try_from(gate.users) == Ok(count)
            && has_all_places;
        if !is_right {
            wrong.note(format!(
                "{count} coupons of {template}, whose gate is {gate:?}"
            ));
        }
    }
}

/// Checks that every partner counts the coupons that are written.
async fn check_counts(sale: &Sale, shop: &Shop, books: &Books, wrong: &mut Violations) {
    for template in sale.ids() {
        let redeemed = books.rows[&template].values();
        let redeemed = redeemed.filter(|row| row.status == REDEEMED).count();
        for partner in 0..shop.partners() {
            let path = format!("/v1/coupon-templates/{template}");
            let (status, reply) = shop.get(&path, &[], partner).await;
            let (issues, uses) = (
                &reply["data"]["currentIssueCount"],
                &reply["data"]["currentRedeemCount"],
            );
            let count = books.count(template);
            if *issues != json!(count) || *uses != json!(redeemed) {
                wrong.note(format!(
                    "{count} coupons of {template}, {redeemed} redeemed, but partner{} tells {status} {issues} {uses}",
                    partner + 1
                ));
            }
        }
    }
}

/// Checks that users who were answered a success find the coupon listed, unless it is used.
async fn check_lists(shop: &Shop, books: &Books, stories: &[Story], wrong: &mut Violations) {
    let answered = stories.iter().filter(|story| {
        let request = &story.request;
        let row = books.row(request.template, &request.user);
        let is_listed = row.is_some_and(|row| row.status == ISSUED);
        request.action == Action::Issue && story.is_success() && is_listed
    });
    let lists: Vec<(&Story, u16, Value)> = futures::stream::iter(answered.enumerate())
        .map(async |(number, story)| {
            let query = [("userId", story.request.user.as_str())];
            let partner = number % shop.partners();
            let (status, reply) = shop.get("/v1/user-coupons", &query, partner).await;
            (story, status, reply)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (story, status, reply) in lists {
        if coupon_in(&reply, story.request.template).is_none() {
            wrong.about(
                story,
                &format!("its coupon is not listed, {status} {reply}"),
            );
        }
    }
}

/// Checks that every keyed request that was answered gets that answer again, from every partner, and that another body
/// under its key gets none.
async fn check_replays(shop: &Shop, stories: &[Story], wrong: &mut Violations) {
    let answered = stories
        .iter()
        .filter(|story| story.request.key.is_some() && story.answer().is_some());
    let replays: Vec<(&Story, Outcome)> = futures::stream::iter(answered.enumerate())
        .map(async |(number, story)| {
            let partner = number % shop.partners();
            (story, shop.send_surely(&story.request, partner).await)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (story, replay) in &replays {
        let first = story.answer().expect("filtered above");
        let is_marked = matches!(replay, Outcome::Answer { replayed: true, .. });
        // A refusal because no place is left is made again, equally, where its key was lost with Valkey.
        let is_replay = is_marked || !first.is_success();
        if replay.same() != first.same() || !is_replay {
            wrong.about(story, &format!("asked again it got {replay}"));
        }
    }
    let successes = replays
        .iter()
        .filter(|(story, _)| story.request.action == Action::Issue && story.is_success());
    for (number, (story, _)) in successes.enumerate().take(20) {
        let request = &story.request;
        let mut other = issue(request.template, "somebody else", request.key.clone());
        other.path.clone_from(&request.path);
        let reply = shop.send_surely(&other, number % shop.partners()).await;
        if !matches!(reply, Outcome::Answer { status: 422, .. }) {
            wrong.about(story, &format!("with another body its key got {reply}"));
        }
    }
}

/// Checks that the commands of the program find nothing wrong.
async fn check_commands(fleet: &Fleet, wrong: &mut Violations) {
    let verified = fleet.run(&["verify"]).await;
    if !verified.status.success() {
        let printed = String::from_utf8_lossy(&verified.stdout).into_owned();
        let why = String::from_utf8_lossy(&verified.stderr).into_owned();
        wrong.note(format!(
            "goodpon verify, {}: {printed}{why}",
            verified.status
        ));
    }
    let parked = fleet.run(&["parked", "list", "--json"]).await;
    let events: Value = serde_json::from_slice(&parked.stdout).unwrap_or_default();
    if events != json!([]) {
        let why = String::from_utf8_lossy(&parked.stderr).into_owned();
        wrong.note(format!("goodpon parked list: {events} {why}"));
    }
}
