//! Histories of torture: every call with its times, for a checker of linearizability, and a small checker.
//!
//! One JSON object a line; `CONTRIBUTING.md` describes the fields.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

/// The input of a call.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The client, for people: calls of one client may overlap.
    pub client: &'a str,
    /// `issue`, `redeem` or `cancel`.
    pub action: &'a str,
    /// The template of the coupon.
    pub template: i64,
    /// The user of the coupon.
    pub user: &'a str,
    /// The order; empty for an issue.
    pub order: &'a str,
    /// The idempotency key.
    pub key: Option<&'a str>,
}

/// The answer to a call.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// HTTP status.
    pub status: u16,
    /// The code of a refusal.
    pub code: Option<&'a str>,
    /// The answer was marked as a replay.
    pub replayed: bool,
}

/// A file that calls are written into. Times are microseconds of one monotonic clock since it was made.
#[derive(Debug)]
pub struct History {
    lines: Mutex<BufWriter<File>>,
    origin: Instant,
    calls: AtomicU64,
}

impl History {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            lines: Mutex::new(BufWriter::new(File::create(path)?)),
            origin: Instant::now(),
            calls: AtomicU64::new(0),
        })
    }

    /// Returns the microseconds since the file was made.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn write(&self, line: &Value) {
        let mut lines = self.lines.lock().unwrap();
        writeln!(lines, "{line}").expect("the history");
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&self) -> io::Result<()> {
        self.lines.lock().unwrap().flush()
    }

    /// Writes a template with its limits.
    pub fn template(&self, id: i64, issue_limit: Option<usize>, redeem_limit: Option<usize>) {
        self.write(&json!({
            "type": "template",
            "at": self.now(),
            "template": id,
            "issueLimit": issue_limit,
            "redeemLimit": redeem_limit,
        }));
    }

    /// Writes that something is broken.
    pub fn fault(&self, what: &str) {
        self.write(&json!({"type": "fault", "at": self.now(), "what": what}));
    }

    /// Writes a call that began at `start` and ended now. The outcome of a call without an answer, or with one that leaves
    /// it open, is unknown.
    pub fn call(&self, input: Input<'_>, start: u64, answered: Option<Answered<'_>>) {
        let outcome = match answered {
            Some(answer) if answer.status == 200 => "ok",
            Some(answer) if answer.status < 500 && answer.status != 409 => "refused",
            _ => "unknown",
        };
        self.write(&json!({
            "type": "call",
            "call": self.calls.fetch_add(1, Ordering::Relaxed),
            "client": input.client,
            "start": start,
            "end": self.now(),
            "action": input.action,
            "template": input.template,
            "user": input.user,
            "order": input.order,
            "key": input.key,
            "outcome": outcome,
            "status": answered.map(|answer| answer.status),
            "code": answered.and_then(|answer| answer.code),
            "replayed": answered.is_some_and(|answer| answer.replayed),
        }));
    }
}

/// Reads a history back and checks the rules that need no search: limits, one coupon for a user, and that a template that
/// was answered as sold out stays so for later calls. Returns the number of calls.
///
/// # Errors
/// Every violation, one a line, or a line that cannot be read.
pub fn check(text: &str) -> Result<usize, String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        lines.push(line);
    }
    let calls: Vec<&Value> = lines.iter().filter(|line| line["type"] == "call").collect();
    let mut wrong = String::new();
    let mut numbers = HashSet::new();
    for call in &calls {
        if !numbers.insert(call["call"].as_u64()) || call["start"].as_u64() > call["end"].as_u64() {
            let _ = writeln!(wrong, "no call of a clock that goes on: {call}");
        }
    }
    for template in lines.iter().filter(|line| line["type"] == "template") {
        let mine = |call: &&&Value| call["template"] == template["template"];
        let mine: Vec<&Value> = calls.iter().filter(mine).copied().collect();
        check_issues(template, &mine, &mut wrong);
        check_redemptions(template, &mine, &mut wrong);
    }
    match wrong.is_empty() {
        true => Ok(calls.len()),
        false => Err(wrong),
    }
}

fn of<'a>(calls: &'a [&Value], action: &'a str) -> impl Iterator<Item = &'a Value> {
    let is_one = move |call: &&&Value| call["action"] == action;
    calls.iter().filter(is_one).copied()
}

/// Finds successes that are no replay: each is an effect of its own, unless two calls share a key.
fn effects<'a>(calls: &'a [&Value], action: &'a str) -> impl Iterator<Item = &'a Value> {
    of(calls, action).filter(|call| call["outcome"] == "ok" && call["replayed"] == false)
}

