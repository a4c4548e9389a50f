//! Random sequences of actions. After every step the domain's answer must be that of a plain model of the contract, and
//! the ledger that stores its decisions must keep the invariants.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixtures;
/// The ledger, driven by the domain, and the model.
mod state_machine {
    pub mod ledger;
    pub mod model;
}

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use fixtures::runner;
use goodpon_domain::{
    coupon::{Coupon, CouponStatus, IssuanceStatus, issuance_status},
    history::HistoryEntry,
    ledger::HistoryAction,
    template::TemplateStatus,
    wallet::{HeldCoupon, available, in_hand},
};
use jiff::Timestamp;
use proptest::prelude::*;
use state_machine::ledger::{Ledger, instant};
use state_machine::model::{Action, CouponStage, Model, Shape, TemplateStage, USERS};

fn shape() -> impl Strategy<Value = Shape> {
    let limits = prop_oneof![
        1 => Just((None, None)),
        2 => (1..=3usize).prop_map(|max| (Some(max), None)),
        3 => (1..=2usize).prop_map(|max| (None, Some(max))),
    ];
    let ends = prop_oneof![
        1 => Just((None, None)),
        1 => (1..=3i64).prop_map(|last| (Some(last), None)),
        2 => (1..=3i64, 0..=2i64).prop_map(|(last, more)| (Some(last), Some(last + more))),
    ];
    let minimum = prop_oneof![3 => Just(None), 1 => Just(Some(1000))];
    (limits, ends, prop::option::of(1..=2i64), minimum).prop_map(
        |((max_issue, max_redeem), (last_issue_day, last_day), validity_days, minimum)| Shape {
            max_issue,
            max_redeem,
            last_issue_day,
            last_day,
            validity_days,
            minimum,
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    let user = || 0..USERS.len();
    let mine = || prop::bool::weighted(0.97);
    let amount = || prop::sample::select(vec![0, 699, 700, 999, 1000, 5000]);
    prop_oneof![
        3 => mine().prop_map(|mine| Action::Publish { mine }),
        1 => prop::bool::weighted(0.3).prop_map(|mine| Action::Discard { mine }),
        9 => (user(), mine()).prop_map(|(user, mine)| Action::Issue { user, mine }),
        9 => (user(), user(), 0..3usize, amount(), mine(), prop::bool::weighted(0.9)).prop_map(
            |(of, other, order, amount, mine, own)| {
                let by = if own { of } else { other };
                Action::Redeem { of, by, order, amount, mine }
            }
        ),
        6 => (user(), prop::bool::weighted(0.8), mine())
            .prop_map(|(of, right, mine)| Action::Cancel { of, right, mine }),
        2 => (1..=500i64).prop_map(|minutes| Action::Pass { minutes }),
        2 => Just(Action::PassToMidnight),
        1 => Just(Action::ExpireSweep),
        1 => Just(Action::DiscardSweep),
    ]
}

#[test]
fn no_sequence_of_actions_breaks_the_contract() {
    let seen = RefCell::new(BTreeSet::new());
    let cases = (shape(), prop::collection::vec(action(), 1..70));
    runner(2_000)
        .run(&cases, |(shape, actions)| {
            let mut ledger = Ledger::new(&shape);
            let mut model = Model::new(shape);
            for action in actions {
                let expected = model.act(&action);
                let now = instant(model.now);
                let answer = ledger.act(&action, now);
                prop_assert_eq!(answer, expected, "{:?}", action);
                agrees(&ledger, &model)?;
                check_invariants(&ledger)?;
                seen.borrow_mut().insert(answer);
            }
            Ok(())
        })
        .unwrap();
    // The sequences are good enough only if they reach every answer.
    let missing: Vec<_> = ALL_ANSWERS
        .iter()
        .filter(|answer| !seen.borrow().contains(*answer))
        .collect();
    assert!(missing.is_empty(), "{missing:?} of {:?}", seen.borrow());
}

const ALL_ANSWERS: [&str; 26] = [
    "PASSED",
    "SWEPT",
    "PUBLISHED",
    "DISCARDED",
    "ISSUED",
    "REDEEMED",
    "CANCELLED, ISSUED",
    "CANCELLED, EXPIRED",
    "CANCELLED, DISCARDED",
    "COUPON_TEMPLATE_INVALID_STATUS_TO_PUBLISH",
    "COUPON_TEMPLATE_INVALID_STATUS_TO_DISCARD",
    "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT",
    "COUPON_NOT_ISSUABLE_PERIOD",
    "COUPON_TEMPLATE_NOT_ISSUABLE",
    "COUPON_ALREADY_ISSUED",
    "COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED",
    "USER_COUPON_NOT_FOUND",
    "USER_COUPON_NOT_OWNED_BY_USER",
    "COUPON_NOT_REDEEMABLE",
    "COUPON_TEMPLATE_REDEEM_CONDITION_NOT_MET",
    "USER_COUPON_ALREADY_REDEEMED",
    "USER_COUPON_EXPIRED",
    "COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED",
    "USER_COUPON_ALREADY_CANCELLED",
    "USER_COUPON_CANCEL_NOT_ALLOWED",
    "USER_COUPON_CANCEL_ORDER_ID_MISMATCH",
];

/// Checks that ledger and model are in the same state, and that lists and issuance status show it.
fn agrees(ledger: &Ledger, model: &Model) -> Result<(), TestCaseError> {
    let now = instant(model.now);
    let stage = match model.stage {
        TemplateStage::Draft => TemplateStatus::Draft,
        TemplateStage::Published => TemplateStatus::Issuable,
        TemplateStage::Over => TemplateStatus::Expired,
        TemplateStage::Withdrawn => TemplateStatus::Discarded,
    };
    prop_assert_eq!(ledger.template.status, stage);
    let over = model.stage == TemplateStage::Published && model.is_over();
    let counting = if over { TemplateStatus::Expired } else { stage };
    prop_assert_eq!(ledger.template.status_at(now), counting);

    prop_assert_eq!(ledger.coupons.len(), model.coupons.len());
    for (coupon, expected) in ledger.coupons.iter().zip(&model.coupons) {
        prop_assert_eq!(&coupon.user_id, USERS[expected.user]);
        let status = match expected.stage {
            CouponStage::Held => CouponStatus::Issued,
            CouponStage::Used => CouponStatus::Redeemed,
            CouponStage::Lapsed => CouponStatus::Expired,
            CouponStage::Withdrawn => CouponStatus::Discarded,
        };
        prop_assert_eq!(coupon.status, status);
        prop_assert_eq!(coupon.expires_at, expected.expires_at.map(instant));
        prop_assert_eq!(coupon.is_past_expiry(now), model.is_past(expected));
        prop_assert_eq!(
            coupon.order_id.as_deref(),
            expected
                .order
                .map(|order| state_machine::model::ORDERS[order])
        );
    }
    prop_assert_eq!(
        i64::try_from(model.used()).unwrap(),
        ledger.template.redeem_count
    );

    prop_assert_eq!(ledger.history.len(), model.log.len());
    for (entry, line) in ledger.history.iter().zip(&model.log) {
        let (order, reason) = (entry.order_id.as_deref(), entry.reason.as_deref());
        let written = (
            action_code(entry.action),
            entry.user_id.as_str(),
            order,
            reason,
        );
        prop_assert_eq!(written, (line.0, line.1, line.2, line.3));
        prop_assert_eq!(entry.recorded_at, instant(line.4));
    }
    lists_agree(ledger, model, now)
}

fn lists_agree(ledger: &Ledger, model: &Model, now: Timestamp) -> Result<(), TestCaseError> {
    let template = Arc::new(ledger.template.clone());
    let hold = |coupon: &Coupon| HeldCoupon {
        coupon: coupon.clone(),
        template: template.clone(),
    };
    let all: Vec<_> = ledger.coupons.iter().map(hold).collect();
    let users = |list: Vec<HeldCoupon>| -> BTreeSet<String> {
        list.into_iter().map(|held| held.coupon.user_id).collect()
    };
    let listed: BTreeSet<String> = model
        .coupons
        .iter()
        .filter(|g| {
            g.stage == CouponStage::Held
                && !model.is_past(g)
                && model.stage != TemplateStage::Withdrawn
        })
        .map(|g| USERS[g.user].into())
        .collect();
    let redeemable = if model.is_redeemed_out() {
        BTreeSet::new()
    } else {
        listed.clone()
    };
    prop_assert_eq!(users(in_hand(all.clone(), now)), listed);
    prop_assert_eq!(users(available(all, 1000, now)), redeemable);

    for (number, user) in USERS.iter().enumerate() {
        let has_one = ledger.coupons.iter().any(|c| c.user_id == *user);
        let status = issuance_status(&ledger.template, has_one, ledger.template.issue_count, now);
        prop_assert_eq!(issuance_code(status), model.issuance_status(number));
    }
    Ok(())
}

/// Checks the invariants of a ledger: limits, one coupon per user, counters, and a history that leads to each state.
fn check_invariants(ledger: &Ledger) -> Result<(), TestCaseError> {
    let template = &ledger.template;
    let issued = i64::try_from(ledger.coupons.len()).unwrap();
    let in_use = |c: &&Coupon| c.status == CouponStatus::Redeemed;
    let redeemed = i64::try_from(ledger.coupons.iter().filter(in_use).count()).unwrap();
    prop_assert_eq!(
        (template.issue_count, template.redeem_count),
        (issued, redeemed)
    );
    prop_assert!(
        template
            .terms
            .limit
            .max_issue_count()
            .is_none_or(|max| issued <= max)
    );
    prop_assert!(
        template
            .terms
            .limit
            .max_redeem_count()
            .is_none_or(|max| redeemed <= max)
    );

    let users: HashSet<_> = ledger.coupons.iter().map(|c| &c.user_id).collect();
    prop_assert_eq!(users.len(), ledger.coupons.len());
    for pair in ledger.history.windows(2) {
        prop_assert!(pair[0].recorded_at <= pair[1].recorded_at && pair[0].id < pair[1].id);
    }
    for coupon in &ledger.coupons {
        let entries = ledger
            .history
            .iter()
            .filter(|entry| entry.coupon_id == coupon.id);
        prop_assert_eq!(
            replay(entries)?,
            (Some(coupon.status), coupon.order_id.clone())
        );
        let absolute = template.terms.period.absolute_expires_at;
        prop_assert!(absolute.is_none_or(|end| coupon.expires_at.is_some_and(|own| own <= end)));
    }
    Ok(())
}

type Replayed = (Option<CouponStatus>, Option<String>);

/// Computes a coupon's state and last order from its history; fails on an impossible step or a field out of place.
fn replay<'a>(entries: impl Iterator<Item = &'a HistoryEntry>) -> Result<Replayed, TestCaseError> {
    use CouponStatus::{Discarded, Expired, Issued, Redeemed};
    let mut replayed: Replayed = (None, None);
    for entry in entries {
        let fields = (entry.order_id.is_some(), entry.reason.is_some());
        let (state, expected_fields) = match (replayed.0, entry.action) {
            (None, HistoryAction::Issue) => (Issued, (false, false)),
            (Some(Issued), HistoryAction::Redeem) => (Redeemed, (true, false)),
            (Some(Redeemed), HistoryAction::CancelRedemption) => (Issued, (true, true)),
            (Some(Issued), HistoryAction::Expire) => (Expired, (false, false)),
            (Some(Issued), HistoryAction::Discard) => (Discarded, (false, true)),
            step => return Err(TestCaseError::fail(format!("{step:?}"))),
        };
        prop_assert_eq!(fields, expected_fields);
        if entry.action == HistoryAction::CancelRedemption {
            prop_assert_eq!(&entry.order_id, &replayed.1);
        }
        replayed = (Some(state), entry.order_id.clone().or(replayed.1));
    }
    Ok(replayed)
}

fn action_code(action: HistoryAction) -> &'static str {
    match action {
        HistoryAction::Issue => "ISSUE",
        HistoryAction::Redeem => "REDEEM",
        HistoryAction::CancelRedemption => "CANCEL_REDEMPTION",
        HistoryAction::Expire => "EXPIRE",
        HistoryAction::Discard => "DISCARD",
    }
}

