//! Issue, redemption and cancellation: each refusal in the contract's order, each state (contract §3).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixtures;

use fixtures::{ALL_TEMPLATE_STATUSES, MICRO, MINE, OTHER, coupon, minute, template};
use goodpon_domain::{
    coupon::{
        Coupon, CouponStatus, IssuanceStatus, IssueRefusal, check_template, check_user_and_limit,
        issuance_status,
    },
    ledger::{Amounts, CountDelta, CouponState, Decision, HistoryAction, Posting, Transition},
    redemption::{CancelInput, CancelRefusal, Order, RedeemRefusal, cancel, redeem},
    template::{Limit, Owned, Template, TemplateStatus},
};
use jiff::Timestamp;

const BOTH: [bool; 2] = [false, true];
const ALL_COUPON_STATUSES: [CouponStatus; 4] = [
    CouponStatus::Issued,
    CouponStatus::Redeemed,
    CouponStatus::Expired,
    CouponStatus::Discarded,
];

/// Returns the first refusal that applies, in the order of the list: the one that the contract expects.
fn first<R: Copy>(faults: &[(bool, R)]) -> Option<R> {
    faults
        .iter()
        .find(|(there, _)| *there)
        .map(|(_, outcome)| *outcome)
}

fn wish<'a>(order_id: &'a str, reason: &'a str) -> CancelInput<'a> {
    CancelInput { order_id, reason }
}

fn amounts(order: Option<i64>, discount: Option<i64>) -> Amounts {
    Amounts { order, discount }
}

fn issue(
    template: Owned<&Template>,
    has_one: bool,
    count: i64,
    now: Timestamp,
) -> Result<(), IssueRefusal> {
    check_user_and_limit(check_template(template, now)?, has_one, count)
}

/// Issue runs from minute 10 to minute 20, at most 3 coupons.
fn limited_template() -> Template {
    let mut template = template();
    template.terms.period.issue_start_at = minute(10);
    template.terms.period.issue_end_at = Some(minute(20));
    template.terms.limit = Limit::IssueCount(3);
    template
}

#[test]
fn an_issue_is_refused_for_the_first_reason() {
    for status in ALL_TEMPLATE_STATUSES {
        for (now, in_period) in [(9, false), (10, true), (19, true), (20, false)] {
            for past_end in BOTH {
                for has_one in BOTH {
                    for count in 0..=4 {
                        let mut template = limited_template();
                        template.status = status;
                        let end = if past_end { now } else { now + 1 };
                        template.terms.period.absolute_expires_at = Some(minute(end));
                        let issuable = status == TemplateStatus::Issuable && !past_end;
                        let expected = first(&[
                            (!in_period, IssueRefusal::NotIssuablePeriod),
                            (!issuable, IssueRefusal::NotIssuable),
                            (has_one, IssueRefusal::AlreadyIssued),
                            (count >= 3, IssueRefusal::SoldOut),
                        ]);
                        let outcome =
                            issue(Owned::Mine(&template), has_one, count, minute(now)).err();
                        assert_eq!(outcome, expected, "{template:?} {now} {has_one} {count}");
                    }
                }
            }
        }
    }
}

#[test]
fn an_absent_or_foreign_template_is_refused_before_all_else() {
    for now in [9, 10, 20] {
        let outcome = |owned| issue(owned, true, 9, minute(now)).err();
        assert_eq!(outcome(Owned::Absent), Some(IssueRefusal::TemplateNotFound));
        assert_eq!(
            outcome(Owned::Foreign),
            Some(IssueRefusal::NotOwnedByMerchant)
        );
    }
}

#[test]
fn the_issue_period_includes_its_start_and_excludes_its_end() {
    let template = limited_template();
    let outcome = |now| issue(Owned::Mine(&template), false, 0, now);
    let refused = Err(IssueRefusal::NotIssuablePeriod);
    assert_eq!(outcome(minute(10) - MICRO), refused);
    assert_eq!(outcome(minute(10)), Ok(()));
    assert_eq!(outcome(minute(10) + MICRO), Ok(()));
    assert_eq!(outcome(minute(20) - MICRO), Ok(()));
    assert_eq!(outcome(minute(20)), refused);
    assert_eq!(outcome(minute(20) + MICRO), refused);

    let mut endless = template.clone();
    endless.terms.period.issue_end_at = None;
    assert_eq!(
        issue(Owned::Mine(&endless), false, 0, minute(99_999_999)),
        Ok(())
    );
}

