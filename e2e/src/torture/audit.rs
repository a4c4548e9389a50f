//! The audit after a crash: every answered success is there, everything there was asked for, limits hold, and retries are
//! answered truly.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use futures::StreamExt;
use serde_json::Value;

use super::attempt::{Attempt, Door, Stage, action, by_request, count_effects, effect_of};
use crate::client::Answer;
use crate::ledger::text;
use crate::world::World;

/// Requests at once while auditing.
const AT_ONCE: usize = 16;

/// Checks a round and returns its figures for the progress line; writes the violations, one a line.
pub(super) async fn round(
    world: &World,
    door: &Door,
    stage: &Stage,
    journal: &[Attempt],
    violations: &mut String,
) -> String {
    let ledger = read(world, stage).await;
    check_answered(journal, &ledger, violations);
    check_limits(stage, &ledger, violations);
    check_replays(door, journal, violations).await;
    let retried = retry_interrupted(door, journal, &ledger, violations).await;

    let after = read(world, stage).await;
    check_answered(journal, &after, violations);
    check_answered(&retried, &after, violations);
    check_limits(stage, &after, violations);
    check_lists(world, stage, &after, violations).await;
    let answered = journal.iter().filter(|attempt| attempt.succeeded()).count();
    if answered == 0 {
        let _ = writeln!(
            violations,
            "no success was answered before the crash: the round proves nothing"
        );
    }
    format!(
        "{answered} successes answered, {} interrupted and retried, {} entries",
        retried.len(),
        after.len()
    )
}

async fn read(world: &World, stage: &Stage) -> Vec<Value> {
    let mut all = Vec::new();
    for template in stage.ids() {
        all.extend(
            world
                .ledger(&[("couponTemplateId", &template.to_string())])
                .await,
        );
    }
    all
}

/// Checks that every answered success has its entry, that no effect is there twice, and that a refused one is not there.
fn check_answered(journal: &[Attempt], ledger: &[Value], violations: &mut String) {
    let counts = count_effects(ledger);
    for attempt in journal {
        let count = counts.get(&effect_of(attempt)).copied().unwrap_or(0);
        if attempt.succeeded() && count != 1 {
            let _ = writeln!(
                violations,
                "answered 200, but there {count} times: {attempt:?}"
            );
        }
    }
    for ((action, template, user, order), count) in counts {
        if count > 1 {
            let _ = writeln!(
                violations,
                "{action} of {template} for {user} {order} is there {count} times"
            );
        }
    }
    let refused: HashSet<_> = by_request(journal)
        .into_values()
        .filter(|attempts| {
            attempts
                .iter()
                .all(|attempt| attempt.answer.is_some() && !attempt.succeeded())
        })
        .map(|attempts| effect_of(attempts[0]))
        .collect();
    for effect in count_effects(ledger)
        .into_keys()
        .filter(|effect| refused.contains(effect))
    {
        let _ = writeln!(violations, "refused, and yet there: {effect:?}");
    }
}

/// Checks that coupons and redemptions keep their limits.
fn check_limits(stage: &Stage, ledger: &[Value], violations: &mut String) {
    let issued = ledger.iter().filter(|entry| {
        entry["couponTemplateId"] == stage.scarce && entry["actionType"] == "ISSUE"
    });
    let issued = issued.count();
    if issued > stage.scarce_limit {
        let _ = writeln!(
            violations,
            "{issued} coupons issued of {}",
            stage.scarce_limit
        );
    }
    let contested = ledger
        .iter()
        .filter(|entry| entry["couponTemplateId"] == stage.contested);
    // Counted at the end: recordedAt is the order of acceptance, which need not be that of the commits.
    let redeemed = contested.fold(0_usize, |now, entry| match text(entry, "actionType") {
        "REDEEM" => now + 1,
        "CANCEL_REDEMPTION" => now.saturating_sub(1),
        _ => now,
    });
    if redeemed > stage.contested_limit {
        let _ = writeln!(
            violations,
            "{redeemed} coupons are redeemed of {}",
            stage.contested_limit
        );
    }
}