fn issuance_code(status: IssuanceStatus) -> &'static str {
    match status {
        IssuanceStatus::PeriodNotStarted => "PERIOD_NOT_STARTED",
        IssuanceStatus::PeriodEnded => "PERIOD_ENDED",
        IssuanceStatus::AlreadyIssuedByUser => "ALREADY_ISSUED_BY_USER",
        IssuanceStatus::MaxIssueCountExceeded => "MAX_ISSUE_COUNT_EXCEEDED",
        IssuanceStatus::MaxRedeemCountExceeded => "MAX_REDEEM_COUNT_EXCEEDED",
        IssuanceStatus::Available => "AVAILABLE",
    }
}

#[test]
fn a_cancelled_redemption_gives_its_place_back() {
    let mut ledger = Ledger::new(&Shape {
        max_issue: None,
        max_redeem: Some(1),
        last_issue_day: None,
        last_day: None,
        validity_days: None,
        minimum: None,
    });
    let now = instant(1500);
    let redeem = |of, order| Action::Redeem {
        of,
        by: of,
        order,
        amount: 1000,
        mine: true,
    };
    let cancel = |of| Action::Cancel {
        of,
        right: true,
        mine: true,
    };
    let issue = |user| Action::Issue { user, mine: true };
    for (action, answer) in [
        (Action::Publish { mine: true }, "PUBLISHED"),
        (issue(0), "ISSUED"),
        (issue(1), "ISSUED"),
        (redeem(0, 0), "REDEEMED"),
        (redeem(1, 1), "COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED"),
        (cancel(0), "CANCELLED, ISSUED"),
        (cancel(0), "USER_COUPON_ALREADY_CANCELLED"),
        (redeem(1, 1), "REDEEMED"),
        (redeem(0, 2), "COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED"),
        (cancel(1), "CANCELLED, ISSUED"),
        (redeem(0, 2), "REDEEMED"),
    ] {
        assert_eq!(ledger.act(&action, now), answer, "{action:?}");
        check_invariants(&ledger).unwrap();
    }
}
