//! Requests as their clients know them, and the entries of the ledger that they leave.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::actors::Shop;
use crate::client::Answer;
use crate::history::{Answered, History, Input};
use crate::ledger::text;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Issue,
    Redeem,
    Cancel,
}

/// One request as its client knows it. Two attempts may share a key: then they are one request sent twice.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) kind: Kind,
    pub(super) path: String,
    pub(super) body: Value,
    pub(super) template: i64,
    pub(super) user: String,
    /// The order; empty for an issue.
    pub(super) order: String,
    pub(super) key: Option<String>,
    /// The answer, where one came that settles the outcome.
    pub(super) answer: Option<Answer>,
}

impl Attempt {
    pub(super) async fn send(&self, door: &Door) -> Option<Answer> {
        let call = door.shop.call("POST", &self.path);
        let call = call
            .header_if("Idempotency-Key", self.key.as_deref().map(str::as_bytes))
            .json(&self.body);
        let start = door.history.as_ref().map_or(0, |history| history.now());
        let answer = call.try_send().await.ok();
        if let Some(history) = &door.history {
            self.note(history, start, answer.as_ref());
        }
        // After a 5xx or a 409 the outcome is open.
        answer.filter(|answer| answer.status < 500 && answer.status != 409)
    }

    fn note(&self, history: &History, start: u64, answer: Option<&Answer>) {
        let input = Input {
            // Each client has users of its own, which begin with its name.
            client: self.user.rsplit_once('-').map_or("", |(client, _)| client),
            action: match self.kind {
                Kind::Issue => "issue",
                Kind::Redeem => "redeem",
                Kind::Cancel => "cancel",
            },
            template: self.template,
            user: &self.user,
            order: &self.order,
            key: self.key.as_deref(),
        };
        let answered = answer.map(|answer| Answered {
            status: answer.status,
            code: answer.code(),
            replayed: answer.replayed(),
        });
        history.call(input, start, answered);
    }

    pub(super) fn succeeded(&self) -> bool {
        self.answer
            .as_ref()
            .is_some_and(|answer| answer.status == 200)
    }
}

/// The shop that requests are sent for, and the file that they are recorded in.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) shop: Shop,
    pub(super) history: Option<Arc<History>>,
}

/// The templates of one round and their limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    /// A template with a limit of issues.
    pub(super) scarce: i64,
    pub(super) scarce_limit: usize,
    /// A template with a limit of redemptions.
    pub(super) contested: i64,
    pub(super) contested_limit: usize,
    /// A template without limits.
    pub(super) free: i64,
}

impl Stage {
    pub(super) fn ids(&self) -> [i64; 3] {
        [self.scarce, self.contested, self.free]
    }
}

/// Groups attempts into requests.
pub(super) fn by_request(
    journal: &[Attempt],
) -> HashMap<(Kind, i64, String, String), Vec<&Attempt>> {
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

/// Returns the history action that a request of this kind leaves.
pub(super) fn action(kind: Kind) -> &'static str {
    match kind {
        Kind::Issue => "ISSUE",
        Kind::Redeem => "REDEEM",
        Kind::Cancel => "CANCEL_REDEMPTION",
    }
}

/// Counts the entries of a ledger by action, template, user and order, which identify a request.
pub(super) fn count_effects(ledger: &[Value]) -> HashMap<(String, i64, String, String), usize> {
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

/// Returns the key of a request in [`count_effects`].
pub(super) fn effect_of(attempt: &Attempt) -> (String, i64, String, String) {
    (
        action(attempt.kind).to_owned(),
        attempt.template,
        attempt.user.clone(),
        attempt.order.clone(),
    )
}