#[test]
fn an_issue_does_not_look_at_the_redeem_limit() {
    let mut template = template();
    template.terms.limit = Limit::RedeemCount(1);
    for redeem_count in 0..3 {
        template.redeem_count = redeem_count;
        assert_eq!(
            issue(Owned::Mine(&template), false, i64::MAX, minute(1)),
            Ok(())
        );
    }
    template.terms.limit = Limit::None;
    assert_eq!(
        issue(Owned::Mine(&template), false, i64::MAX, minute(1)),
        Ok(())
    );
}

#[test]
fn the_issuance_status_is_the_first_that_holds() {
    for limit in [Limit::None, Limit::IssueCount(3), Limit::RedeemCount(3)] {
        for now in [
            minute(10) - MICRO,
            minute(10),
            minute(20) - MICRO,
            minute(20),
        ] {
            for has_one in BOTH {
                for count in 2..=4 {
                    for redeemed in 2..=4 {
                        let mut template = limited_template();
                        template.terms.limit = limit;
                        template.redeem_count = redeemed;
                        let sold_out = limit == Limit::IssueCount(3) && count >= 3;
                        let redeemed_out = limit == Limit::RedeemCount(3) && redeemed >= 3;
                        let expected = first(&[
                            (now < minute(10), IssuanceStatus::PeriodNotStarted),
                            (now >= minute(20), IssuanceStatus::PeriodEnded),
                            (has_one, IssuanceStatus::AlreadyIssuedByUser),
                            (sold_out, IssuanceStatus::MaxIssueCountExceeded),
                            (redeemed_out, IssuanceStatus::MaxRedeemCountExceeded),
                            (true, IssuanceStatus::Available),
                        ]);
                        let outcome = issuance_status(&template, has_one, count, now);
                        assert_eq!(
                            Some(outcome),
                            expected,
                            "{template:?} {now} {has_one} {count}"
                        );
                    }
                }
            }
        }
    }
}

/// Combinations of ownership: true if the merchant owns the coupon, and true if it owns the template.
const OWNERS: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

fn set_owners(
    coupon: &mut Coupon,
    template: &mut Template,
    (coupon_mine, template_mine): (bool, bool),
) {
    coupon.merchant_id = if coupon_mine { MINE } else { OTHER };
    template.merchant_id = if template_mine { MINE } else { OTHER };
}

fn order(user: &str, amount: i64) -> Order {
    Order {
        user_id: user.into(),
        amount,
        id: "o9".into(),
    }
}

/// Makes a coupon in that state at minute 100: past its expiry or just before it.
fn coupon_in(status: CouponStatus, past: bool, was_redeemed: bool) -> Coupon {
    let redeemed = was_redeemed || status == CouponStatus::Redeemed;
    Coupon {
        status,
        expires_at: Some(if past {
            minute(100)
        } else {
            minute(100) + MICRO
        }),
        order_id: redeemed.then(|| "o1".into()),
        ..coupon()
    }
}

/// Returns a coupon of each state that a redemption or a cancellation can find.
fn coupons() -> Vec<Coupon> {
    let mut all = Vec::new();
    for status in ALL_COUPON_STATUSES {
        for past in BOTH {
            for was_redeemed in BOTH {
                all.push(coupon_in(status, past, was_redeemed));
            }
        }
    }
    all
}