/// Checks that every keyed request that was answered gets its answer again, to the byte.
async fn check_replays(door: &Door, journal: &[Attempt], violations: &mut String) {
    let answered = journal
        .iter()
        .filter(|attempt| attempt.key.is_some() && attempt.answer.is_some());
    let replays: Vec<(&Attempt, Option<Answer>)> = futures::stream::iter(answered)
        .map(|attempt| async move { (attempt, attempt.send(door).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (attempt, replay) in replays {
        let first = attempt.answer.as_ref().expect("filtered above");
        let same = replay.as_ref().is_some_and(|replay| {
            replay.replayed() && replay.status == first.status && replay.bytes == first.bytes
        });
        if !same {
            let _ = writeln!(
                violations,
                "answered {first}, replayed {replay:?}: key {:?}",
                attempt.key
            );
        }
    }
}

/// Sends each request whose outcome is open again with its key; returns the attempts with their answers.
async fn retry_interrupted(
    door: &Door,
    journal: &[Attempt],
    ledger: &[Value],
    violations: &mut String,
) -> Vec<Attempt> {
    let counts = count_effects(ledger);
    let open = by_request(journal).into_values().filter(|attempts| {
        attempts[0].key.is_some() && attempts.iter().all(|attempt| attempt.answer.is_none())
    });
    let open: Vec<Attempt> = open.map(|attempts| attempts[0].clone()).collect();
    let retried: Vec<Attempt> = futures::stream::iter(open)
        .map(|attempt| async move {
            Attempt {
                answer: attempt.send(door).await,
                ..attempt
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for attempt in &retried {
        let happened = counts.contains_key(&effect_of(attempt));
        let Some(answer) = &attempt.answer else {
            let _ = writeln!(violations, "a retry got no answer: {attempt:?}");
            continue;
        };
        if happened && !(answer.status == 200 && answer.replayed()) {
            let _ = writeln!(
                violations,
                "it had happened, but the retry got {answer}: {attempt:?}"
            );
        }
        if !happened && answer.status != 200 && !may_refuse(attempt, answer) {
            let _ = writeln!(
                violations,
                "it had not happened, and the retry got {answer}: {attempt:?}"
            );
        }
        if !happened && answer.status == 200 && answer.replayed() {
            let _ = writeln!(
                violations,
                "a success was stored without its effect: {attempt:?}"
            );
        }
        let again = attempt.send(door).await;
        if again
            .as_ref()
            .is_none_or(|again| !again.replayed() || again.bytes != answer.bytes)
        {
            let _ = writeln!(violations, "two retries differ: {answer} and {again:?}");
        }
    }
    retried
}

/// Says that a request that had not happened may rightly be refused now: only if no place is left.
fn may_refuse(attempt: &Attempt, answer: &Answer) -> bool {
    let expected = match action(attempt.kind) {
        "ISSUE" => "COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED",
        "REDEEM" => "COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED",
        _ => return false,
    };
    answer.code() == Some(expected)
}

/// Checks that the lists of the users and the counters of the templates agree with the ledger.
async fn check_lists(world: &World, stage: &Stage, ledger: &[Value], violations: &mut String) {
    let mut redeemed: HashMap<(i64, String), bool> = HashMap::new();
    for entry in ledger {
        let template = entry["couponTemplateId"].as_i64().unwrap_or_default();
        redeemed.insert(
            (template, text(entry, "userId").to_owned()),
            text(entry, "actionType") == "REDEEM",
        );
    }
    for template in stage.ids() {
        let mine: Vec<_> = redeemed
            .iter()
            .filter(|((of, _), _)| *of == template)
            .collect();
        let expected = (
            mine.len(),
            mine.iter().filter(|(_, redeemed)| **redeemed).count(),
        );
        let answer = world.shop.template(template, None).await;
        let shown = (
            &answer.json["data"]["currentIssueCount"],
            &answer.json["data"]["currentRedeemCount"],
        );
        if (shown.0 != &Value::from(expected.0)) || (shown.1 != &Value::from(expected.1)) {
            let _ = writeln!(
                violations,
                "the ledger counts {expected:?}, the template says {shown:?}"
            );
        }
    }
    let lists: Vec<_> = futures::stream::iter(redeemed)
        .map(|((template, user), redeemed)| async move {
            (template, redeemed, world.shop.coupons(&user).await, user)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (template, redeemed, answer, user) in lists {
        let coupons = answer.json["data"]["coupons"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let listed = coupons
            .iter()
            .filter(|coupon| coupon["couponTemplateId"] == template)
            .count();
        if listed != usize::from(!redeemed) {
            let _ = writeln!(
                violations,
                "{user} has {listed} coupons of {template} listed, redeemed: {redeemed}"
            );
        }
    }
}