fn check_issues(template: &Value, calls: &[&Value], wrong: &mut String) {
    let (id, limit) = (&template["template"], template["issueLimit"].as_u64());
    let mut by_user: HashMap<&str, Vec<&Value>> = HashMap::new();
    for call in effects(calls, "issue") {
        let user = call["user"].as_str().unwrap_or_default();
        by_user.entry(user).or_default().push(call);
    }
    if limit.is_some_and(|limit| by_user.len() as u64 > limit) {
        let count = by_user.len();
        let _ = writeln!(wrong, "template {id}: {count} issued of {limit:?}");
    }
    for (user, calls) in by_user {
        // Two calls with one key are one request.
        let keys: HashSet<_> = calls
            .iter()
            .filter_map(|call| call["key"].as_str())
            .collect();
        let unkeyed = calls.iter().filter(|call| call["key"].is_null()).count();
        if keys.len() + unkeyed > 1 {
            let _ = writeln!(wrong, "template {id}: {user} got more than one: {calls:?}");
        }
    }
    let refused = |code: &'static str| of(calls, "issue").filter(move |call| call["code"] == code);
    let sold_out = refused("COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED");
    if let Some(over) = sold_out.filter_map(|call| call["end"].as_u64()).min() {
        for call in effects(calls, "issue") {
            // A coupon that was asked for before, without an answer, may have got its place then.
            let same = of(calls, "issue").filter(|other| other["user"] == call["user"]);
            if same.filter_map(|other| other["start"].as_u64()).min() > Some(over) {
                let _ = writeln!(wrong, "template {id}: issued after it was sold out: {call}");
            }
        }
    }
    for call in refused("COUPON_ALREADY_ISSUED") {
        let is_earlier = |other: &Value| {
            other["user"] == call["user"]
                && other["outcome"] != "refused"
                && other["start"].as_u64() <= call["end"].as_u64()
        };
        if !of(calls, "issue").any(is_earlier) {
            let _ = writeln!(wrong, "template {id}: who asked first has one: {call}");
        }
    }
}

fn check_redemptions(template: &Value, calls: &[&Value], wrong: &mut String) {
    let Some(limit) = template["redeemLimit"].as_u64() else {
        return;
    };
    let redeemed = effects(calls, "redeem").count() as u64;
    let given_back = of(calls, "cancel").filter(|call| call["outcome"] != "refused");
    let given_back: HashSet<&str> = given_back
        .filter_map(|call| call["order"].as_str())
        .collect();
    if redeemed > limit + given_back.len() as u64 {
        let (id, back) = (&template["template"], given_back.len());
        let _ = writeln!(
            wrong,
            "template {id}: {redeemed} redeemed of {limit}, at most {back} given back"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(user: &str) -> Input<'_> {
        Input {
            client: "c",
            action: "issue",
            template: 7,
            user,
            order: "",
            key: None,
        }
    }

    const GOT: Option<Answered<'_>> = Some(Answered {
        status: 200,
        code: None,
        replayed: false,
    });

    fn refused(code: &str) -> Option<Answered<'_>> {
        Some(Answered {
            status: 400,
            code: Some(code),
            replayed: false,
        })
    }

    /// Checks calls that follow one another.
    fn verdict(calls: &[(&str, Option<Answered<'_>>)]) -> Result<usize, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let history = History::create(&path).unwrap();
        history.template(7, Some(2), None);
        history.fault("kill -9");
        for (user, answered) in calls {
            std::thread::sleep(std::time::Duration::from_micros(50));
            history.call(issue(user), history.now(), *answered);
        }
        history.flush().unwrap();
        check(&std::fs::read_to_string(path).unwrap())
    }

    #[test]
    fn a_sale_as_it_should_be_is_clean() {
        let sold_out = refused("COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED");
        let already = refused("COUPON_ALREADY_ISSUED");
        let calls = [("a", GOT), ("b", None), ("a", already), ("c", sold_out)];
        assert_eq!(verdict(&calls), Ok(4));
        assert_eq!(verdict(&[("a", None), ("a", already)]), Ok(2));
    }

    #[test]
    fn each_violation_is_found() {
        let sold_out = refused("COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED");
        let already = refused("COUPON_ALREADY_ISSUED");
        let cases: [(&[_], &str); 4] = [
            (&[("a", GOT), ("b", GOT), ("c", GOT)], "3 issued"),
            (&[("a", GOT), ("a", GOT)], "more than one"),
            (&[("a", sold_out), ("b", GOT)], "after it was sold out"),
            (&[("a", already), ("b", GOT)], "who asked first"),
        ];
        for (calls, why) in cases {
            let wrong = verdict(calls).unwrap_err();
            assert!(wrong.contains(why), "{wrong}");
        }
    }
}