#[test]
fn a_redemption_is_refused_for_the_first_reason() {
    let now = minute(100);
    for coupon in coupons() {
        for template_status in ALL_TEMPLATE_STATUSES {
            for owners in OWNERS {
                for user in ["u1", "U1"] {
                    for amount in [999, 1000] {
                        for redeemed in [0, 1, 2, 3] {
                            let (mut coupon, mut template) = (coupon.clone(), template());
                            set_owners(&mut coupon, &mut template, owners);
                            template.status = template_status;
                            template.terms.min_order_amount = Some(1000);
                            template.terms.limit = Limit::RedeemCount(2);
                            template.redeem_count = redeemed;
                            let closed = matches!(
                                template_status,
                                TemplateStatus::Draft | TemplateStatus::Discarded
                            );
                            let past = coupon.expires_at.unwrap() <= now;
                            let expected = first(&[
                                (owners != (true, true), RedeemRefusal::NotOwnedByMerchant),
                                (user != "u1", RedeemRefusal::NotOwnedByUser),
                                (closed, RedeemRefusal::NotRedeemable),
                                (amount < 1000, RedeemRefusal::ConditionNotMet),
                                (
                                    coupon.status == CouponStatus::Redeemed,
                                    RedeemRefusal::AlreadyRedeemed,
                                ),
                                (
                                    coupon.status == CouponStatus::Discarded,
                                    RedeemRefusal::NotRedeemable,
                                ),
                                (
                                    coupon.status == CouponStatus::Expired || past,
                                    RedeemRefusal::Expired,
                                ),
                                (redeemed >= 2, RedeemRefusal::RedeemLimitReached),
                            ]);
                            let order = order(user, amount);
                            let outcome = redeem(Some(&coupon), Some(&template), MINE, &order, now);
                            assert_eq!(
                                outcome.err(),
                                expected,
                                "{coupon:?} {template:?} {order:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_missing_coupon_or_template_is_refused_before_all_else() {
    let order = order("nobody", -1);
    for (mut coupon, owners) in coupons().into_iter().zip(OWNERS.into_iter().cycle()) {
        let mut template = template();
        set_owners(&mut coupon, &mut template, owners);
        for given in [None, Some(&template)] {
            let redeemed = redeem(None, given, MINE, &order, minute(1));
            assert_eq!(redeemed.err(), Some(RedeemRefusal::CouponNotFound));
            let cancelled = cancel(
                None,
                given,
                MINE,
                wish("x", ""),
                Amounts::default(),
                minute(1),
            );
            assert_eq!(cancelled.err(), Some(CancelRefusal::CouponNotFound));
        }
        let redeemed = redeem(Some(&coupon), None, MINE, &order, minute(1));
        assert_eq!(redeemed.err(), Some(RedeemRefusal::TemplateNotFound));
        let cancelled = cancel(
            Some(&coupon),
            None,
            MINE,
            wish("x", ""),
            Amounts::default(),
            minute(1),
        );
        assert_eq!(cancelled.err(), Some(CancelRefusal::TemplateNotFound));
    }
}

#[test]
fn a_redemption_has_the_order_and_the_time() {
    let now = minute(5);
    let done = redeem(
        Some(&coupon()),
        Some(&template()),
        MINE,
        &order("u1", 1500),
        now,
    )
    .unwrap();
    let posted = Posting {
        transitions: vec![Transition {
            order_id: Some("o9".into()),
            amounts: amounts(Some(1500), Some(1000)),
            ..Transition::bare(HistoryAction::Redeem)
        }],
        state: CouponState {
            status: CouponStatus::Redeemed,
            order_id: Some("o9".into()),
        },
        counts: CountDelta { redeemed: 1 },
    };
    assert_eq!(done.posting, posted);
    let done = done.outcome;
    assert_eq!(done.coupon_id, coupon().id);
    assert_eq!(
        (done.original_price, done.discount_amount, done.final_price),
        (1500, 1000, 500)
    );
    assert_eq!((done.order_id.as_str(), done.redeemed_at), ("o9", now));
}

#[test]
fn user_ids_are_compared_byte_for_byte() {
    let mut held = coupon();
    held.user_id = "Ünï".into();
    for stranger in ["ünï", "Ünï ", " Ünï", "U\u{308}nï", "Uni", "Ünï", ""] {
        let outcome = redeem(
            Some(&held),
            Some(&template()),
            MINE,
            &order(stranger, 1),
            minute(1),
        );
        let expected = (stranger != "Ünï").then_some(RedeemRefusal::NotOwnedByUser);
        assert_eq!(outcome.err(), expected, "{stranger:?}");
    }
}

#[test]
fn an_expired_template_does_not_refuse_a_redemption_by_itself() {
    let mut template = template();
    template.terms.period.absolute_expires_at = Some(minute(1));
    for status in [TemplateStatus::Issuable, TemplateStatus::Expired] {
        template.status = status;
        let outcome = redeem(
            Some(&coupon()),
            Some(&template),
            MINE,
            &order("u1", 0),
            minute(9),
        );
        assert!(outcome.is_ok(), "{status:?}");
    }
}

#[test]
fn a_coupon_can_be_redeemed_until_the_instant_of_its_expiry() {
    let held = Coupon {
        expires_at: Some(minute(100)),
        ..coupon()
    };
    let outcome = |now| redeem(Some(&held), Some(&template()), MINE, &order("u1", 0), now).err();
    assert_eq!(outcome(minute(100) - MICRO), None);
    assert_eq!(outcome(minute(100)), Some(RedeemRefusal::Expired));
    assert_eq!(outcome(minute(100) + MICRO), Some(RedeemRefusal::Expired));
    assert!(!coupon().is_past_expiry(Timestamp::MAX));
}

#[test]
fn a_cancellation_is_refused_for_the_first_reason() {
    let now = minute(100);
    for coupon in coupons() {
        for template_status in ALL_TEMPLATE_STATUSES {
            for owners in OWNERS {
                for order_id in ["o1", "O1", "o1 ", "o2", ""] {
                    let (mut coupon, mut template) = (coupon.clone(), template());
                    set_owners(&mut coupon, &mut template, owners);
                    template.status = template_status;
                    let in_use = coupon.status == CouponStatus::Redeemed;
                    let before = coupon.order_id.is_some();
                    let expected = first(&[
                        (owners != (true, true), CancelRefusal::NotOwnedByMerchant),
                        (!in_use && before, CancelRefusal::AlreadyCancelled),
                        (!in_use && !before, CancelRefusal::NotAllowed),
                        (order_id != "o1", CancelRefusal::OrderIdMismatch),
                    ]);
                    let wish = wish(order_id, "why");
                    let amounts = Amounts::default();
                    let outcome = cancel(Some(&coupon), Some(&template), MINE, wish, amounts, now);
                    assert_eq!(
                        outcome.err(),
                        expected,
                        "{coupon:?} {template:?} {order_id}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_cancelled_coupon_is_issued_expired_or_discarded() {
    for status in ALL_TEMPLATE_STATUSES {
        for past in BOTH {
            let mut template = template();
            template.status = status;
            let held = coupon_in(CouponStatus::Redeemed, past, true);
            template.discard_reason = Some("recall".into());
            let done = cancel(
                Some(&held),
                Some(&template),
                MINE,
                wish("o1", "변심 🎟"),
                amounts(Some(1500), Some(700)),
                minute(100),
            )
            .unwrap();
            let Decision { outcome, posting } = done;
            let (expected, after) = match (past, status) {
                (true, _) => (CouponStatus::Expired, Some(HistoryAction::Expire)),
                (_, TemplateStatus::Discarded) => {
                    (CouponStatus::Discarded, Some(HistoryAction::Discard))
                }
                _ => (CouponStatus::Issued, None),
            };
            assert_eq!(outcome.status, expected, "{status:?} {past}");
            assert_eq!(outcome.coupon_id, held.id);
            assert_eq!(
                (outcome.canceled_at, outcome.reason.as_str()),
                (minute(100), "변심 🎟")
            );
            let cancelled = Transition {
                action: HistoryAction::CancelRedemption,
                order_id: Some("o1".into()),
                reason: Some("변심 🎟".into()),
                amounts: amounts(None, Some(700)),
            };
            let after = after.map(|action| Transition {
                reason: (action == HistoryAction::Discard).then(|| "recall".into()),
                ..Transition::bare(action)
            });
            let transitions: Vec<_> = [cancelled].into_iter().chain(after).collect();
            assert_eq!(posting.transitions, transitions, "{status:?} {past}");
            assert_eq!(posting.state.status, expected);
            assert_eq!(posting.state.order_id, held.order_id);
            assert_eq!(posting.counts, CountDelta { redeemed: -1 });
        }
    }
}
